"""The documented policy of a customer's key is enough, and none of its statements is idle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from storescp_cfn.local import embedded_aws
from storescp_cfn.local.stack import REGION, LocalStack
from storescp_cfn.template import reference, render
from tests.template.local.stacks import Stacks

BODY = render().to_json()
POLICY = reference.key_policy(REGION, embedded_aws.ACCOUNT)
SIDS = [statement["Sid"] for statement in POLICY["Statement"]]
# Statements without which a stack cannot be made, and the resource that fails.
NEEDED_TO_CREATE = {"EncryptLogs": "ReceiverLogGroup", "KeepImages": "Datastore"}
# LetIamDecide: test_iam_enforced takes each role's part of it away.
UNTRIED = {"PublishAlarms": "no alarm is published here"}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalStack]:
    with LocalStack(BODY) as stack:
        stack.start_aws()
        Stacks(stack, {}).upload(BODY)
        yield stack


def key_with(local: LocalStack, *sids: str) -> str:
    """A key whose policy has these statements only."""
    statements = [statement for statement in POLICY["Statement"] if statement["Sid"] in sids]
    policy = json.dumps({**POLICY, "Statement": statements})
    return str(local.client("kms").create_key(Policy=policy, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["Arn"])


def create(local: LocalStack, name: str, key: str) -> tuple[str, list[dict[str, Any]]]:
    stacks = Stacks(local, {**local.network_parameters(), "KmsKeyARN": key})
    status = stacks.run("create", name, {})
    return status, [event for event in stacks.events(name) if event["ResourceStatus"] == "CREATE_FAILED"]


def test_every_statement_is_tried_or_has_a_reason_not_to_be() -> None:
    assert set(SIDS) == {"LetIamDecide", *NEEDED_TO_CREATE, *UNTRIED}


def test_the_documented_policy_is_enough(local: LocalStack) -> None:
    assert create(local, "Whole", key_with(local, *SIDS)) == ("CREATE_COMPLETE", [])


@pytest.mark.parametrize(("sid", "resource"), NEEDED_TO_CREATE.items())
def test_without_this_statement_a_stack_cannot_be_made(local: LocalStack, sid: str, resource: str) -> None:
    key = key_with(local, *(one for one in SIDS if one != sid))
    status, failed = create(local, f"Without{sid}", key)
    assert status in ("ROLLBACK_COMPLETE", "CREATE_FAILED")
    assert resource in {event["LogicalResourceId"] for event in failed}
    assert any("does not let" in event.get("ResourceStatusReason", "") for event in failed)


def test_without_the_accounts_statement_no_policy_of_a_role_counts(local: LocalStack) -> None:
    """The preflight check may not look at the key, and whoever writes to a bucket with it is refused."""
    key = key_with(local, *(sid for sid in SIDS if sid != "LetIamDecide"))
    s3, iam = local.client("s3"), local.client("iam")
    s3.create_bucket(Bucket="locked")
    s3.put_bucket_encryption(
        Bucket="locked",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}]
        },
    )
    iam.create_user(UserName="writer")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=json.dumps(everything))
    access = iam.create_access_key(UserName="writer")["AccessKey"]
    import boto3

    writer = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=local.endpoint_url,
        aws_access_key_id=access["AccessKeyId"],
        aws_secret_access_key=access["SecretAccessKey"],
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        writer.put_object(Bucket="locked", Key="x", Body=b"x")
    local.client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(POLICY))
    writer.put_object(Bucket="locked", Key="x", Body=b"x")
