"""The root cause of a failed stack, and not its consequences.

Covers account/connection.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from storescp_cfn.account import failure
from tests.account.conftest import Account


def event(second: int, resource: str, status: str, reason: str, kind: str = "AWS::S3::Bucket") -> dict[str, Any]:
    moment = datetime(2026, 11, 24, 10, 0, second, tzinfo=UTC)
    return {
        "Timestamp": moment,
        "LogicalResourceId": resource,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "ResourceType": kind,
    }


def test_the_first_failure_that_is_no_consequence_is_the_cause() -> None:
    events = [
        event(
            9, "StoreSCP", "CREATE_FAILED", "The following resource(s) failed to create", "AWS::CloudFormation::Stack"
        ),
        event(5, "Ledger", "CREATE_FAILED", "Resource creation cancelled"),
        event(4, "Service", "CREATE_FAILED", "ECS Deployment Circuit Breaker was triggered"),
        event(1, "Bucket", "CREATE_IN_PROGRESS", ""),
    ]
    cause = failure.root_cause(events)
    assert cause is not None
    assert cause["LogicalResourceId"] == "Service"
    assert failure.root_cause(events[3:]) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ECS Deployment Circuit Breaker was triggered", "no way out"),
        ("CannotPullContainerError: pull access denied", "subscription"),
        ("ResourceInitializationError: unable to pull secrets", "NAT gateway"),
        ("User is not authorized to perform: s3:CreateBucket", "policy launch"),
        ("something else", "mend what the reason says"),
    ],
)
def test_reasons_are_explained(reason: str, words: str) -> None:
    assert words in failure.explained(reason)[1]


def test_why_a_task_stopped() -> None:
    task = {
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "containers": [{"exitCode": 2}],
    }
    assert failure.stopped_reason(task) == "Essential container in task exited exit status 2"
    assert failure.stopped_reason({"stopCode": "ServiceSchedulerInitiated", "stoppedReason": "scaled in"}) == ""


def test_a_stack_that_runs_has_no_cause(account: Account) -> None:
    assert [line for line in failure.describe(account.deployment) if line.subject == "root cause"] == []
