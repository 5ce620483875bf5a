"""The least policies, each statement needed: actions_of_types.py has every type of the template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storescp_cfn.account import policies, quarantine, status, whereabouts
from storescp_cfn.account.actions_of_types import ACTIONS_OF_TYPE
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import find
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.quarantine import Selection
from storescp_cfn.account.screen import Level
from storescp_cfn.local.stack import REGION, STACK_NAME
from storescp_cfn.template import render
from tests.account.conftest import Account


def test_every_resource_type_of_the_template_is_known() -> None:
    assert set(policies.types_of(render().to_dict())) <= ACTIONS_OF_TYPE.keys()


def test_the_launch_policy_is_a_policy_and_passes_roles_to_our_services_only() -> None:
    document = policies.launch(render().to_dict())
    sids = [statement["Sid"] for statement in document["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(sid.isalnum() for sid in sids)
    # A managed policy holds 6,144 characters without white space: IAM and STS quotas.
    assert len(json.dumps(document, separators=(",", ":"))) <= 2 * 6_144
    passing = next(statement for statement in document["Statement"] if statement["Action"] == "iam:PassRole")
    assert "ecs-tasks.amazonaws.com" in passing["Condition"]["StringEquals"]["iam:PassedToService"]


STATEMENTS = [statement["Sid"] for statement in policies.operate({}, changing=True)["Statement"]]


class Operator:
    """A user with one policy, on the embedded AWS with IAM enforced."""

    def __init__(self, account: Account, name: str) -> None:
        self.iam = account.stack.client("iam")
        self.name = name
        self.iam.create_user(UserName=name)
        self.key = self.iam.create_access_key(UserName=name)["AccessKey"]
        self.account = account

    def allow(self, document: dict[str, Any]) -> None:
        self.iam.put_user_policy(UserName=self.name, PolicyName="p", PolicyDocument=json.dumps(document))

    def works(self, monkeypatch: pytest.MonkeyPatch) -> bool:
        """Ask and decide as an operator does; whether all of it could be asked."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.key["SecretAccessKey"])
        connection = Connection(region_name=REGION, endpoint_url=self.account.stack.endpoint_url)
        item = {
            "pk": "BATCH#20261124T101500000Z-9f3a61c2-0002",
            "sk": "QUARANTINED#1.2.3",
            "open": "QUARANTINED",
            "open_since": "2026",
            "quarantine_key": "quarantine/x.dcm",
        }
        self.account.clear()
        self.account.put(item)
        self.account.land("quarantine/x.dcm")
        try:
            deployment = find(connection, STACK_NAME)
            screen = status.overview(deployment)
            whereabouts.study(deployment, "1.2.3")
            quarantine.show(deployment, "1.2.3")
            quarantine.close(deployment, quarantine.QUARANTINE_KINDS, Selection(image="1.2.3"), "x")
        except AccountError:
            return False
        return all(line.level != Level.UNKNOWN for line in screen.lines)


@pytest.fixture(scope="module")
def operator(running_account: Account) -> Operator:
    return Operator(running_account, "operator")


def test_an_operator_works_with_the_operators_policy(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.allow(policies.operate({}, changing=True))
    assert operator.works(monkeypatch)


# What these tests do not ask: verify's own last leg, tried in tests/end_to_end.
UNTRIED = {"RemoveTestStudies", "DecideOnQuarantineSts"}


@pytest.mark.parametrize("sid", [sid for sid in STATEMENTS if sid not in UNTRIED])
def test_every_statement_is_needed(operator: Operator, monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    document = policies.operate({}, changing=True)
    document["Statement"] = [statement for statement in document["Statement"] if statement["Sid"] != sid]
    operator.allow(document)
    assert not operator.works(monkeypatch)


def test_who_only_asks_may_change_nothing(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.allow(policies.operate({}, changing=False))
    assert not operator.works(monkeypatch)
