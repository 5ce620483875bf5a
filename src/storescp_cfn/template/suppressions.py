"""Findings of rule sets that do not apply here, written beside the resource with the reason a reviewer reads.

One table line serves the three rule sets that read template metadata: checkov, cfn-guard and cdk-nag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Accepted:
    """Why a finding is accepted, and what the rule sets call it."""

    reason: str
    checkov: Sequence[str] = ()
    guard: Sequence[str] = ()
    nag: Sequence[str] = ()


def metadata(*accepted: Accepted) -> dict[str, Any]:
    """The resource's Metadata."""
    checkov = [{"id": rule, "comment": item.reason} for item in accepted for rule in item.checkov]
    guard = [rule for item in accepted for rule in item.guard]
    nag = [{"id": rule, "reason": item.reason} for item in accepted for rule in item.nag]
    sections: Mapping[str, Any] = {
        "checkov": {"skip": checkov} if checkov else None,
        "guard": {"SuppressedRules": guard} if guard else None,
        "cdk_nag": {"rules_to_suppress": nag} if nag else None,
    }
    return {name: section for name, section in sections.items() if section}
