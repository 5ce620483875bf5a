"""No statement is idle: the real chain, IAM enforced, breaks whenever one statement, action or resource is taken away.

One stack serves all trials. Each takes one piece out of a role's policy, sends studies and drives the importer; then
the policy is put back, and the same works. One study is a single image, which goes by StoreDICOM and for which storage
commitment is asked; one goes by a job; one is large enough to be split and has an image that HealthImaging refuses. So
a trial with every piece in place calls everything that the roles allow.

Covers iam.py, local/processes.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from storescp_cfn.local import embedded_aws
from storescp_cfn.local.processes import free_port
from storescp_cfn.local.stack import REGION, LocalStack, LocalStackError
from storescp_cfn.template import iam, importing, reference, render, service
from tests.template.local.trials import SLICES, Piece, Trials

# What the local AWS cannot try, and why; everything else has to break the chain when it is missing.
UNTRIED = {
    ("ReceiverPolicy", "ProtectBusyTasks"): "the ECS agent asks for it inside a task; there is none here",
    ("ExecutionPolicy", "LogInToRegistry"): "ECS asks for it before a task starts; no task starts here",
    ("ExecutionPolicy", "PullImage"): "ECS asks for it before a task starts; no task starts here",
    ("ExecutionPolicy", "WriteLog"): "ECS asks for it while a task runs; the log goes to a file here",
    ("ImporterPolicy", "WriteLog"): "the emulated Lambda writes logs by itself, not with the function's role",
    ("ImportJobKeyPolicy", "UseKeyOfDatastore"): "whether HealthImaging asks in this role's name is not documented",
    ("ExecutionKeyPolicy", "UseCustomerKey"): "ECS reads secrets before a task starts; no task starts here",
    ("ExecutionTlsPolicy", "ReadTlsSecrets"): "ECS reads secrets before a task starts; no task starts here",
    ("ReceiverPolicy", "PersistCommitments"): "nobody asks for storage commitment here; tests/container does",
    ("ReceiverPolicy", "ReadCommitments"): "nobody asks for storage commitment here; tests/container does",
    ("ReceiverPolicy", "ListCommitments"): "nobody asks for storage commitment here; tests/container does",
}
# Parts of a statement of which the same holds.
UNTRIED_PARTS = {
    ("ImportJobPolicy", "ListBuckets", "ResultsBucket"): "HealthImaging's guide asks for it; the emulator does not",
    ("ImporterPolicy", "RunImportJobs", "medical-imaging:ListDICOMImportJobs"): "asked only after a run was killed "
    "between starting a job and noting it; tests/import_lambda kills one there",
    (
        "ImporterPolicy",
        "ReadLanding",
        "s3:GetObjectTagging",
    ): "the emulated S3 copies tags whoever asks",
    (
        "ReceiverKeyPolicy",
        "UseCustomerKey",
        "kms:Decrypt",
    ): "S3 asks for it in multipart uploads, not the emulated",
    ("ImporterPolicy", "FindOpenMatters", "Ledger/index/Open"): "only gauges are read from it: images go on without; "
    "tests/import_lambda/test_dicomweb.py reads it",
    ("ImporterPolicy", "QuarantineImages", "s3:PutObjectTagging"): "the emulated S3 copies tags whoever asks",
    ("ImporterPolicy", "SplitBatches", "s3:PutObjectTagging"): "the emulated S3 copies tags whoever asks",
    ("ImporterPolicy", "ReadLanding", "LandingBucket/quarantine/*"): "read when a person asks for a retry; "
    "tests/end_to_end/test_lost_and_found.py does, with the roles as they are",
}


ROLES = (*service.roles(), *importing.roles())


def named(resource: Any) -> str:
    """A resource of a grant as the test names it: its logical id and what follows."""
    value = resource if isinstance(resource, str) else resource.to_dict()
    if isinstance(value, dict) and "Fn::GetAtt" in value:
        return str(value["Fn::GetAtt"][0])
    text = value.get("Fn::Sub", value) if isinstance(value, dict) else value
    return str(text).replace("${", "").replace(".Arn}", "")


def pieces_of(grant: iam.Grant, policy: str) -> Iterator[Piece]:
    yield Piece(policy, grant.sid)
    actions = [str(action.JSONrepr()) for action in grant.actions]
    resources = [named(resource) for resource in grant.resources]
    for parts in (actions, resources):
        if len(parts) > 1:
            yield from (Piece(policy, grant.sid, part) for part in parts)


PIECES = [
    piece
    for role in ROLES
    for policy, grants in ((role.policy_id, role.grants), *((name, grants) for _, name, grants in role.conditional))
    for grant in grants
    for piece in pieces_of(grant, policy)
]
TRIED = [
    piece
    for piece in PIECES
    if (piece.policy, piece.sid) not in UNTRIED and (piece.policy, piece.sid, piece.part) not in UNTRIED_PARTS
]


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    environment = pytest.MonkeyPatch()
    environment.setenv("BATCH_QUIET_SECONDS", "0.3")
    with LocalStack(render().to_json()) as stack:
        stack.start_aws()
        policy = json.dumps(reference.key_policy(REGION, embedded_aws.ACCOUNT))
        key = stack.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]
        stack.parameters["KmsKeyARN"] = key
        stack.create_stack()
        deployed, port = stack.deployed(), free_port()
        functions = stack.client("lambda")
        configuration = functions.get_function_configuration(FunctionName=deployed.importer_function)
        variables = configuration["Environment"]["Variables"] | {"MAX_FILES_PER_JOB": str(SLICES - 1)}
        variables |= {"JOB_STARTS_PER_SECOND": "50", "FAST_MAX_INSTANCES": "1"}
        functions.update_function_configuration(
            FunctionName=deployed.importer_function, Environment={"Variables": variables}
        )
        pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName="StoreSCP")
        physical = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
        }
        stack.start_receiver(deployed, port)
        yield Trials(stack, deployed, port, physical)
    environment.undo()


def test_every_statement_is_tried_or_has_a_reason_not_to_be() -> None:
    statements = {(piece.policy, piece.sid) for piece in PIECES}
    assert set(UNTRIED) <= statements
    assert {(piece.policy, piece.sid) for piece in TRIED} == statements - set(UNTRIED)
    assert {(*piece,) for piece in UNTRIED_PARTS} <= {(p.policy, p.sid, p.part) for p in PIECES}


def test_the_chain_runs_with_every_piece_in_place(trials: Trials, tmp_path: Path) -> None:
    assert trials.runs(tmp_path)


def test_a_receiver_that_cannot_abandon_an_upload_is_not_ready(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    trials.restart_receiver()
    monkeypatch.setattr("storescp_cfn.local.stack.START_SECONDS", 5)
    with trials.lacking(Piece("ReceiverPolicy", "AbortUploads")), pytest.raises(LocalStackError, match="not ready"):
        trials.restart_receiver()
    monkeypatch.undo()
    trials.restart_receiver()


@pytest.mark.parametrize(
    "piece",
    [piece for piece in TRIED if piece.sid != "AbortUploads"],
    ids=lambda piece: "-".join(filter(None, (piece.policy, piece.sid, piece.part.replace("/", "_")))),
)
def test_without_this_piece_the_chain_breaks(trials: Trials, piece: Piece, tmp_path: Path) -> None:
    with trials.lacking(piece):
        assert not trials.runs(tmp_path / "without")
    trials.forget()
    assert trials.runs(tmp_path / "with")


BUCKET_ACTIONS = ["ListBucket", "GetBucketPolicy", "PutBucketPolicy", "DeleteBucket", "PutLifecycleConfiguration"]
OBJECT_ACTIONS = ["GetObject", "PutObject", "DeleteObject", "DeleteObjectVersion", "AbortMultipartUpload"]


@pytest.mark.parametrize("role", [role.logical_id for role in ROLES])
def test_no_role_reaches_another_bucket_or_deletes_a_version(trials: Trials, role: str) -> None:
    client = trials.stack.client("iam")
    arn = client.get_role(RoleName=trials.physical[role])["Role"]["Arn"]
    landing, logs = trials.physical["LandingBucket"], trials.physical["AccessLogBucket"]

    def allowed(actions: list[str], resource: str) -> set[str]:
        results = client.simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=[f"s3:{action}" for action in actions], ResourceArns=[resource]
        )["EvaluationResults"]
        return {result["EvalActionName"] for result in results if result["EvalDecision"] == "allowed"}

    for bucket in ("another-hospitals-bucket", logs, f"{landing}-2"):
        assert allowed(BUCKET_ACTIONS, f"arn:aws:s3:::{bucket}") == set()
        assert allowed(OBJECT_ACTIONS, f"arn:aws:s3:::{bucket}/incoming/x.dcm") == set()
    assert "s3:DeleteObject" not in allowed(OBJECT_ACTIONS, f"arn:aws:s3:::{landing}/quarantine/x.dcm")
    assert "s3:DeleteObjectVersion" not in allowed(OBJECT_ACTIONS, f"arn:aws:s3:::{landing}/incoming/x.dcm")


def test_the_receivers_keys_open_nothing_but_its_two_prefixes(trials: Trials) -> None:
    """With the keys that ECS would give the task, asked of the running S3."""
    import urllib.request

    import boto3

    described = trials.stack.client("ecs").describe_task_definition(taskDefinition=trials.deployed.task_definition)
    variables = trials.stack.task_credentials(described["taskDefinition"]["taskRoleArn"])
    request = urllib.request.Request(
        variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        keys = json.load(answer)
    s3 = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=trials.stack.endpoint_url,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    )
    landing = trials.deployed.landing_bucket
    s3.put_object(Bucket=landing, Key="incoming/unrecognized", Body=b"x", IfNoneMatch="*")
    trials.stack.client("s3").delete_object(Bucket=landing, Key="incoming/unrecognized")
    refused: list[Callable[[], object]] = [
        lambda: s3.put_object(Bucket=landing, Key="quarantine/x", Body=b"x"),
        lambda: s3.get_object(Bucket=landing, Key="incoming/unrecognized"),
        lambda: s3.list_objects_v2(Bucket=landing),
        lambda: s3.delete_object(Bucket=landing, Key="incoming/unrecognized"),
        lambda: s3.put_object(Bucket=trials.deployed.results_bucket, Key="incoming/x", Body=b"x"),
        lambda: s3.put_object(Bucket="storescp-templates", Key="incoming/x", Body=b"x"),
    ]
    for call in refused:
        with pytest.raises(ClientError) as denied:
            call()
        assert denied.value.response["Error"]["Code"] in ("AccessDenied", "403")
