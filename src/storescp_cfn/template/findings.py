"""What a reviewer reads beside a resource: why it is there, and why a finding of a rule set does not apply to it.

`why` has the place that CloudFormation gives it (Metadata, `com.aws.cloudformation.Context`). Accepted findings stand
in `AcceptedFindings`, each reason once with all its rules, and again in the form that checkov, cfn-guard and cdk-nag
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONTEXT = "com.aws.cloudformation.Context"
ACCEPTED_FINDINGS = "AcceptedFindings"

# cdk-nag's packs, as their rules' names begin.
AWS_SOLUTIONS = "AwsSolutions"
HIPAA = "HIPAA.Security"
NIST_4 = "NIST.800.53.R4"
NIST_5 = "NIST.800.53.R5"
PCI = "PCI.DSS.321"
SERVERLESS = "Serverless"


@dataclass(frozen=True)
class AcceptedFinding:
    """One reason, and what the rule sets call the finding that it answers.

    guard: rules of cfn-guard, in AWS's rules registry (capitals) and in AWS Control Tower's proactive controls.
    nag: rules of cdk-nag, see `nag`. others: rules of trivy and cfripper, which read no metadata.
    """

    reason: str
    checkov: Sequence[str] = ()
    guard: Sequence[str] = ()
    nag: Sequence[str] = ()
    others: Sequence[str] = ()


def nag(rule: str, *packs: str) -> list[str]:
    """A rule of cdk-nag in each pack that has it."""
    return [f"{pack}-{rule}" for pack in packs]


def metadata(why: str, *accepted: AcceptedFinding) -> dict[str, Any]:
    """The Metadata of one resource."""
    findings = [
        {"Reason": item.reason, "Rules": [*item.checkov, *item.guard, *item.nag, *item.others]} for item in accepted
    ]
    checkov = [{"id": rule, "comment": item.reason} for item in accepted for rule in item.checkov]
    guard = [rule for item in accepted for rule in item.guard]
    cdk_nag = [{"id": rule, "reason": item.reason} for item in accepted for rule in item.nag]
    sections: dict[str, Any] = {CONTEXT: {"why": why}}
    if findings:
        sections[ACCEPTED_FINDINGS] = findings
    if checkov:
        sections["checkov"] = {"skip": checkov}
    if guard:
        sections["guard"] = {"SuppressedRules": guard}
    if cdk_nag:
        sections["cdk_nag"] = {"rules_to_suppress": cdk_nag}
    return sections
