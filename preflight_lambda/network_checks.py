"""What can be wrong with the network: the VPC's range, free addresses, endpoint for S3, the security group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight_lambda.facts import Facts, Json
from preflight_lambda.subnet_checks import EVERYWHERE, check_private_subnets, check_public_subnets

# https://docs.aws.amazon.com/elasticloadbalancing/latest/network/network-load-balancers.html#availability-zones
ADDRESSES_PER_BALANCER_SUBNET = 8
HTTPS = 443


def check_network(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence for each thing that would keep receivers or load balancer from working."""
    if facts.vpc is None:
        yield f"VpcID: there is no VPC {given['VpcID']} in this Region. Choose one that exists."
        return
    yield from _check_range(given, facts.vpc)
    yield from check_private_subnets(given, facts)
    if given["LoadBalancerScheme"] == "internet-facing":
        yield from check_public_subnets(given, facts)
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
