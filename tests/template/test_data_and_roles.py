"""What a reviewer would look for, by name: how data is kept and encrypted, and what each role may do.

Covers bucket_policies.py, preflight.py, storage.py, template/ledger.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from audit import modes
from storescp_cfn.template import importing, service
from tests.testkit.template_values import stack_resources

# --- Data ----------------------------------------------------------------------------------------------------


BUCKETS = ("LandingBucket", "ResultsBucket", "AccessLogBucket")


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_private_versioned_encrypted_and_speaks_tls_only(name: str) -> None:
    for values in ({}, {"KmsKeyARN": modes.KEY}):
        resources = stack_resources(**values)
        properties = resources[name]["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        own = {"SSEAlgorithm": "aws:kms"} | ({"KMSMasterKeyID": modes.KEY} if values else {})
        expected = {"SSEAlgorithm": "AES256"} if name == "AccessLogBucket" else own
        assert rule["ServerSideEncryptionByDefault"] == expected
        (policy,) = [
            r["Properties"]["PolicyDocument"]["Statement"]
            for r in resources.values()
            if r["Type"] == "AWS::S3::BucketPolicy" and r["Properties"]["Bucket"] == {"Ref": name}
        ]
        deny = policy[0]
        assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", ["s3:*"])
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": False}}
        aborts = [r for r in properties["LifecycleConfiguration"]["Rules"] if "AbortIncompleteMultipartUpload" in r]
        assert len(aborts) == 1
        assert "Prefix" not in aborts[0]
        assert ("LoggingConfiguration" in properties) == (name != "AccessLogBucket")


def test_nothing_that_holds_an_image_expires() -> None:
    for name in ("LandingBucket", "ResultsBucket"):
        for rule in stack_resources(RetentionDays="7")[name]["Properties"]["LifecycleConfiguration"]["Rules"]:
            keys = set(rule) - {"Id", "Status", "Prefix"}
            if keys == {"AbortIncompleteMultipartUpload"}:
                continue
            assert name == "LandingBucket"
            assert keys == {"ExpiredObjectDeleteMarker", "NoncurrentVersionExpiration"}
            assert rule["Prefix"] in ("incoming/", "batches/", "split/", "commitments/")
            assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": "7"}


def test_the_ledger_can_be_restored_and_not_be_deleted_by_accident() -> None:
    properties = stack_resources(KmsKeyARN=modes.KEY)["Ledger"]["Properties"]
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["DeletionProtectionEnabled"] is True
    assert properties["SSESpecification"]["KMSMasterKeyId"] == modes.KEY
    # Nothing but a device's days carries it (docs/adr/0001).
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert {index["IndexName"] for index in properties["GlobalSecondaryIndexes"]} == {"Unsettled", "Open"}


def test_the_customers_key_encrypts_everything_that_can_have_it() -> None:
    resources = stack_resources(KmsKeyARN=modes.KEY)
    places = {
        name for name, r in resources.items() if modes.KEY in json.dumps(r["Properties"]) and "Policy" not in r["Type"]
    }
    assert places == {
        "LandingBucket",
        "ResultsBucket",
        "Ledger",
        "Datastore",
        "ReceiverLogGroup",
        "ImporterLogGroup",
        "Importer",
        "AlarmTopic",
        "Preflight",  # which is told it; its log has to speak of a wrong one, and does without
    }
    policies = {name for name, r in resources.items() if r["Type"] == "AWS::IAM::ManagedPolicy" and "Key" in name}
    assert policies == {f"{role}KeyPolicy" for role in ("Receiver", "Execution", "Importer", "ImportJob", "Preflight")}


# --- Roles ---------------------------------------------------------------------------------------------------


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in stack_resources(KmsKeyARN=modes.KEY).items():
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            yield from ((name, s) for s in resource["Properties"]["PolicyDocument"]["Statement"])


@pytest.mark.parametrize(
    ("policy", "statement"), list(statements()), ids=lambda v: v if isinstance(v, str) else v["Sid"]
)
def test_a_statement_names_actions_and_resources(policy: str, statement: dict[str, Any]) -> None:
    assert statement["Effect"] == "Allow"
    assert all("*" not in action for action in statement["Action"])
    if "*" in statement["Resource"]:
        assert (policy, statement["Sid"]) in {
            ("ExecutionPolicy", "LogInToRegistry"),
            ("PreflightPolicy", "LookAtNetwork"),
        }
        assert all(re.match(r"ecr:GetAuthorizationToken|ec2:Describe", action) for action in statement["Action"])
    s3 = [action for action in statement["Action"] if action.startswith("s3:")]
    if s3:
        resources = json.dumps(statement["Resource"])
        assert "LandingBucket" in resources or "ResultsBucket" in resources
        assert "s3:DeleteObjectVersion" not in s3


def test_every_statement_has_a_sid_of_its_own_and_a_reason() -> None:
    for role in (*service.roles(), *importing.roles()):
        sids = [grant.sid for grant in (*role.grants, *role.key_grants)]
        assert len(set(sids)) == len(sids)
        assert all(len(grant.why) > 15 for grant in (*role.grants, *role.key_grants))
        assert all(grant.any_resource_because for grant in role.grants if "*" in grant.resources)


def trust(role: str) -> dict[str, Any]:
    statement: dict[str, Any]
    (statement,) = stack_resources()[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    return statement


def test_services_assume_their_roles_for_this_account_only() -> None:
    job = trust("ImportJobRole")
    assert job["Principal"] == {"Service": "medical-imaging.amazonaws.com"}
    assert job["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnEquals": {
            "aws:SourceArn": {
                "Fn::Sub": [
                    "arn:aws:medical-imaging:us-east-1:123456789012:datastore/${Id}",
                    {"Id": {"Ref": "Datastore"}},
                ]
            }
        },
    }
    for role in ("ReceiverRole", "ExecutionRole"):
        assert trust(role)["Condition"] == {
            "StringEquals": {"aws:SourceAccount": "123456789012"},
            "ArnLike": {"aws:SourceArn": "arn:aws:ecs:us-east-1:123456789012:*"},
        }


def test_pass_role_is_bound_to_one_role_and_one_service() -> None:
    (passing,) = [statement for _, statement in statements() if "iam:PassRole" in statement["Action"]]
    assert passing["Action"] == ["iam:PassRole"]
    assert passing["Resource"] == [{"Fn::GetAtt": ["ImportJobRole", "Arn"]}]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}}


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        (
            "709825985650.dkr.ecr.us-east-1.amazonaws.com/seller/repo:1.0",
            "us-east-1:709825985650:repository/seller/repo",
        ),
        ("123456789012.dkr.ecr.eu-west-2.amazonaws.com/a/b/c:1", "eu-west-2:123456789012:repository/a/b/c"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/a@sha256:" + "0" * 64, "us-west-2:123456789012:repository/a"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/a:1@sha256:" + "0" * 64, "us-west-2:123456789012:repository/a"),
    ],
)
def test_only_the_images_own_repository_is_pulled_from(image: str, repository: str) -> None:
    resources = stack_resources(ContainerImage=image)
    document = resources["ExecutionPolicy"]["Properties"]["PolicyDocument"]
    (pull,) = [statement for statement in document["Statement"] if statement["Sid"] == "PullImage"]
    assert pull["Resource"] == [f"arn:aws:ecr:{repository}"]
