"""The usage instructions that buyers read at launch: `usage.txt`, filled with what the release says of itself.

They cover the checklist of AWS Marketplace's "Container-based product requirements".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from storescp_cfn.marketplace.cost import Estimate, Workload

# The month that the usage instructions quote.
TYPICAL = Workload(studies_per_day=50, images_per_study=200, image_mb=0.5)

# Points of the checklist (Marketplace seller guide), and the heading in `usage.txt` that covers each.
CHECKLIST = {
    "every step, from subscription to use": "STEPS",
    "what the person who launches may do": "PERMISSIONS",
    "network configuration": "NETWORK",
    "components and how they communicate": "COMPONENTS",
    "where sensitive data is stored": "DATA",
    "how it is encrypted, and where each key is": "ENCRYPTION",
    "how keys and credentials are rotated": "ROTATION",
    "purpose of each IAM role and policy": "ROLES",
    "backup and recovery": "BACKUP",
    "how its health is watched": "HEALTH",
    "how it is upgraded": "UPGRADE",
    "service quotas": "QUOTAS",
    "pricing and cost estimate": "COST",
    "external dependencies": "OUTSIDE",
    "how it is removed": "REMOVAL",
}


@dataclass(frozen=True)
class Facts:
    """What the usage instructions take from the release.

    Attributes:
        version: of the release.
        image: URI of the receiver's image.
        region: whose prices are quoted.
        roles: each role's logical id, and what it is for.
        metered: whether the receiver registers its usage with AWS Marketplace.
        support: the address of the listing.
        estimate: of the typical month.
    """

    version: str
    image: str
    region: str
    roles: Mapping[str, str]
    metered: bool
    support: str
    estimate: Estimate


def usage_instructions(facts: Facts) -> str:
    """The text that is shown at launch; at most 4,000 characters (checked with the change set)."""
    text = files(__package__).joinpath("usage.txt").read_text("utf-8")
    return Template(text).substitute(
        version=facts.version,
        image=facts.image,
        support=facts.support,
        roles="; ".join(f"{name}: {purpose.rstrip('.')}" for name, purpose in facts.roles.items()),
        fee="Software: see the listing." if facts.metered else "Software: no charge.",
        region=facts.region,
        traffic=TYPICAL.words(),
        monthly_usd=f"{facts.estimate.this_product_usd:.0f}",
        as_of=facts.estimate.as_of,
        metering=" Usage is metered with AWS Marketplace (product code only)." if facts.metered else "",
    )
