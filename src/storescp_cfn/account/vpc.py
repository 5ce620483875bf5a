"""What a VPC has, read once; which subnets are public or private is told by their routes, never by their names."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storescp_cfn.account.connection import Connection
from storescp_cfn.account.errors import AccountError

EVERYWHERE = "0.0.0.0/0"
# What a default route may lead to, besides an internet gateway and a NAT gateway, and still reach AWS.
OTHER_WAYS_OUT = ("TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId", "InstanceId", "CoreNetworkArn")
# Endpoints that stand in for a way out: what a receiver's task calls (docs: "Fargate without internet access").
NEEDED_ENDPOINTS = ("ecr.api", "ecr.dkr", "logs", "s3")


@dataclass(frozen=True)
class Subnet:
    """One subnet. way_out: `internet`, `nat`, `broken nat`, `other` or `none`."""

    subnet_id: str
    zone: str
    free_addresses: int
    way_out: str
    route_table_id: str
    name: str = ""

    @property
    def is_public(self) -> bool:
        """Whether its default route leads to an internet gateway."""
        return self.way_out == "internet"

    @property
    def reaches_aws(self) -> bool:
        """Whether a task in it without a public address gets out."""
        return self.way_out in ("nat", "other")


@dataclass(frozen=True)
class Group:
    """One security group. lets_https_out: whether TCP 443 may leave it to everywhere."""

    group_id: str
    name: str
    lets_https_out: bool


@dataclass(frozen=True)
class Vpc:
    """One VPC with its subnets, groups and endpoints (service names without the Region)."""

    vpc_id: str
    cidrs: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    groups: tuple[Group, ...]
    endpoints: frozenset[str] = frozenset()

    @property
    def has_needed_endpoints(self) -> bool:
        """Whether endpoints replace a way out."""
        return set(NEEDED_ENDPOINTS) <= self.endpoints

    def subnet(self, subnet_id: str) -> Subnet | None:
        """The subnet of that id, if the VPC has it."""
        return next((subnet for subnet in self.subnets if subnet.subnet_id == subnet_id), None)


def read(connection: Connection, vpc_id: str) -> Vpc:
    """Everything about one VPC. Raises AccountError: when it is not in the Region, or AWS cannot be asked."""
    found = [row for row in connection.pages("ec2", "describe_vpcs", "Vpcs") if row["VpcId"] == vpc_id]
    if not found:
        known = ", ".join(row["VpcId"] for row in connection.pages("ec2", "describe_vpcs", "Vpcs")) or "none"
        raise AccountError(f"{vpc_id} is not in {connection.region}: there is {known}.")
    own = {"Filters": [{"Name": "vpc-id", "Values": [vpc_id]}]}
    tables = list(connection.pages("ec2", "describe_route_tables", "RouteTables", **own))
    nats = {
        row["NatGatewayId"]: row["State"]
        for row in connection.pages("ec2", "describe_nat_gateways", "NatGateways", Filters=own["Filters"])
    }
    subnets = [_subnet(row, tables, nats) for row in connection.pages("ec2", "describe_subnets", "Subnets", **own)]
    groups = [_group(row) for row in connection.pages("ec2", "describe_security_groups", "SecurityGroups", **own)]
    endpoints = connection.pages("ec2", "describe_vpc_endpoints", "VpcEndpoints", **own)
    ranges = [row["CidrBlock"] for row in found[0].get("CidrBlockAssociationSet", [])] or [found[0]["CidrBlock"]]
    return Vpc(
        vpc_id,
        tuple(ranges),
        tuple(sorted(subnets, key=lambda subnet: (subnet.zone, subnet.subnet_id))),
        tuple(sorted(groups, key=lambda group: group.name)),
        frozenset(row["ServiceName"].split(".", 3)[-1] for row in endpoints if row.get("State", "") != "failed"),
    )


def _subnet(row: Mapping[str, Any], tables: Sequence[Mapping[str, Any]], nats: Mapping[str, str]) -> Subnet:
    table = _route_table(row["SubnetId"], tables)
    name = next((tag["Value"] for tag in row.get("Tags", []) if tag["Key"] == "Name"), "")
    return Subnet(
        row["SubnetId"],
        row["AvailabilityZone"],
        int(row.get("AvailableIpAddressCount", 0)),
        _way_out(table.get("Routes", []), nats),
        str(table.get("RouteTableId", "")),
        name,
    )


def _route_table(subnet_id: str, tables: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The table that a subnet is associated with, else the VPC's main one."""
    main: Mapping[str, Any] = {}
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet_id:
                return table
            if association.get("Main"):
                main = table
    return main


def _way_out(routes: Sequence[Mapping[str, Any]], nats: Mapping[str, str]) -> str:
    for route in routes:
        if route.get("DestinationCidrBlock") != EVERYWHERE or route.get("State") == "blackhole":
            continue
        if str(route.get("GatewayId", "")).startswith("igw-"):
            return "internet"
        if nat := route.get("NatGatewayId"):
            return "nat" if nats.get(nat, "available") == "available" else "broken nat"
        if str(route.get("GatewayId", "")).startswith("vgw-") or any(route.get(name) for name in OTHER_WAYS_OUT):
            return "other"
    return "none"


def _group(row: Mapping[str, Any]) -> Group:
    return Group(row["GroupId"], row["GroupName"], any(_lets_https_out(rule) for rule in row["IpPermissionsEgress"]))


def _lets_https_out(rule: Mapping[str, Any]) -> bool:
    everywhere = any(entry.get("CidrIp") == EVERYWHERE for entry in rule.get("IpRanges", []))
    protocol = str(rule.get("IpProtocol"))
    in_range = int(rule.get("FromPort", 0)) <= 443 <= int(rule.get("ToPort", 65535))
    return everywhere and (protocol == "-1" or (protocol in ("tcp", "6") and in_range))


def covers(cidr: str, others: Sequence[str]) -> bool:
    """Whether a range is one of the VPC's, or lies in one. Raises ValueError: when it is no range."""
    network = ipaddress.ip_network(cidr)
    return any(network.subnet_of(ipaddress.ip_network(other)) for other in others)  # type: ignore[arg-type]
