"""Every parameter of the template, as data: the form, the documentation and the tests read this table."""

from __future__ import annotations

from dataclasses import dataclass

from troposphere import Parameter, Template

from storescp_cfn.template import fargate, findings, patterns
from storescp_cfn.template.release import Release

NETWORK = "Network: where it runs and who may reach it"
DICOM = "DICOM: how devices address it and what it accepts"
TLS = "TLS: encryption between devices and the load balancer"
CAPACITY = "Capacity: size and number of receivers"
DATA = "Data: where images go, how they are encrypted and how long things are kept"
OPERATION = "Operation"
GROUPS = (NETWORK, DICOM, TLS, CAPACITY, DATA, OPERATION)

MOST_DESIRED_TASKS = 10
MOST_TASKS = 20
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html, from a month on
LOG_RETENTION_DAYS = (30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


ARCHITECTURE = (
    "Devices send DICOM C-STORE to a network load balancer, which spreads associations over receivers (ECS on "
    "Fargate). A receiver stores each image in the landing bucket before it acknowledges it, and closes batches. "
    "Closed batches, ended import jobs and a minute's schedule wake the importer (Lambda), which runs one "
    "HealthImaging import job a batch and records in the ledger (DynamoDB) that each image is imported or quarantined."
)
INVARIANTS = (
    "An acknowledged image is never lost: what holds images outlives the stack and never expires.",
    "A prefix below incoming/ holds the images of one closed batch and nothing else.",
    "No reserved concurrency, and no fixed names: any number of stacks in any account.",
)


@dataclass(frozen=True)
class ParameterSpec:
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
        """The troposphere parameter that this describes."""
        optional = {
            "ConstraintDescription": self.constraint,
            "Default": self.default,
            "AllowedPattern": self.pattern,
            "AllowedValues": list(self.values) or None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return Parameter(self.name, Type=self.type, Description=self.description, **given)


def _whole_number(
    name: str, group: str, label: str, description: str, default: int, allowed: tuple[int, int]
) -> ParameterSpec:
    """A whole number between two limits; a String, because CloudFormation's Number also admits 104.5 and 1e4."""
    low, high = allowed
    return ParameterSpec(
        name,
        group,
        label,
        description,
        constraint=f"Type a whole number from {low} to {high}, without sign, point or comma. Example: {default}.",
        default=str(default),
        pattern=patterns.whole(patterns.integer(low, high)),
    )


def _choice(
    name: str, group: str, label: str, description: str, default: object, values: tuple[object, ...]
) -> ParameterSpec:
    """One value of a list."""
    listed = tuple(map(str, values))
    return ParameterSpec(
        name,
        group,
        label,
        description,
        type="Number" if isinstance(default, int) else "String",
        constraint=f"Choose one of {', '.join(listed)}. Example: {default}.",
        default=str(default),
        values=listed,
    )


_PEER_CONSTRAINT = (
    "Type an IPv4 network as address/prefix, prefix 8 to 32, for example 203.0.113.0/24 for a site or "
    "203.0.113.7/32 for one device. 0.0.0.0/0 is refused: it would let everybody on the internet send to the receiver."
)
_PEER_PATTERN = patterns.cidr(8, 32)

_NETWORK = (
    ParameterSpec(
        "VpcID",
        NETWORK,
        "VPC",
        "The VPC to run in, for example vpc-0a1b2c3d. It needs two public and two private subnets and a NAT gateway. "
        "It cannot be changed later.",
        type="AWS::EC2::VPC::Id",
        constraint="Choose a VPC of this Region, for example vpc-0a1b2c3d.",
    ),
    ParameterSpec(
        "PublicSubnetIDs",
        NETWORK,
        "Public subnets",
        "Two or more public subnets of the VPC, each in another Availability Zone, for an internet-facing load "
        "balancer. Example: subnet-0aa11,subnet-0bb22",
        type="List<AWS::EC2::Subnet::Id>",
        constraint="Choose two or more public subnets, each in another Availability Zone, for example "
        "subnet-0aa11,subnet-0bb22.",
    ),
    ParameterSpec(
        "PrivateSubnetIDs",
        NETWORK,
        "Private subnets",
        "Two or more private subnets of the VPC, each in another Availability Zone, for the receivers and an internal "
        "load balancer. They reach AWS through a NAT gateway. Example: subnet-0cc33,subnet-0dd44",
        type="List<AWS::EC2::Subnet::Id>",
        constraint="Choose two or more private subnets, each in another Availability Zone, for example "
        "subnet-0cc33,subnet-0dd44.",
    ),
    ParameterSpec(
        "SecurityGroupID",
        NETWORK,
        "Security group of the receivers",
        "A security group of the VPC that the receivers join, for example sg-0a1b2c3d. It must allow outgoing HTTPS "
        "(TCP 443). The stack adds to it the two rules that the load balancer needs, and nothing else.",
        type="AWS::EC2::SecurityGroup::Id",
        constraint="Choose a security group of the VPC, for example sg-0a1b2c3d.",
    ),
    ParameterSpec(
        "VpcCIDR",
        NETWORK,
        "Address range of the VPC",
        "The VPC's IPv4 range, for example 10.0.0.0/16. Devices inside the VPC may send.",
        constraint="Type the VPC's IPv4 range as address/prefix, prefix 16 to 28, for example 10.0.0.0/16.",
        pattern=patterns.whole(patterns.cidr(16, 28)),
    ),
    ParameterSpec(
        "PeerCIDR1",
        NETWORK,
        "Allowed sender network 1",
        "The addresses that your devices come from, for example 203.0.113.0/24, the hospital's public range.",
        constraint=_PEER_CONSTRAINT,
        pattern=patterns.whole(_PEER_PATTERN),
    ),
    *(
        ParameterSpec(
            f"PeerCIDR{number}",
            NETWORK,
            f"Allowed sender network {number}",
            f"A further range of addresses that devices come from, for example {example}. Leave empty if there is "
            "none.",
            constraint=_PEER_CONSTRAINT + " Or leave it empty.",
            default="",
            pattern=patterns.optional(_PEER_PATTERN),
        )
        for number, example in ((2, "198.51.100.0/24"), (3, "192.0.2.0/24"))
    ),
    ParameterSpec(
        "LoadBalancerScheme",
        NETWORK,
        "Load balancer reachable from",
        "internet-facing: from the internet, by the allowed networks only. internal: from inside the VPC and from "
        "networks that reach it by VPN, Direct Connect or peering. Changing it later gives the load balancer a new "
        "host name. Example: internal",
        constraint="Choose internet-facing or internal. Example: internal.",
        default="internet-facing",
        values=("internet-facing", "internal"),
    ),
    ParameterSpec(
        "PrivateRouteTableIDs",
        NETWORK,
        "Route tables of the private subnets",
        "Route tables that get a gateway endpoint for Amazon S3, so that image data does not pay for the NAT gateway. "
        "Leave empty if the VPC has one already. Example: rtb-0a1b2c3d,rtb-0e4f5a6b",
        constraint="Type route table ids with commas between them and no spaces, for example "
        "rtb-0a1b2c3d,rtb-0e4f5a6b. Or leave it empty.",
        default="",
        pattern=patterns.optional(patterns.listed("rtb-[0-9a-f]{8,17}")),
    ),
)

_DICOM = (
    ParameterSpec(
        "SCPAETitle",
        DICOM,
        "AE title",
        "The Called AE Title that devices are configured with, for example MYHOSPITAL.",
        constraint="Type 1 to 16 letters, digits, spaces or signs; no backslash or comma, and no space at either "
        "end. Example: STORESCP.",
        default="STORESCP",
        pattern=patterns.whole(patterns.AE_TITLE),
    ),
    _whole_number(
        "SCPPort",
        DICOM,
        "Port",
        "The TCP port that devices connect to, for example 11112, 104, or 2762 with TLS.",
        11112,
        (1, 65535),
    ),
    _choice(
        "RequireCalledAETitle",
        DICOM,
        "Refuse other Called AE Titles",
        "true: devices that call another AE title than the one above are rejected. false: any title is accepted. "
        "Example: true",
        "false",
        ("true", "false"),
    ),
    ParameterSpec(
        "RequireCallingAETitle",
        DICOM,
        "Allowed Calling AE Titles",
        "Only devices with these AE titles may send, for example CT1,MR1,WORKSTATION1. Leave empty to accept every "
        "title from the allowed networks.",
        constraint="Type AE titles of 1 to 16 characters with commas and no spaces between them, for example CT1,MR1. "
        "Or leave it empty.",
        default="",
        pattern=patterns.optional(patterns.listed(patterns.AE_TITLE)),
    ),
    ParameterSpec(
        "SupportedSOPClassUIDs",
        DICOM,
        "Accepted SOP classes",
        "Only these SOP classes are accepted, by UID, for example 1.2.840.10008.5.1.4.1.1.2,"
        "1.2.840.10008.5.1.4.1.1.4 for CT and MR. Leave empty to accept all.",
        constraint="Type SOP Class UIDs with commas and no spaces between them, for example "
        "1.2.840.10008.5.1.4.1.1.2,1.2.840.10008.5.1.4.1.1.4. Or leave it empty.",
        default="",
        pattern=patterns.optional(patterns.listed(patterns.UID_IN_LIST)),
    ),
    _whole_number(
        "MaximumAssociations",
        DICOM,
        "Associations at once",
        "How many associations one receiver holds at a time; further ones are asked to come back later. Example: 300",
        300,
        (1, 5000),
    ),
    _whole_number(
        "DIMSETimeout",
        DICOM,
        "DIMSE timeout, seconds",
        "An image that cannot be stored within this time is answered with a failure, so the device keeps it. "
        "Example: 60",
        60,
        (5, 300),
    ),
    _whole_number(
        "NetworkTimeout",
        DICOM,
        "Network timeout, seconds",
        "An association that is silent for so long is ended. Less than 350, the load balancer's own limit. Example: 90",
        90,
        (10, 300),
    ),
)

_CAPACITY = (
    _choice(
        "TaskCPU",
        CAPACITY,
        "CPU units of a receiver",
        "1024 units are one vCPU. Example: 512",
        512,
        fargate.CPU_SIZES,
    ),
    _choice(
        "TaskMemoryLimit",
        CAPACITY,
        "Memory of a receiver, MiB",
        "It must go with the CPU units: 256 with 512 to 2048, 512 with 1024 to 4096, 1024 with 2048 to 8192, 2048 with "
        "4096 to 16384, 4096 with 8192 to 30720. Example: 1024",
        1024,
        fargate.MEMORY_SIZES_MIB,
    ),
    _choice(
        "TaskDesiredCount",
        CAPACITY,
        "Receivers that always run",
        "Two or more keep receiving when an Availability Zone fails. Example: 2",
        2,
        tuple(range(1, MOST_DESIRED_TASKS + 1)),
    ),
    _choice(
        "AutoscaleMaxCapacity",
        CAPACITY,
        "Receivers at most",
        "How many receivers may run when many devices send at once; at least as many as always run. Example: 4",
        4,
        tuple(range(1, MOST_TASKS + 1)),
    ),
    _choice(
        "CpuArchitecture",
        CAPACITY,
        "Processor",
        "ARM64 costs about a fifth less, but is missing in some Availability Zones, such as use1-az3. Example: X86_64",
        "X86_64",
        ("X86_64", "ARM64"),
    ),
)

_DATA = (
    ParameterSpec(
        "DatastoreID",
        DATA,
        "Existing data store",
        "Import into this AWS HealthImaging data store of the same account and Region, for example "
        "0123456789abcdef0123456789abcdef. Leave empty to create one.",
        constraint="Type the 32 digits and small letters of a data store's id, for example "
        "0123456789abcdef0123456789abcdef. Or leave it empty.",
        default="",
        pattern=patterns.optional("[0-9a-z]{32}"),
    ),
    ParameterSpec(
        "KmsKeyARN",
        DATA,
        "Customer managed key",
        "A symmetric AWS KMS key of this Region that encrypts buckets, table, logs, alarms and a new data store, for "
        "example arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab. Its policy must allow "
        "it, see the documentation. Changing it later makes a new, empty data store and keeps the old one. Leave empty "
        "for keys that AWS manages.",
        constraint="Type the ARN of a key, not of an alias, for example "
        "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab. Or leave it empty.",
        default="",
        pattern=patterns.optional(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/(mrk-[0-9a-f]{32}|[0-9a-f-]{36})"),
    ),
    _whole_number(
        "RetentionDays",
        DATA,
        "Keep imported originals, days",
        "How long the landing bucket keeps the original of an image after it was imported. Images that are not "
        "imported are kept for ever. Example: 30",
        30,
        (1, 3650),
    ),
    _choice(
        "LogRetentionDays",
        DATA,
        "Keep logs, days",
        "How long logs are kept; 2192 days are six years. Example: 365",
        365,
        LOG_RETENTION_DAYS,
    ),
)


def _operation(container_image: str) -> tuple[ParameterSpec, ...]:
    return (
        ParameterSpec(
            "AlarmEmail",
            OPERATION,
            "E-mail for alarms",
            "Alarms are sent to this address, for example pacs-team@hospital.example, once its owner has confirmed the "
            "message that AWS sends first. Leave empty to send none.",
            constraint="Type one e-mail address, for example pacs-team@hospital.example. Or leave it empty.",
            default="",
            pattern=patterns.optional(r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"),
        ),
        ParameterSpec(
            "ContainerImage",
            OPERATION,
            "Container image",
            "The receiver's image in Amazon ECR. Keep the default: it is the AWS Marketplace image of this version. "
            f"Example: {container_image}",
            constraint="Type an Amazon ECR image with its tag or digest, for example "
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1.0.0.",
            default=container_image,
            pattern=patterns.whole(patterns.ECR_IMAGE),
        ),
    )


_TLS = (
    ParameterSpec(
        "TLSCertificateARN",
        TLS,
        "Certificate",
        "A certificate of AWS Certificate Manager in this Region, for example "
        "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012: devices then connect "
        "with TLS 1.2 or 1.3. Leave empty for no TLS.",
        constraint="Type the ARN of a certificate, for example "
        "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012. Or leave it empty.",
        default="",
        pattern=patterns.optional(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]{36}"),
    ),
)


def parameter_specs(release: Release | None = None) -> tuple[ParameterSpec, ...]:
    """Every parameter of a release, in the order of the form."""
    operation = _operation((release or Release()).container_image)
    return (*_NETWORK, *_DICOM, *_TLS, *_CAPACITY, *_DATA, *operation)


def add_to(template: Template, release: Release) -> None:
    """Add every parameter, and the form that groups and labels them."""
    table = parameter_specs(release)
    for spec in table:
        template.add_parameter(spec.parameter())
    template.set_metadata(
        {
            findings.CONTEXT: {"arch": ARCHITECTURE, "must": list(INVARIANTS)},
            "AWS::CloudFormation::Interface": {
                "ParameterGroups": [
                    {"Label": {"default": group}, "Parameters": [spec.name for spec in table if spec.group == group]}
                    for group in GROUPS
                ],
                "ParameterLabels": {spec.name: {"default": spec.label} for spec in table},
            },
        }
    )
