"""The second template: a network for who has none. Its outputs are the first template's parameters."""

from __future__ import annotations

from typing import Any

from troposphere import AWSObject, Cidr, Equals, GetAtt, GetAZs, If, Output, Parameter, Ref, Select, Sub, Tags, Template
from troposphere.ec2 import (
    EIP,
    VPC,
    InternetGateway,
    NatGateway,
    Route,
    RouteTable,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    SubnetRouteTableAssociation,
    VPCEndpoint,
    VPCGatewayAttachment,
)

from storescp_cfn.template import findings, patterns
from storescp_cfn.template.release import Release

EVERYWHERE = "0.0.0.0/0"
ZONES = (0, 1)
TWO_NAT_GATEWAYS = "TwoNatGateways"
SUBNET_BITS = 8  # of host addresses: 256 a subnet, of which AWS keeps five


def render(release: Release | None = None) -> Template:
    """Return the network's template. Pure, as the first one's `render` is."""
    release = release or Release()
    template = Template()
    template.set_version("2010-09-09")
    template.set_description(
        f"Network for StoreSCP {release.version}: a VPC with two public and two private subnets, NAT, an endpoint for "
        "Amazon S3 and a security group. Its outputs are the parameters of the StoreSCP template."
    )
    for parameter in _parameters():
        template.add_parameter(parameter)
    template.add_condition(TWO_NAT_GATEWAYS, Equals(Ref("NatGateways"), "2"))
    for resource in resources():
        template.add_resource(resource)
    for name, (description, value) in outputs().items():
        template.add_output(Output(name, Description=description, Value=value))
    return template


def _parameters() -> list[Parameter]:
    return [
        Parameter(
            "VpcCIDR",
            Type="String",
            Default="10.20.0.0/16",
            AllowedPattern=patterns.cidr(16, 22),
            Description="Address range of the VPC. Choose one that the hospital's networks do not use, if a VPN or "
            "Direct Connect will join them. Example: 10.20.0.0/16",
            ConstraintDescription="Type an IPv4 network with a prefix of 16 to 22, for example 10.20.0.0/16.",
        ),
        Parameter(
            "NatGateways",
            Type="String",
            Default="1",
            AllowedValues=["1", "2"],
            Description="1 costs half as much; with 2, receivers in one Availability Zone go on when the other fails. "
            "Image data does not pass them: it takes the endpoint for Amazon S3. Example: 1",
        ),
    ]


def resources() -> list[AWSObject]:
    """The VPC and everything in it, in the order in which it is made."""
    return [*_vpc(), *_public(), *_private(), *_endpoint_and_group()]


def _named(name: str) -> Tags:
    return Tags(Name=Sub(f"${{AWS::StackName}} {name}"))


def _vpc() -> list[AWSObject]:
    return [
        VPC(
            "Vpc",
            Metadata=findings.metadata("Holds the load balancer and the receivers, and nothing else"),
            CidrBlock=Ref("VpcCIDR"),
            EnableDnsSupport=True,
            EnableDnsHostnames=True,
            Tags=_named("VPC"),
        ),
        InternetGateway("InternetGateway", Tags=_named("internet")),
        VPCGatewayAttachment("InternetAttachment", VpcId=Ref("Vpc"), InternetGatewayId=Ref("InternetGateway")),
    ]


def _subnet(kind: str, number: int) -> Subnet:
    position = number + (len(ZONES) if kind == "Private" else 0)
    return Subnet(
        f"{kind}Subnet{number + 1}",
        VpcId=Ref("Vpc"),
        CidrBlock=Select(position, Cidr(Ref("VpcCIDR"), 2 * len(ZONES), SUBNET_BITS)),
        AvailabilityZone=Select(number, GetAZs(Ref("AWS::Region"))),
        MapPublicIpOnLaunch=False,
        Tags=_named(f"{kind.lower()} {number + 1}"),
    )


def _association(kind: str, number: int, table: str) -> SubnetRouteTableAssociation:
    return SubnetRouteTableAssociation(
        f"{kind}Association{number + 1}", SubnetId=Ref(f"{kind}Subnet{number + 1}"), RouteTableId=Ref(table)
    )


def _public() -> list[AWSObject]:
    return [
        RouteTable("PublicRoutes", VpcId=Ref("Vpc"), Tags=_named("public")),
        Route(
            "ToTheInternet",
            DependsOn=["InternetAttachment"],
            RouteTableId=Ref("PublicRoutes"),
            DestinationCidrBlock=EVERYWHERE,
            GatewayId=Ref("InternetGateway"),
        ),
        *(_subnet("Public", number) for number in ZONES),
        *(_association("Public", number, "PublicRoutes") for number in ZONES),
    ]


def _private() -> list[AWSObject]:
    made: list[AWSObject] = []
    for number in ZONES:
        own: dict[str, Any] = {"Condition": TWO_NAT_GATEWAYS} if number else {}
        name = f"NatGateway{number + 1}"
        gateway: Any = If(TWO_NAT_GATEWAYS, Ref(name), Ref("NatGateway1")) if number else Ref(name)
        made += [
            EIP(f"NatAddress{number + 1}", DependsOn=["InternetAttachment"], Domain="vpc", **own),
            NatGateway(
                name,
                Metadata=findings.metadata("Receivers fetch their image and write their logs through it"),
                AllocationId=GetAtt(f"NatAddress{number + 1}", "AllocationId"),
                SubnetId=Ref(f"PublicSubnet{number + 1}"),
                Tags=_named(f"NAT {number + 1}"),
                **own,
            ),
            RouteTable(f"PrivateRoutes{number + 1}", VpcId=Ref("Vpc"), Tags=_named(f"private {number + 1}")),
            Route(
                f"ToNat{number + 1}",
                RouteTableId=Ref(f"PrivateRoutes{number + 1}"),
                DestinationCidrBlock=EVERYWHERE,
                NatGatewayId=gateway,
            ),
            _subnet("Private", number),
            _association("Private", number, f"PrivateRoutes{number + 1}"),
        ]
    return made


def _endpoint_and_group() -> list[AWSObject]:
    https = SecurityGroupRule(IpProtocol="tcp", FromPort=443, ToPort=443, CidrIp=EVERYWHERE, Description="HTTPS to AWS")
    return [
        VPCEndpoint(
            "S3Endpoint",
            Metadata=findings.metadata("Takes image data to Amazon S3 without the NAT gateway and its price"),
            VpcEndpointType="Gateway",
            VpcId=Ref("Vpc"),
            ServiceName=Sub("com.amazonaws.${AWS::Region}.s3"),
            RouteTableIds=[Ref(f"PrivateRoutes{number + 1}") for number in ZONES],
        ),
        SecurityGroup(
            "ReceiverGroup",
            Metadata=findings.metadata("The receivers join it; the StoreSCP stack adds the load balancer's two rules"),
            GroupDescription="StoreSCP receivers: outgoing HTTPS only",
            VpcId=Ref("Vpc"),
            SecurityGroupEgress=[https],
            Tags=_named("receivers"),
        ),
    ]


def outputs() -> dict[str, tuple[str, Any]]:
    """Name, description and value of every output: names of the StoreSCP template's parameters."""
    return {
        "VpcID": ("Parameter VpcID", Ref("Vpc")),
        "PublicSubnetIDs": ("Parameter PublicSubnetIDs", Sub("${PublicSubnet1},${PublicSubnet2}")),
        "PrivateSubnetIDs": ("Parameter PrivateSubnetIDs", Sub("${PrivateSubnet1},${PrivateSubnet2}")),
        "SecurityGroupID": ("Parameter SecurityGroupID", GetAtt("ReceiverGroup", "GroupId")),
        "VpcCIDR": ("Parameter VpcCIDR", Ref("VpcCIDR")),
    }
