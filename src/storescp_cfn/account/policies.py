"""The least IAM policies for who launches, updates and operates a stack, made from the template's own resource types.

Actions are those that CloudFormation calls with the caller's rights (registry schemas, "handlers", and the service
authorization reference). A new resource type without an entry is a failing test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from storescp_cfn.account.actions_of_types import ACTIONS_OF_TYPE

POLICY_LANGUAGE = "2012-10-17"
# The form itself, its lists of VPCs and subnets, the change set, the checks of `doctor`.
LAUNCHING = {
    "cloudformation": "CreateStack UpdateStack DeleteStack DescribeStacks DescribeStackEvents DescribeStackResources "
    "ListStackResources GetTemplate GetTemplateSummary ValidateTemplate CreateChangeSet DescribeChangeSet "
    "ExecuteChangeSet DeleteChangeSet ListStacks",
    "ec2": "DescribeVpcs DescribeSubnets DescribeSecurityGroups DescribeRouteTables DescribeNatGateways "
    "DescribeVpcEndpoints DescribeNetworkInterfaces",
    "acm": "ListCertificates DescribeCertificate",
    "ecs": "ListTasks DescribeTasks",
    "servicequotas": "GetServiceQuota GetAWSDefaultServiceQuota",
    "iam": "SimulatePrincipalPolicy",
    "sts": "GetCallerIdentity",
}
# status, quarantine, warnings, verify and devices; what they read and write, command by command.
OPERATING: dict[str, dict[str, str]] = {
    "FindTheStack": {"cloudformation": "DescribeStacks ListStackResources"},
    "SeeHealth": {"elasticloadbalancing": "DescribeTargetHealth", "cloudwatch": "DescribeAlarms"},
    "ReadTheReceiversLog": {"logs": "FilterLogEvents"},
    "ReadTheLedger": {"dynamodb": "GetItem Query"},
    "SeeWhatHasLanded": {"s3": "ListBucket"},
    "SearchHealthImaging": {"medical-imaging": "SearchImageSets GetImageSetMetadata"},
}
HANDLING: dict[str, dict[str, str]] = {
    "DecideOnQuarantine": {"dynamodb": "PutItem UpdateItem", "sts": "GetCallerIdentity"},
    "ReadQuarantinedImages": {"s3": "GetObject"},
    "RemoveTestStudies": {"medical-imaging": "DeleteImageSet"},
}


def actions(table: Mapping[str, str]) -> list[str]:
    """`{"s3": "GetObject ListBucket"}` as IAM writes it."""
    return [f"{prefix}:{name}" for prefix, names in table.items() for name in names.split()]


def types_of(template: Mapping[str, Any]) -> list[str]:
    """The resource types of a rendered template; a custom resource counts as one type."""
    found = {resource["Type"] for resource in template["Resources"].values()}
    return sorted({"AWS::CloudFormation::CustomResource" if kind.startswith("Custom::") else kind for kind in found})


def launch_actions(template: Mapping[str, Any]) -> list[str]:
    """Every action that launching, updating and deleting the template takes. Raises KeyError: an unknown type."""
    found = set(actions(LAUNCHING))
    for kind in types_of(template):
        found.update(actions(ACTIONS_OF_TYPE[kind]))
    return sorted(found)


def launch(template: Mapping[str, Any]) -> dict[str, Any]:
    """The policy for who launches, updates and deletes the stack: one statement for each service."""
    by_service: dict[str, list[str]] = {}
    for action in launch_actions(template):
        by_service.setdefault(action.partition(":")[0], []).append(action)
    statements = [
        {"Sid": _sid("Launch", service), "Effect": "Allow", "Action": names, "Resource": "*"}
        for service, names in by_service.items()
        if service != "iam"
    ]
    return _policy([*statements, *_iam_statements(by_service.get("iam", []))])


def _iam_statements(names: Sequence[str]) -> list[dict[str, Any]]:
    """IAM's actions apart: roles may be passed to the stack's own services only."""
    others = [name for name in names if name not in ("iam:PassRole", "iam:CreateServiceLinkedRole")]
    services = ["ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "medical-imaging.amazonaws.com"]
    linked = ["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com", "ecs.application-autoscaling.amazonaws.com"]
    return [
        {"Sid": "LaunchIam", "Effect": "Allow", "Action": others, "Resource": "*"},
        {
            "Sid": "PassRolesToTheStack",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:PassedToService": services}},
        },
        {
            "Sid": "MakeServiceLinkedRoles",
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:AWSServiceName": linked}},
        },
    ]


def operate(resources: Mapping[str, str], changing: bool) -> dict[str, Any]:
    """The policy for who asks (`status`, lists) and, with `changing`, decides (`retry`, `close`, `verify`).

    resources: ARNs by service prefix, `*` for services that take none.
    """
    tables = {**OPERATING, **(HANDLING if changing else {})}
    statements = [
        {
            "Sid": sid if len(table) == 1 else _sid(sid, service),
            "Effect": "Allow",
            "Action": actions({service: names}),
            "Resource": _resources(resources, service),
        }
        for sid, table in tables.items()
        for service, names in table.items()
    ]
    return _policy(statements)


def _resources(resources: Mapping[str, str], service: str) -> list[str] | str:
    arn = resources.get(service, "*")
    return [arn, f"{arn}/*"] if service in ("s3", "dynamodb", "medical-imaging") and arn != "*" else arn


def _sid(prefix: str, service: str) -> str:
    return prefix + "".join(part.capitalize() for part in service.split("-"))


def _policy(statements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"Version": POLICY_LANGUAGE, "Statement": list(statements)}
