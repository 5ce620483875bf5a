"""The words of the listing: titles, descriptions, and the usage instructions that buyers read at launch.

What the template says (roles, defaults, counts) is taken from it; the rest is written here, within the limits of
`limits.py`. The usage instructions cover the checklist of AWS Marketplace's "Container-based product requirements".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storescp_cfn.marketplace.cost import Estimate, Workload

TITLE = "DICOM Store SCP for AWS HealthImaging"
DELIVERY_OPTION = "Amazon ECS on AWS Fargate (CloudFormation)"
DELIVERY_DESCRIPTION = (
    "One CloudFormation template: a Network Load Balancer, the DICOM receiver on AWS Fargate in two or more "
    "Availability Zones, an Amazon S3 landing bucket, an AWS Lambda importer and an AWS HealthImaging data store. It "
    "runs wholly in your account; no image, identifier or metric leaves it."
)

SHORT_DESCRIPTION = (
    "Send from CT, MR and X-ray to a DICOM Store SCP in your own AWS account, and find every image in AWS "
    "HealthImaging. An image is acknowledged only once it is durable in Amazon S3; a ledger accounts for each one."
)
LONG_DESCRIPTION = (
    "StoreSCP receives DICOM images from your modalities and PACS and imports them into AWS HealthImaging without "
    "anybody doing anything.\n\n"
    "Acknowledged means durable: the sender gets its success status only after Amazon S3 has confirmed the whole "
    "object. Durable means accounted for: every image ends imported, or in quarantine with the reason, and a ledger "
    "says which. What is not imported is never deleted.\n\n"
    "Images are imported in batches, so that a CT of a thousand slices is one import job and not a thousand. Load "
    "balancing over Availability Zones, automatic scaling, TLS, allow-listed networks and AE titles, least-privilege "
    "roles, alarms and a dashboard come with the template. All transfer syntaxes and SOP classes are accepted; the "
    "stored data set is byte for byte what was sent."
)
HIGHLIGHTS = (
    "Acknowledged means durable: C-STORE success leaves only after Amazon S3 has confirmed the image.",
    "Every image is accounted for: imported, or quarantined with its reason, in a ledger that you can ask.",
    "Everything stays in your account: no telemetry, no vendor access, least-privilege roles, encrypted storage.",
)
SEARCH_KEYWORDS = ("DICOM", "Store SCP", "HealthImaging", "PACS", "radiology", "medical imaging", "C-STORE", "modality")
CATEGORIES = ("Healthcare & Life Sciences",)
SUPPORT_DESCRIPTION = (
    "Documentation, troubleshooting and the deployment guide come with the product. Write to the address on the "
    "listing; say the stack's Region and version and what `storescp-cfn doctor` printed. Never send patient data."
)

# The month that the usage instructions quote.
TYPICAL = Workload(studies_per_day=50, images_per_study=200, image_mb=0.5)

# Points of the checklist (aws-marketplace user guide, container product requirements), and the heading that covers it.
CHECKLIST = {
    "every step, from subscription to use": "STEPS",
    "network configuration": "NETWORK",
    "components and how they communicate": "COMPONENTS",
    "where sensitive data is stored": "DATA",
    "how it is encrypted, and where each key is": "ENCRYPTION",
    "how keys and credentials are rotated": "ROTATION",
    "purpose of each IAM role and policy": "ROLES",
    "backup and recovery": "BACKUP",
    "how its health is watched": "HEALTH",
    "service quotas": "QUOTAS",
    "pricing and cost estimate": "COST",
    "external dependencies": "OUTSIDE",
    "how it is removed": "REMOVAL",
}


@dataclass(frozen=True)
class Facts:
    """What the usage instructions take from the release."""

    version: str
    region: str
    roles: Mapping[str, str]
    paid: bool
    estimate: Estimate


def information() -> dict[str, Any]:
    """The details of UpdateInformation: the product page."""
    return {
        "ProductTitle": TITLE,
        "ShortDescription": SHORT_DESCRIPTION,
        "LongDescription": LONG_DESCRIPTION,
        "Highlights": list(HIGHLIGHTS),
        "SearchKeywords": list(SEARCH_KEYWORDS),
        "Categories": list(CATEGORIES),
        "SupportDescription": SUPPORT_DESCRIPTION,
        "AdditionalResources": [],
        "VideoUrls": [],
    }


def usage_instructions(facts: Facts) -> str:
    """The text that is shown at launch; at most 4,000 characters (checked with the change set)."""
    roles = "; ".join(f"{name}: {purpose}" for name, purpose in facts.roles.items())
    fee = "Software: hourly for each running task, see the listing." if facts.paid else "Software: no charge."
    sections = {
        "STEPS": "1 Have a VPC with two public and two private subnets and a NAT gateway. 2 Subscribe, continue to the "
        "launch page, open the link of your Region. 3 Fill in the form, tick the IAM acknowledgement, create the stack "
        "(about 10 minutes). 4 Outputs: give NetworkLoadBalancerDNS, DICOMPort and DICOMAETitle to your devices. 5 Test: "
        "echoscu -aec DICOMAETitle NetworkLoadBalancerDNS DICOMPort, then send a study and see it in the data store.",
        "NETWORK": "Only the PeerCIDR networks and the VPC reach the port. Tasks run in private subnets; outbound HTTPS "
        "through NAT. Use TLS or a VPN over the internet: TLSCertificateARN makes the listener TLS 1.2/1.3.",
        "COMPONENTS": "Devices -> Network Load Balancer -> receiver (Fargate) -> S3 landing bucket -> EventBridge -> "
        "importer (Lambda) -> HealthImaging; results bucket; DynamoDB ledger; CloudWatch alarms -> SNS. Diagram: on the "
        "listing.",
        "DATA": "Images (patient data): landing bucket and HealthImaging. Results bucket and ledger: UIDs and AE titles. "
        "Logs and metrics: no patient attribute.",
        "ENCRYPTION": "Buckets, ledger, logs and data store are encrypted at rest with AWS owned or managed keys, or with "
        "your KMS key (KmsKeyARN), which stays in your account. AWS calls use TLS. The template holds no secret.",
        "ROTATION": "No passwords or access keys: tasks and functions use role credentials that AWS rotates. ACM renews "
        "certificates it issued; turn on rotation for your KMS key.",
        "ROLES": roles + ". Policies are inline, one with each role, for these purposes only.",
        "BACKUP": "Landing bucket is versioned; imported images stay RetentionDays as versions; images not imported are "
        "never deleted. The ledger has point-in-time recovery. After a fault the importer resumes by itself. To bring "
        "a deleted object back, remove its delete marker.",
        "HEALTH": "Open the stack's dashboard; set AlarmEmail. Alarms: no healthy target, failed C-STORE, quarantined "
        "images, batches not imported, importer errors. In the ECS console the service shows running tasks.",
        "QUOTAS": "HealthImaging: 100 import jobs at once (Sydney 20), 5,000 files or 10 GB a job; Fargate vCPU and VPC "
        "security-group rules. Raise them in the Service Quotas console.",
        "COST": f"{fee} AWS, {facts.region}, {TYPICAL.studies_per_day:g} studies a day of "
        f"{TYPICAL.images_per_study:g} images of {TYPICAL.image_mb:g} MB: about ${facts.estimate.ours_usd:.0f} a month "
        f"with a NAT gateway (list prices, {facts.estimate.as_of}); images kept in HealthImaging grow.",
        "OUTSIDE": "Only AWS services of your account, and the image from the AWS Marketplace registry (us-east-1). No "
        "telemetry" + (", except usage metering with AWS Marketplace." if facts.paid else "."),
        "REMOVAL": "Delete the stack; buckets, ledger and data store are kept.",
    }
    body = "\n".join(f"{heading}: {text}" for heading, text in sections.items())
    return f"{TITLE} {facts.version}\n{body}\n"
