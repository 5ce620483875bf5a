"""Parameters of the network: where the stack runs and who may reach it."""

from __future__ import annotations

from storescp_cfn.template import patterns
from storescp_cfn.template.parameters.spec import ASKED, CHANGEABLE, ParameterSpec, optional_text, yes_or_no

_PEER_CONSTRAINT = (
    "Type an IPv4 network as address/prefix, prefix 16 to 32 (inside 10.0.0.0/8: 8 to 32), for example 203.0.113.0/24 "
    "for a site or 203.0.113.7/32 for one device. 0.0.0.0/0 is refused: it would let everybody on the internet send "
    "to the receiver."
)

SPECS = (
    ParameterSpec(
        "VpcID",
        ASKED,
        "which VPC does it run in?",
        "The VPC, for example vpc-0a1b2c3d. It cannot be changed later.",
        type="AWS::EC2::VPC::Id",
        constraint="Choose a VPC of this Region, for example vpc-0a1b2c3d.",
    ),
    ParameterSpec(
        "PublicSubnetIDs",
        ASKED,
        "which subnets is the load balancer in?",
        "Two or more subnets of the VPC, each in another Availability Zone. For an internet-facing load balancer they "
        "are public ones, with a route to an internet gateway. For an internal one the private subnets may be named "
        "here again. Example: subnet-0aa11,subnet-0bb22",
        type="List<AWS::EC2::Subnet::Id>",
        constraint="Choose two or more subnets, each in another Availability Zone, for example "
        "subnet-0aa11,subnet-0bb22.",
    ),
    ParameterSpec(
        "PrivateSubnetIDs",
        ASKED,
        "which private subnets are the receivers in?",
        "Two or more private subnets of the VPC, each in another Availability Zone. They reach AWS through a NAT "
        "gateway, a transit gateway or VPC endpoints. Example: subnet-0cc33,subnet-0dd44",
        type="List<AWS::EC2::Subnet::Id>",
        constraint="Choose two or more private subnets, each in another Availability Zone, for example "
        "subnet-0cc33,subnet-0dd44.",
    ),
    ParameterSpec(
        "VpcCIDR",
        ASKED,
        "what is the VPC's address range?",
        "The VPC's IPv4 range, for example 10.0.0.0/16. Devices inside the VPC may send to an internal load balancer; "
        "to an internet-facing one they send from their NAT gateway's address, which a PeerCIDR must name.",
        constraint="Type the VPC's IPv4 range as address/prefix, prefix 16 to 28, for example 10.0.0.0/16.",
        pattern=patterns.whole(patterns.cidr(16, 28)),
    ),
    ParameterSpec(
        "PeerCIDR1",
        ASKED,
        "which network do your devices send from?",
        "The addresses that your devices come from, for example 203.0.113.0/24, the hospital's public range.",
        constraint=_PEER_CONSTRAINT,
        pattern=patterns.whole(patterns.PEER_NETWORK),
    ),
    *(
        ParameterSpec(
            f"PeerCIDR{number}",
            ASKED,
            "a further network that devices send from",
            f"A further range of addresses that devices come from, for example {example}. Leave empty if there is "
            "none.",
            constraint=_PEER_CONSTRAINT + " Or leave it empty.",
            default="",
            pattern=patterns.optional(patterns.PEER_NETWORK),
        )
        for number, example in ((2, "198.51.100.0/24"), (3, "192.0.2.0/24"))
    ),
    ParameterSpec(
        "SecurityGroupID",
        ASKED,
        "which security group do the receivers join?",
        "A security group of the VPC, for example sg-0a1b2c3d. It must allow outgoing HTTPS (TCP 443). The stack adds "
        "to it the two rules that the load balancer needs, and nothing else.",
        type="AWS::EC2::SecurityGroup::Id",
        constraint="Choose a security group of the VPC, for example sg-0a1b2c3d.",
    ),
    optional_text(
        "PrivateRouteTableIDs",
        CHANGEABLE,
        "which route tables get an endpoint for Amazon S3?",
        "Route tables of the private subnets, so that image data does not pay for the NAT gateway, for example "
        "rtb-0a1b2c3d,rtb-0e4f5a6b. If the VPC has such an endpoint already, there is nothing to name.",
        "Type route table ids with commas between them and no spaces, for example rtb-0a1b2c3d,rtb-0e4f5a6b.",
        patterns.listed("rtb-[0-9a-f]{8,17}"),
    ),
    yes_or_no(
        "OnlyThroughVPCEndpoint",
        CHANGEABLE,
        "must receivers reach the landing bucket through a VPC endpoint?",
        "true: the landing bucket refuses the receiver's keys from outside the VPC, so that stolen ones are worth "
        "nothing elsewhere. It needs an endpoint for Amazon S3, see PrivateRouteTableIDs. Example: true",
    ),
)
