"""No statement is idle: the real chain, IAM enforced, breaks whenever one statement, action or resource is taken away.

One stack serves all trials. Each takes one piece out of a role's policy, sends studies and drives the importer; then
the policy is put back, and the same works. One study is a single image, which goes by StoreDICOM and for which storage
commitment is asked; one goes by a job; one is large enough to be split and has an image that HealthImaging refuses. So
a trial with every piece in place calls everything that the roles allow.

Covers iam.py, local/processes.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from botocore.exceptions import ClientError

from storescp_cfn.local import dcmtk, embedded_aws
from storescp_cfn.local.processes import free_port
from storescp_cfn.local.stack import REGION, DeployedStack, LocalStack, LocalStackError
from storescp_cfn.local.study import DicomFile, synthetic_ct
from storescp_cfn.template import iam, importing, reference, render, service

ROUNDS = 20  # of the importer; an intact chain is done after about six
PAUSE_SECONDS = 0.25
SLICES = 3

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


@dataclass(frozen=True)
class Piece:
    """What is taken away: a whole statement (`part` empty), or one of its actions or resources."""

    policy: str
    sid: str
    part: str = ""

    def without(self, document: dict[str, Any], parts: dict[str, str]) -> dict[str, Any]:
        """The policy document without this piece; `parts` translates resources' logical names to what is in it."""
        statements = []
        for statement in document["Statement"]:
            if statement["Sid"] != self.sid:
                statements.append(statement)
            elif self.part:
                gone = parts.get(self.part, self.part)
                lists = {key: [value for value in statement[key] if value != gone] for key in ("Action", "Resource")}
                left = {**statement, **lists}
                assert left != statement, self
                statements.append(left)
        return {**document, "Statement": statements}


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


def study_of(file: DicomFile) -> str:
    """The Study Instance UID of a file."""
    return str(pydicom.dcmread(file.path, stop_before_pixels=True).StudyInstanceUID)


@dataclass
class Trials:
    """The running chain, and what a trial does with it."""

    stack: LocalStack
    deployed: DeployedStack
    port: int
    physical: dict[str, str]
    asked: set[str] = field(default_factory=set)  # storage commitment requests
    answered: set[str] = field(default_factory=set)

    @property
    def parts(self) -> dict[str, str]:
        """What a piece's resource is called in the deployed policies."""
        arns = {
            "LandingBucket": f"arn:aws:s3:::{self.physical['LandingBucket']}",
            "ResultsBucket": f"arn:aws:s3:::{self.physical['ResultsBucket']}",
        }
        table = f"arn:aws:dynamodb:{REGION}:{embedded_aws.ACCOUNT}:table/{self.physical['Ledger']}"
        indexes = {f"Ledger/index/{name}": f"{table}/index/{name}" for name in ("Unsettled", "Open")}
        return (
            arns
            | indexes
            | {
                f"{name}/{prefix}/*": f"{arn}/{prefix}/*"
                for name, arn in arns.items()
                for prefix in (
                    "incoming",
                    "batches",
                    "quarantine",
                    "jobs",
                    "split",
                    "commitments",
                    "commitments/results",
                )
            }
        )

    @contextmanager
    def lacking(self, piece: Piece) -> Iterator[None]:
        """Take a piece out of the deployed policy, and put it back."""
        client, arn = self.stack.client("iam"), self.physical[piece.policy]
        version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = client.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        lesser = piece.without(document, self.parts)
        if not lesser["Statement"]:
            lesser["Statement"] = [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
        self.replace(arn, lesser)
        try:
            yield
        finally:
            self.replace(arn, document)

    def replace(self, arn: str, document: dict[str, Any]) -> None:
        """Make a document the policy's only version: it may have five."""
        client = self.stack.client("iam")
        earlier = client.list_policy_versions(PolicyArn=arn)["Versions"]
        client.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
        for version in earlier:
            client.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])

    def study(self, folder: Path) -> list[DicomFile]:
        """Slices of one study, of which HealthImaging refuses the last."""
        files = synthetic_ct(folder, slices=SLICES, rows=16, columns=16)
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(files[-1].path)
            dataset.StudyDescription = "x" * 300
            dataset.save_as(files[-1].path)
        return files

    def runs(self, folder: Path) -> bool:
        """Send both studies and drive the importer; whether all is acknowledged, settled, answered and tidied up."""
        single, files = synthetic_ct(folder / "single", slices=1, rows=16, columns=16), self.study(folder / "split")
        pair = synthetic_ct(folder / "pair", slices=2, rows=16, columns=16)
        for study in (single, pair, files):
            if not self.are_sent(study) or not self.is_batch_closed(study[0]):
                return False
        steps = [
            lambda: self.is_stored(single[0]),
            lambda: self.is_imported(pair[0]),
            lambda: self.is_settled(study_of(files[0])),
            lambda: self.is_committed(single[0]),
        ]
        for _ in range(ROUNDS):
            while steps and steps[0]():
                steps.pop(0)
            if not steps:
                return True
            self.stack.client("lambda").invoke(FunctionName=self.deployed.importer_function)
            time.sleep(PAUSE_SECONDS)
        return False

    def are_sent(self, files: list[DicomFile]) -> bool:
        """Whether the receiver acknowledges all of them, over one association."""
        sent = dcmtk.store(files, "127.0.0.1", self.port, "STORESCP", "CT1", self.stack.folder, lambda _: None)
        return all(outcome.acknowledged for outcome in sent)

    def is_batch_closed(self, file: DicomFile) -> bool:
        """Wait until the batch of an image is closed, so that the next study is not part of it."""
        for _ in range(ROUNDS):
            batches = {key.split("/")[1] for key in self.landing_keys("incoming/") if study_of(file) in key}
            if not batches or any(f"batches/{batch}.json" in self.landing_keys("batches/") for batch in batches):
                return True  # or the importer was faster than we
            time.sleep(PAUSE_SECONDS)
        return False

    def is_stored(self, file: DicomFile) -> bool:
        """The ledger says that the image is imported, and no job was started for it."""
        items = self.items_of_study(study_of(file))
        batches = [self.item(f"BATCH#{item['batch']['S']}", "BATCH") for item in items]
        return (
            sum(int(item["imported"]["N"]) for item in items) == 1
            and all(item["state"]["S"] == "SETTLED" for item in items)
            and [batch["jobs_started"]["N"] for batch in batches] == ["0"]
            and not any(study_of(file) in key for key in self.landing_keys())
        )

    def is_imported(self, file: DicomFile) -> bool:
        """The ledger says that both images of a pair are imported, and their originals are gone."""
        items = self.items_of_study(study_of(file))
        imported = sum(int(item["imported"]["N"]) for item in items)
        return imported == 2 and not any(study_of(file) in key for key in self.landing_keys())

    def is_committed(self, file: DicomFile) -> bool:
        """Ask for storage commitment as the receiver does, take the answer, and see what was asked go."""
        s3, bucket = self.stack.client("s3"), self.deployed.landing_bucket
        dataset = pydicom.dcmread(file.path, stop_before_pixels=True)
        request = f"CT1-{dataset.SOPInstanceUID}"
        keys = {kind: f"commitments/{kind}/{request}.json" for kind in ("requests", "results", "delivered")}
        there = set(self.landing_keys("commitments/"))
        if request in self.asked:
            if keys["results"] in there and keys["delivered"] not in there:
                s3.put_object(Bucket=bucket, Key=keys["delivered"], Body=b'{"delivered_at": "2026-11-24T10:00:00Z"}')
                self.answered.add(request)
            return request in self.answered and not there & set(keys.values())
        self.asked.add(request)
        instances = [[str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)]]
        fields = {"schema": 1, "id": request, "transaction_uid": str(dataset.SOPInstanceUID), "instances": instances}
        fields |= {"calling_ae_title": "CT1", "called_ae_title": "STORESCP"}
        fields |= {"received_at": "2026-11-24T10:00:00.000Z", "timeout_at": "2099-01-01T00:00:00.000Z"}
        s3.put_object(Bucket=bucket, Key=keys["requests"], Body=json.dumps(fields).encode())
        return False

    def landing_keys(self, prefix: str = "") -> list[str]:
        """Keys of the landing bucket's current objects."""
        pages = self.stack.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.deployed.landing_bucket, Prefix=prefix)
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def items_of_study(self, study: str) -> list[dict[str, Any]]:
        """The ledger's items of a study."""
        items: list[dict[str, Any]] = self.stack.client("dynamodb").query(
            TableName=self.deployed.ledger_table,
            KeyConditionExpression="pk = :study",
            ExpressionAttributeValues={":study": {"S": f"STUDY#{study}"}},
        )["Items"]
        return items

    def item(self, pk: str, sk: str) -> dict[str, Any]:
        """One item of the ledger."""
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        item: dict[str, Any] = self.stack.client("dynamodb").get_item(TableName=self.deployed.ledger_table, Key=key)[
            "Item"
        ]
        return item

    def is_settled(self, study: str) -> bool:
        """The ledger says so of every batch of the study, the refused image is in quarantine, and nothing is left."""
        keys = self.landing_keys()
        own = [key for key in keys if study in key]
        batches = {key.split("/")[1].split(".")[0] for key in own}
        manifests = [key for key in keys if key.startswith("batches/") and key[8:].split(".")[0] in batches]
        items = self.items_of_study(study)
        counts = [{name: int(item[name]["N"]) for name in ("imported", "quarantined")} for item in items]
        return (
            sum(count["imported"] for count in counts) == SLICES - 1
            and sum(count["quarantined"] for count in counts) == 1
            and all(item["state"]["S"] in ("SETTLED", "SPLIT") for item in items)
            and len(own) == 2  # the refused image and its reason
            and all(key.startswith("quarantine/") for key in own)
            and not manifests
        )

    def forget(self) -> None:
        """Remove what a broken trial left, as an operator: it must not be in the way of the next."""
        s3, dynamodb = self.stack.client("s3"), self.stack.client("dynamodb")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.deployed.landing_bucket):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=self.deployed.landing_bucket, Key=entry["Key"])
        for page in dynamodb.get_paginator("scan").paginate(TableName=self.deployed.ledger_table):
            for item in page["Items"]:
                key = {name: item[name] for name in ("pk", "sk")}
                dynamodb.delete_item(TableName=self.deployed.ledger_table, Key=key)

    def restart_receiver(self) -> None:
        """Start the receiver anew, which tries whether it can write its store and abandon an upload."""
        assert self.stack.receiver_child is not None
        self.stack.receiver_child.stop(20)
        self.stack.start_receiver(self.deployed, self.port)


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
