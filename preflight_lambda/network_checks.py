"""What can be wrong with the network: subnets, their way out, free addresses, the security group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight_lambda.facts import Facts, Json

EVERYWHERE = "0.0.0.0/0"
# https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html#availability-zones
ADDRESSES_PER_BALANCER_SUBNET = 8
# What a task needs where there is no way to the internet.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
ENDPOINTS_OF_A_TASK = ("ecr.api", "ecr.dkr", "logs", "s3")
ZONE_WITHOUT_ARM = "use1-az3"
HTTPS = 443


def check_network(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence for each thing that would keep receivers or load balancer from working."""
    if facts.vpc is None:
        yield f"VpcID: there is no VPC {given['VpcID']} in this Region. Choose one that exists."
        return
    yield from _check_range(given, facts.vpc)
    yield from _check_private_subnets(given, facts)
    if given["LoadBalancerScheme"] == "internet-facing":
        yield from _check_public_subnets(given, facts)
    yield from _check_addresses(given, facts)
    yield from _check_s3_endpoint(given, facts)


def check_security_group(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence if the receivers' security group is another VPC's or lets no HTTPS out."""
    name, group = given["SecurityGroupID"], facts.security_group
    if group is None:
        yield f"SecurityGroupID: there is no security group {name} in this Region. Choose one of {given['VpcID']}."
    elif group["VpcId"] != given["VpcID"]:
        yield (
            f"SecurityGroupID: {name} belongs to {group['VpcId']}, not to {given['VpcID']}. "
            f"Choose a group of {given['VpcID']}."
        )
    elif not any(map(_lets_https_out, group.get("IpPermissionsEgress", []))):
        yield (
            f"SecurityGroupID: {name} lets no HTTPS out, so receivers reach neither the container registry nor Amazon "
            f"S3. Add an outbound rule for TCP {HTTPS} to {EVERYWHERE}."
        )


def _lets_https_out(rule: Json) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] in ("tcp", "6") and rule.get("FromPort", 0) <= HTTPS <= rule.get("ToPort", 65535)


def _check_range(given: Mapping[str, Any], vpc: Json) -> Iterator[str]:
    ranges = [
        entry["CidrBlock"]
        for entry in vpc.get("CidrBlockAssociationSet", [])
        if entry.get("CidrBlockState", {}).get("State", "associated") == "associated"
    ] or [vpc["CidrBlock"]]
    if given["VpcCIDR"] not in ranges:
        yield (
            f"VpcCIDR: {given['VpcCIDR']} is no address range of {given['VpcID']}, which has {', '.join(ranges)}. "
            "Type one of them."
        )


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


def _check_private_subnets(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
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


def _check_processor(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    for subnet in facts.subnets:
        if subnet["SubnetId"] in given["PrivateSubnetIDs"] and subnet.get("AvailabilityZoneId") == ZONE_WITHOUT_ARM:
            yield (
                f"CpuArchitecture: Fargate has no ARM64 in {ZONE_WITHOUT_ARM}, where {subnet['SubnetId']} is. Choose "
                "X86_64, or a subnet in another Availability Zone."
            )


def _serving(endpoint: Json, service: str, table: Json) -> bool:
    """Whether an endpoint takes the place of a way out to a service, for the subnets of a route table."""
    if not endpoint["ServiceName"].endswith(f".{service}") or endpoint.get("State", "available").lower() != "available":
        return False
    if endpoint.get("VpcEndpointType") == "Gateway":
        return table["RouteTableId"] in endpoint.get("RouteTableIds", [])
    return bool(endpoint.get("PrivateDnsEnabled", False))


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


def _check_public_subnets(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    for subnet_id in given["PublicSubnetIDs"]:
        table = _route_table_of(subnet_id, facts)
        route = _default_route(table)
        if route is None or route.get("State") == "blackhole" or not _target(route).startswith("igw-"):
            yield (
                f"PublicSubnetIDs: {subnet_id} is not public: {table['RouteTableId']} has no default route to an "
                "internet gateway, and devices would not reach the load balancer. Choose a public subnet, add the "
                "route, or set LoadBalancerScheme to internal."
            )


def _check_addresses(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """The balancer's subnets and the receivers' have room; an update finds its own addresses taken already."""
    is_internal = given["LoadBalancerScheme"] == "internal"
    of_balancer = given["PrivateSubnetIDs" if is_internal else "PublicSubnetIDs"]
    free = {subnet["SubnetId"]: int(subnet["AvailableIpAddressCount"]) for subnet in facts.subnets}
    is_new = given["RequestType"] == "Create"
    if is_new:
        for subnet_id in of_balancer:
            if free.get(subnet_id, 0) < ADDRESSES_PER_BALANCER_SUBNET:
                yield (
                    f"Subnet {subnet_id} has {free.get(subnet_id, 0)} free addresses, and a load balancer needs "
                    f"{ADDRESSES_PER_BALANCER_SUBNET} in each of its subnets. Free some, or choose another subnet."
                )
    most = int(given["AutoscaleMaxCapacity"])
    needed = 2 * most if is_new else most
    total = sum(free.get(subnet_id, 0) for subnet_id in given["PrivateSubnetIDs"])
    if total < needed:
        yield (
            f"PrivateSubnetIDs: the private subnets have {total} free addresses together, and {most} receivers need "
            f"{needed}: an update runs old and new ones side by side. Free some, name larger subnets, or lower "
            "AutoscaleMaxCapacity."
        )


def _check_s3_endpoint(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    named = [name for name in given["PrivateRouteTableIDs"].split(",") if name]
    known = {table["RouteTableId"] for table in facts.route_tables}
    for name in named:
        if name not in known:
            yield (
                f"PrivateRouteTableIDs: {name} is no route table of {given['VpcID']}. Name the route tables of the "
                "private subnets, or leave it empty."
            )
    gateways = [
        e for e in facts.endpoints if e["ServiceName"].endswith(".s3") and e.get("VpcEndpointType") == "Gateway"
    ]
    for endpoint in gateways if given["RequestType"] == "Create" else []:
        taken = sorted(set(named) & set(endpoint.get("RouteTableIds", [])))
        if taken:
            yield (
                f"PrivateRouteTableIDs: {', '.join(taken)} has an endpoint for Amazon S3 already, "
                f"{endpoint['VpcEndpointId']}. Leave it out."
            )
    if given["OnlyThroughVPCEndpoint"] == "true" and not named and not any(_is_for_s3(e) for e in facts.endpoints):
        yield (
            f"OnlyThroughVPCEndpoint: {given['VpcID']} has no endpoint for Amazon S3, and receivers could store "
            "nothing. Name the private subnets' route tables in PrivateRouteTableIDs, or set it to false."
        )


def _is_for_s3(endpoint: Json) -> bool:
    return str(endpoint["ServiceName"]).endswith(".s3")
