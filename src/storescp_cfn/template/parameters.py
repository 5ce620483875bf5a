"""Every parameter of the template, as data: the form, the documentation and the tests read this table."""

from __future__ import annotations

from dataclasses import dataclass

from troposphere import Parameter, Template

from storescp_cfn.template import patterns

NETWORK = "Network: where the product runs and who may reach it"
DICOM = "DICOM: how devices address it"
OPERATION = "Operation"
GROUPS = (NETWORK, DICOM, OPERATION)


@dataclass(frozen=True)
class Field:
    """One parameter.

    label: how the form calls it. description: what it means, with an example. constraint: what to type instead, shown
    when the value is refused; None where CloudFormation's own type checks it. default: None makes it required.
    pattern: the AllowedPattern. values: the AllowedValues.
    """

    name: str
    group: str
    label: str
    description: str
    type: str = "String"
    constraint: str | None = None
    default: str | None = None
    pattern: str | None = None
    values: tuple[str, ...] = ()

    def parameter(self) -> Parameter:
        """The troposphere parameter of this field."""
        optional = {
            "ConstraintDescription": self.constraint,
            "Default": self.default,
            "AllowedPattern": self.pattern,
            "AllowedValues": list(self.values) or None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return Parameter(self.name, Type=self.type, Description=self.description, **given)


_PEER_CONSTRAINT = (
    "Type an IPv4 network as address/prefix, prefix 8 to 32, for example 203.0.113.0/24 for a site or "
    "203.0.113.7/32 for one device. 0.0.0.0/0 is refused: it would let everybody on the internet send to the receiver."
)
_PEER_PATTERN = patterns.cidr(8, 32)

FIELDS = (
    Field(
        "VpcID",
        NETWORK,
        "VPC",
        "The VPC to run in, for example vpc-0a1b2c3d. It needs two public and two private subnets and a NAT gateway.",
        type="AWS::EC2::VPC::Id",
    ),
    Field(
        "PublicSubnetIDs",
        NETWORK,
        "Public subnets",
        "Two or more public subnets of the VPC, each in another Availability Zone, for the load balancer. Example: "
        "subnet-0aa11,subnet-0bb22",
        type="List<AWS::EC2::Subnet::Id>",
    ),
    Field(
        "PrivateSubnetIDs",
        NETWORK,
        "Private subnets",
        "Two or more private subnets of the VPC, each in another Availability Zone, for the receivers. They reach AWS "
        "through a NAT gateway. Example: subnet-0cc33,subnet-0dd44",
        type="List<AWS::EC2::Subnet::Id>",
    ),
    Field(
        "SecurityGroupID",
        NETWORK,
        "Security group of the receivers",
        "A security group of the VPC that the receivers join, for example sg-0a1b2c3d. It must allow outgoing HTTPS "
        "(TCP 443). The stack adds to it the two rules that the load balancer needs, and nothing else.",
        type="AWS::EC2::SecurityGroup::Id",
    ),
    Field(
        "VpcCIDR",
        NETWORK,
        "Address range of the VPC",
        "The VPC's IPv4 range, for example 10.0.0.0/16: devices inside the VPC may send.",
        constraint="Type the VPC's IPv4 range as address/prefix, prefix 16 to 28, for example 10.0.0.0/16.",
        pattern=patterns.whole(patterns.cidr(16, 28)),
    ),
    Field(
        "PeerCIDR1",
        NETWORK,
        "Allowed sender network 1",
        "The addresses that your devices come from, for example 203.0.113.0/24, the hospital's public range.",
        constraint=_PEER_CONSTRAINT,
        pattern=patterns.whole(_PEER_PATTERN),
    ),
    Field(
        "PeerCIDR2",
        NETWORK,
        "Allowed sender network 2",
        "A second range of addresses, for example 198.51.100.0/24. Leave empty if there is none.",
        constraint=_PEER_CONSTRAINT + " Or leave it empty.",
        default="",
        pattern=patterns.optional(_PEER_PATTERN),
    ),
    Field(
        "PeerCIDR3",
        NETWORK,
        "Allowed sender network 3",
        "A third range of addresses, for example 192.0.2.0/24. Leave empty if there is none.",
        constraint=_PEER_CONSTRAINT + " Or leave it empty.",
        default="",
        pattern=patterns.optional(_PEER_PATTERN),
    ),
    Field(
        "SCPAETitle",
        DICOM,
        "AE title",
        "The Called AE Title that devices are configured with, for example MYHOSPITAL.",
        constraint="Type 1 to 16 letters, digits, spaces or signs; no backslash, and no space at either end. "
        "Example: STORESCP.",
        default="STORESCP",
        pattern=patterns.whole(patterns.AE_TITLE),
    ),
    Field(
        "SCPPort",
        DICOM,
        "Port",
        "The TCP port that devices connect to, for example 11112 or 104.",
        constraint="Type a whole number from 1 to 65535. Example: 11112.",
        default="11112",
        pattern=patterns.whole(patterns.integer(1, 65535)),
    ),
)


def container_image_field(default: str) -> Field:
    """The one field whose default differs from release to release."""
    return Field(
        "ContainerImage",
        OPERATION,
        "Container image",
        "The receiver's image in Amazon ECR. Keep the default: it is the AWS Marketplace image of this version.",
        constraint="Type an Amazon ECR image with its tag or digest, for example "
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1.0.0.",
        default=default,
        pattern=r"^[0-9]{12}\.dkr\.ecr\.[a-z]{2}(-[a-z]+)+-[0-9]\.amazonaws\.com/[a-z0-9][a-z0-9._/-]*"
        r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$",
    )


def fields(container_image: str) -> tuple[Field, ...]:
    """Every field, in the order of the form."""
    return (*FIELDS, container_image_field(container_image))


def add_to(template: Template, container_image: str) -> None:
    """Add every parameter, and the form that groups and labels them."""
    table = fields(container_image)
    for field in table:
        template.add_parameter(field.parameter())
    template.set_metadata(
        {
            "AWS::CloudFormation::Interface": {
                "ParameterGroups": [
                    {"Label": {"default": group}, "Parameters": [f.name for f in table if f.group == group]}
                    for group in GROUPS
                ],
                "ParameterLabels": {field.name: {"default": field.label} for field in table},
            }
        }
    )
