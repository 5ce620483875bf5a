"""Launch, update and deletion on the embedded AWS, without waiting: changes.py, deletion.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from storescp_cfn.account import changes, deletion, deploy
from storescp_cfn.account.deployment import Deployment, find
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, as_text
from tests.account import golden
from tests.account.conftest import Account

BUCKET = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}
TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Ref": "Name"}}}
BAD_RULE = {
    "Type": "AWS::EC2::SecurityGroupIngress",
    "DependsOn": ["Landing"],
    "Properties": {"GroupId": "sg-none", "IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "CidrIp": "10.0.0.0/8"},
}


def template(**resources: dict[str, Any]) -> str:
    document = {
        "Description": "StoreSCP 0.0.0: a small one",
        "Parameters": {"Name": {"Type": "String", "Default": "one"}},
        "Resources": resources,
        "Outputs": {"DICOMPort": {"Value": "11112"}},
    }
    return json.dumps(document)


def launch(account: Account, name: str, body: str) -> tuple[changes.Proposal, list[str]]:
    url = deploy.upload(account.connection, body, None)
    return changes.propose(account.connection, name, url, [], creates=True, sleep=lambda seconds: None), []


@pytest.fixture
def small(account: Account) -> Iterator[Deployment]:
    proposal, told = launch(account, "Small", template(Landing=BUCKET, Topic=TOPIC))
    changes.execute(proposal, told.append, sleep=lambda seconds: None)
    yield find(account.connection, "Small")
    account.stack.client("cloudformation").delete_stack(StackName="Small")


def test_what_would_happen_is_shown_and_can_be_taken_back(account: Account) -> None:
    proposal, _ = launch(account, "Small", template(Landing=BUCKET, Topic=TOPIC))
    assert sorted(list(row[:2]) for row in proposal.table().rows) == [["create", "Landing"], ["create", "Topic"]]
    changes.discard(proposal)
    assert deploy.is_new(account.connection, "Small")


def test_a_launch_tells_its_progress_and_its_outputs(account: Account) -> None:
    proposal, told = launch(account, "Small", template(Landing=BUCKET, Topic=TOPIC))
    screen = changes.execute(proposal, told.append, sleep=lambda seconds: None)
    assert screen.exit_status == 0
    assert screen.facts["outputs"] == {"DICOMPort": "11112"}
    assert any("Landing CREATE_COMPLETE" in line for line in told)
    with pytest.raises(AccountError, match="is there already"):
        deploy.is_new(account.connection, "Small")
    account.stack.client("cloudformation").delete_stack(StackName="Small")


def test_an_update_keeps_every_value_that_is_not_changed(account: Account, small: Deployment) -> None:
    body = json.loads(template(Landing=BUCKET, Topic=TOPIC))
    body["Parameters"]["New"] = {"Type": "String", "Default": "x"}
    form = body["Parameters"]
    assert deploy.updated(small, {}, form) == [{"ParameterKey": "Name", "UsePreviousValue": True}]
    changed = deploy.updated(small, {"Name": "two"}, form)
    assert changed == [{"ParameterKey": "Name", "ParameterValue": "two"}]
    url = deploy.upload(account.connection, json.dumps(body), None)
    proposal = changes.propose(account.connection, "Small", url, changed, creates=False, sleep=lambda seconds: None)
    assert [row[1] for row in proposal.table().rows] == ["Topic"]
    screen = changes.execute(proposal, lambda text: None, sleep=lambda seconds: None)
    assert screen.exit_status == 0
    assert find(account.connection, "Small").parameters["Name"] == "two"


def test_a_deletion_shows_what_is_kept_and_why(account: Account, small: Deployment) -> None:
    screen = deletion.preview(small)
    assert [line.details["resource"] for line in screen.lines] == ["Landing"]
    assert "it may hold images" in screen.lines[0].text
    ended = deletion.delete(small, lambda text: None, sleep=lambda seconds: None)
    assert ended.exit_status == 0
    bucket = screen.lines[0].details["physical_id"]
    assert bucket in [row["Name"] for row in account.stack.client("s3").list_buckets()["Buckets"]]


def test_a_failed_launch_names_its_cause_and_its_empty_leftovers_can_go(account: Account) -> None:
    proposal, told = launch(account, "Failing", template(Landing=BUCKET, Rule=BAD_RULE))
    screen = changes.execute(proposal, told.append, sleep=lambda seconds: None)
    assert screen.exit_status == 1
    [cause] = [line for line in screen.lines if line.subject == "root cause"]
    assert cause.details["resource"] == "Rule"
    with pytest.raises(AccountError, match="what is left of a failed launch"):
        deploy.is_new(account.connection, "Failing")
    account.stack.client("cloudformation").delete_stack(StackName="Failing")


def test_what_holds_anything_stays(account: Account) -> None:
    s3 = account.stack.client("s3")
    for name in ("leftover-empty", "leftover-full"):
        s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="leftover-full", Key="x", Body=b"x")
    s3.delete_object(Bucket="leftover-full", Key="x")  # its version is still there
    account.put({"pk": "BATCH#1", "sk": "BATCH"})
    left = [
        ("Empty", "AWS::S3::Bucket", "leftover-empty"),
        ("Full", "AWS::S3::Bucket", "leftover-full"),
        ("Ledger", "AWS::DynamoDB::Table", account.deployment.output("LedgerTableName")),
        ("Role", "AWS::IAM::Role", "x"),
    ]
    screen = deletion.empty_leftovers(account.connection, left)
    assert [line.level for line in screen.lines] == [Level.OK, Level.WARNING, Level.WARNING, Level.WARNING]
    names = [row["Name"] for row in s3.list_buckets()["Buckets"]]
    assert ("leftover-empty" in names, "leftover-full" in names) == (False, True)
    assert account.book.get("BATCH#1", "BATCH") is not None


def test_policies_are_read_from_yaml_as_well() -> None:
    from storescp_cfn.template import render

    found = deletion._policies_of_yaml(render().to_yaml())["Resources"]
    rendered = render().to_dict()["Resources"]
    assert {name: row.get("DeletionPolicy") for name, row in found.items()} == {
        name: row.get("DeletionPolicy") for name, row in rendered.items()
    }


@pytest.mark.parametrize(
    ("values", "missing"),
    [({}, ["VpcID"]), ({"VpcID": "CHANGE-ME"}, ["VpcID"]), ({"VpcID": "vpc-1"}, [])],
)
def test_what_has_no_value_is_missing(values: dict[str, str], missing: list[str]) -> None:
    assert deploy.missing(values, {"VpcID": {}, "Port": {"Default": "1"}}) == missing


def test_a_name_that_is_none_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(AccountError, match="VpcId is no parameter of the template: did you mean VpcID"):
        deploy.require_known({"VpcId": "x"}, {"VpcID": {}})


def test_outputs(account: Account) -> None:
    screen = deploy.outputs(account.deployment, ("DICOMAETitle", "DICOMPort", "NetworkLoadBalancerDNS"))
    golden.check_text("outputs.80.txt", as_text(screen, golden.ON_A_TERMINAL))
