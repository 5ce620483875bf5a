"""A hospital's network on the embedded AWS, as the guide asks for it: what is there before a stack is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

VPC_CIDR = "10.0.0.0/16"


@dataclass(frozen=True)
class Network:
    """Ids of what was made, and the template's parameters that name it."""

    vpc_id: str
    public_subnet_ids: tuple[str, str]
    private_subnet_ids: tuple[str, str]
    security_group_id: str
    private_route_table_id: str
    nat_gateway_id: str

    def parameters(self) -> dict[str, str]:
        """The template's parameters for this network; devices come over a VPN, which encrypts."""
        return {
            "VpcID": self.vpc_id,
            "PublicSubnetIDs": ",".join(self.public_subnet_ids),
            "PrivateSubnetIDs": ",".join(self.private_subnet_ids),
            "SecurityGroupID": self.security_group_id,
            "VpcCIDR": VPC_CIDR,
            "PeerCIDR1": "203.0.113.0/24",
            "LoadBalancerScheme": "internal",
        }


def create_network(ec2: Any, region: str) -> Network:
    """Make a VPC with two public and two private subnets in two zones, an internet gateway and a NAT gateway.

    ec2: a boto3 client.
    """
    vpc_id = ec2.create_vpc(CidrBlock=VPC_CIDR)["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc_id, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{region}{'ab'[number % 2]}"
        )["Subnet"]["SubnetId"]
        for number in range(4)
    ]
    internet_gateway_id = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=internet_gateway_id, VpcId=vpc_id)
    _route(ec2, vpc_id, subnets[:2], GatewayId=internet_gateway_id)
    nat_gateway_id = ec2.create_nat_gateway(SubnetId=subnets[0])["NatGateway"]["NatGatewayId"]
    private_route_table_id = _route(ec2, vpc_id, subnets[2:], NatGatewayId=nat_gateway_id)
    group = ec2.create_security_group(GroupName="storescp", Description="DICOM receivers", VpcId=vpc_id)
    return Network(
        vpc_id,
        (subnets[0], subnets[1]),
        (subnets[2], subnets[3]),
        group["GroupId"],
        private_route_table_id,
        nat_gateway_id,
    )


def _route(ec2: Any, vpc_id: str, subnet_ids: list[str], **target: str) -> str:
    """Give subnets a route table whose default route leads to the target; return its id."""
    table_id: str = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table_id, DestinationCidrBlock="0.0.0.0/0", **target)
    for subnet_id in subnet_ids:
        ec2.associate_route_table(RouteTableId=table_id, SubnetId=subnet_id)
    return table_id
