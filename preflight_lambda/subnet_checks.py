"""What can be wrong with the subnets: their ways out, their endpoints, their zone's processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight_lambda.facts import Facts, Json

EVERYWHERE = "0.0.0.0/0"
# What a task needs where there is no way to the internet.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
ENDPOINTS_OF_A_TASK = ("ecr.api", "ecr.dkr", "logs", "s3")
ZONE_WITHOUT_ARM = "use1-az3"


def check_private_subnets(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence for each subnet from which receivers would not reach registry, Amazon S3 or logs."""
    for subnet_id in given["PrivateSubnetIDs"]:
        table = _route_table_of(subnet_id, facts)
        route = _default_route(table)
        if route is None:
            yield from _check_endpoints(given, facts, subnet_id, table)
        elif route.get("State") == "blackhole":
            yield (
                f"PrivateSubnetIDs: {subnet_id} has no way out: the default route of {table['RouteTableId']} leads to "
                f"{_target(route)}, which no longer exists. Point it to a NAT gateway or a transit gateway."
            )
        elif _target(route).startswith("igw-"):
            yield (
                f"PrivateSubnetIDs: {subnet_id} is a public subnet: its default route leads to the internet gateway "
                f"{_target(route)}, and receivers have no public address to use it with. Choose a subnet whose default "
                "route leads to a NAT gateway or a transit gateway."
            )
    if given["CpuArchitecture"] == "ARM64":
        yield from _check_processor(given, facts)


def check_public_subnets(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence for each subnet in which devices on the internet would not reach the load balancer."""
    for subnet_id in given["PublicSubnetIDs"]:
        table = _route_table_of(subnet_id, facts)
        route = _default_route(table)
        if route is None or route.get("State") == "blackhole" or not _target(route).startswith("igw-"):
            yield (
                f"PublicSubnetIDs: {subnet_id} is not public: {table['RouteTableId']} has no default route to an "
                "internet gateway, and devices would not reach the load balancer. Choose a public subnet, add the "
                "route, or set LoadBalancerScheme to internal."
            )


def _check_processor(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    for subnet in facts.subnets:
        if subnet["SubnetId"] in given["PrivateSubnetIDs"] and subnet.get("AvailabilityZoneId") == ZONE_WITHOUT_ARM:
            yield (
                f"CpuArchitecture: Fargate has no ARM64 in {ZONE_WITHOUT_ARM}, where {subnet['SubnetId']} is. Choose "
                "X86_64, or a subnet in another Availability Zone."
            )


def _check_endpoints(given: Mapping[str, Any], facts: Facts, subnet_id: str, table: Json) -> Iterator[str]:
    """A subnet without a default route needs endpoints, and an image in its own Region's registry."""
    own = given["PrivateRouteTableIDs"].split(",")  # they get an endpoint for S3 from this stack
    needed = (*ENDPOINTS_OF_A_TASK, *(("secretsmanager",) if given["Secrets"] else ()))
    missing = [
        service
        for service in needed
        if not (service == "s3" and table["RouteTableId"] in own)
        and not any(_serving(endpoint, service, table) for endpoint in facts.endpoints)
    ]
    registry = given["ContainerImage"].split(".")[3]
    begin = (
        f"PrivateSubnetIDs: {subnet_id} has no way out: its route table {table['RouteTableId']} has no default route"
    )
    route = "Add a route for 0.0.0.0/0 to a NAT gateway or a transit gateway"
    if missing:
        yield f"{begin}. {route}, or create VPC endpoints with private DNS for {', '.join(missing)}."
    elif registry != given["Region"]:
        yield (
            f"{begin}, and VPC endpoints do not reach the container registry, which is in {registry}. {route}, or copy "
            "the image into this Region and name it in ContainerImage."
        )


def _serving(endpoint: Json, service: str, table: Json) -> bool:
    """Whether an endpoint takes the place of a way out to a service, for the subnets of a route table."""
    if not endpoint["ServiceName"].endswith(f".{service}") or endpoint.get("State", "available").lower() != "available":
        return False
    if endpoint.get("VpcEndpointType") == "Gateway":
        return table["RouteTableId"] in endpoint.get("RouteTableIds", [])
    return bool(endpoint.get("PrivateDnsEnabled", False))


def _route_table_of(subnet_id: str, facts: Facts) -> Json:
    """The route table of a subnet: its own, else the VPC's main one."""
    main: Json = {"RouteTableId": "(none)", "Routes": []}
    for table in facts.route_tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet_id:
                return table
            if association.get("Main"):
                main = table
    return main


def _default_route(table: Json) -> Json | None:
    return next((route for route in table["Routes"] if route.get("DestinationCidrBlock") == EVERYWHERE), None)


def _target(route: Json) -> str:
    names = ("NatGatewayId", "TransitGatewayId", "GatewayId", "NetworkInterfaceId", "InstanceId", "CoreNetworkArn")
    targets = (str(route[name]) for name in (*names, "VpcPeeringConnectionId") if route.get(name))
    return next(targets, "an unknown target")
