"""The words of the listing: titles, descriptions, and the usage instructions that buyers read at launch.

What the template says (roles, costs) is taken from it; the rest is written here and in `usage.txt`, within the limits
of `limits.py`. The usage instructions cover the checklist of AWS Marketplace's "Container-based product requirements".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
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

# Points of the checklist (Marketplace seller guide), and the heading in `usage.txt` that covers each.
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
    text = files(__package__).joinpath("usage.txt").read_text("utf-8")
    return Template(text).substitute(
        version=facts.version,
        roles="; ".join(f"{name}: {purpose}" for name, purpose in facts.roles.items()),
        fee="Software: by the hour for each running task, see the listing." if facts.paid else "Software: no charge.",
        region=facts.region,
        traffic=TYPICAL.words(),
        monthly_usd=f"{facts.estimate.this_product_usd:.0f}",
        as_of=facts.estimate.as_of,
        metering=", except usage metering with AWS Marketplace" if facts.paid else "",
    )
