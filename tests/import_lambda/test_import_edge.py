"""The importer at its edge over HTTP: boto3_aws.py, boto3_s3.py, errors.py, aws.py.

S3, DynamoDB and IAM are ministack's, HealthImaging is the emulator, which checks requests against the service model.
The function's key may do what it needs and no more.

Covers import_lambda/metrics.py.
"""

from __future__ import annotations

import io
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pydicom
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError, ReadTimeoutError
from pydicom.data import get_testdata_file

from healthimaging_emulator.api import Api
from healthimaging_emulator.object_store import S3ObjectStore
from healthimaging_emulator.scheduler import Scheduler
from healthimaging_emulator.server import EmulatorServer, Workers
from healthimaging_emulator.service import HealthImaging
from import_lambda.aws import Item
from import_lambda.boto3_aws import Boto3Aws, plain
from import_lambda.boto3_s3 import aws_errors
from import_lambda.errors import AwsError, Conflict, Missing, Refused, TryLater
from import_lambda.handler import handler
from import_lambda.keys import iso
from import_lambda.settings import read_settings
from storescp_cfn.local.embedded_healthimaging import create_datastore
from storescp_cfn.local.processes import Child, free_port
from tests.testkit.import_scenarios import batch_id

REGION = "us-east-1"
LANDING, RESULTS, TABLE = "landing-bucket", "results-bucket", "ledger"
ROLE = "arn:aws:iam::000000000000:role/import"


def policy() -> dict[str, Any]:
    """What the function's role is granted, and nothing else."""
    landing, results, table = f"arn:aws:s3:::{LANDING}", f"arn:aws:s3:::{RESULTS}", "arn:aws:dynamodb:*:*:table/ledger"
    moved = [f"{landing}/incoming/*", f"{landing}/split/*"]
    grants = [
        (["s3:ListBucket"], [landing, results]),
        (["s3:GetObject"], [*moved, f"{landing}/batches/*", f"{landing}/commitments/*", f"{results}/jobs/*"]),
        (["s3:PutObject"], [f"{landing}/split/*", f"{landing}/quarantine/*", f"{results}/jobs/*"]),
        (["s3:PutObject"], [f"{landing}/commitments/results/*"]),
        (["s3:DeleteObject"], [*moved, f"{landing}/batches/*", f"{landing}/commitments/*"]),
        (["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"], [table]),
        (["dynamodb:Query"], [f"{table}/index/Unsettled", f"{table}/index/Open"]),
    ]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": resources} for actions, resources in grants]
    return {"Version": "2012-10-17", "Statement": statements}


@dataclass
class Account:
    """The services, with the operator's clients; the function has its own key in the environment."""

    s3: Any
    dynamodb: Any
    emulator: EmulatorServer
    actions: set[str]
    landing: str

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=LANDING, Key=key, Body=body)

    def keys(self, prefix: str) -> list[str]:
        return [row["Key"] for row in self.s3.list_objects_v2(Bucket=LANDING, Prefix=prefix).get("Contents", [])]

    def close(self, batch: str, instances: int) -> None:
        now = iso(time.time())
        manifest = {"schema": 1, "batch": batch, "instances": instances, "closed_at": now, "last_stored_at": now}
        self.put(f"batches/{batch}.json", json.dumps(manifest | {"calling_ae_titles": ["CT1"]}).encode())

    def item(self, batch: str) -> Item:
        item = self.dynamodb.Table(TABLE).get_item(Key={"pk": f"BATCH#{batch}", "sk": "BATCH"}).get("Item", {})
        return plain(item)


def environment_of(url: str, emulator: EmulatorServer, key: Mapping[str, str]) -> dict[str, str]:
    """The function's variables: its access key, and the two servers in AWS's place."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": emulator.url,
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_DEFAULT_REGION": REGION,
        "LANDING_BUCKET": LANDING,
        "RESULTS_BUCKET": RESULTS,
        "LEDGER_TABLE": TABLE,
        "DATASTORE_ID": create_datastore(emulator, "images"),
        "DATA_ACCESS_ROLE_ARN": ROLE,
        "STACK_NAME": "stack",
        "ORPHAN_AFTER_SECONDS": "60",
        "FAST_IMPORT": "false",  # test_dicomweb.py has it true
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",  # no host runtime-127.0.0.1
    }


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    port = free_port()
    own = {"AUTH": "true", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "LOG_LEVEL": "WARNING"}
    log = tmp_path_factory.mktemp("ministack") / "log"
    ministack = Child(["ministack"], {"PATH": path(), "HOME": str(log.parent), **own}, log)
    root = boto3.session.Session("test", "test", region_name=REGION)
    url, config = f"http://127.0.0.1:{port}", Config(retries={"mode": "standard", "max_attempts": 10})
    s3 = root.client("s3", endpoint_url=url, config=config)
    wait_until_it_answers(s3, ministack)
    dynamodb = root.resource("dynamodb", endpoint_url=url)
    create(s3, dynamodb)
    key = create_key(root.client("iam", endpoint_url=url))
    workers, actions = Workers(1), set[str]()

    def authorize(access_key_id: str, action: str, resource_arn: str, context: Any) -> bool:
        actions.add(action)
        return access_key_id == key["AccessKeyId"]

    store = S3ObjectStore(s3)
    service = HealthImaging(Scheduler(time.time), lambda role, datastore: store, lambda event: None, workers.run)
    emulator = EmulatorServer(Api(service, authorize), workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # it would keep another module's keys
        for name, value in environment_of(url, emulator, key).items():
            patch.setenv(name, value)
        yield Account(s3, dynamodb, emulator, actions, LANDING)
    emulator.stop()
    ministack.stop(5)


def path() -> str:
    import sys

    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def wait_until_it_answers(s3: Any, ministack: Child) -> None:
    for _ in range(200):
        assert ministack.running, ministack.last_lines()
        try:
            s3.list_buckets()
            return
        except Exception:  # noqa: BLE001 - whatever a server that is starting up does
            time.sleep(0.1)
    raise AssertionError("ministack does not answer")


def create(s3: Any, dynamodb: Any) -> None:
    for bucket in (LANDING, RESULTS):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    names = {"pk": "HASH", "sk": "RANGE"}
    indexes = {
        "Unsettled": {"unsettled": "HASH", "batch": "RANGE"},
        "Open": {"open": "HASH", "open_since": "RANGE"},
    }
    attributes = [*names, *(name for index in indexes.values() for name in index)]
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in names.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in attributes],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
                "Projection": {"ProjectionType": "ALL"},
            }
            for index, keys in indexes.items()
        ],
    )


def create_key(iam: Any) -> dict[str, str]:
    iam.create_user(UserName="importer")
    iam.put_user_policy(UserName="importer", PolicyName="importer", PolicyDocument=json.dumps(policy()))
    key: dict[str, str] = iam.create_access_key(UserName="importer")["AccessKey"]
    return key


@pytest.fixture
def account(services: Account) -> Iterator[Account]:
    yield services
    services.emulator.service.state.settings = type(services.emulator.service.state.settings)()


class Context:
    """Lambda's context, as far as it is looked at."""

    def get_remaining_time_in_millis(self) -> int:
        return 90_000


def wake_until(account: Account, batch: str, *states: str) -> Item:
    for _ in range(60):
        assert handler({"what": "is never read"}, Context()) is not None
        if account.item(batch).get("state") in states:
            return account.item(batch)
        time.sleep(0.25)
    raise AssertionError(f"{batch} is {account.item(batch)}")


def instance(number: int, study: str) -> tuple[str, bytes]:
    """A small CT image under a UID of its own: Study/Series/SOP, and its Part 10 file."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return f"{study}/{study}.1/{study}.1.{number}", buffer.getvalue()


def new_batch() -> tuple[str, str]:
    number = uuid.uuid4().int % 10**9
    return batch_id(time.time(), number), f"1.2.{number}"


def without_transfer_syntax(part10: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(part10))
    del dataset.file_meta.TransferSyntaxUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def test_a_batch_with_good_and_bad_objects_is_settled_instance_by_instance(account: Account) -> None:
    batch, study = new_batch()
    for number in range(1, 5):
        rest, body = instance(number, study)
        account.put(f"incoming/{batch}/{rest}.dcm", body)
    body = instance(9, study)[1]
    bad = {"91": b"text", "92": b"", "93": body[:3000], "94": without_transfer_syntax(body)}
    for name, broken in bad.items():
        account.put(f"incoming/{batch}/{study}/{study}.1/{study}.1.{name}.dcm", broken)
    account.put("incoming/readme.txt", b"hello")
    account.close(batch, 8)
    item = wake_until(account, batch, "SETTLED")
    assert (item["received"], item["imported"], item["quarantined"]) == (8, 4, 4)
    assert account.keys("incoming/") + account.keys("batches/") == []
    quarantined = account.keys(f"quarantine/{batch}/")
    assert len(quarantined) == 8
    for key in [key for key in quarantined if key.endswith(".json")]:
        assert json.loads(account.s3.get_object(Bucket=LANDING, Key=key)["Body"].read())["reason"]
    original = account.s3.get_object(Bucket=LANDING, Key=f"quarantine/{batch}/{study}/{study}.1/{study}.1.93.dcm")
    assert original["Body"].read() == bad["93"]
    (unrecognized,) = [key for key in account.keys("quarantine/unrecognized/") if key.endswith(".json")]
    record = json.loads(account.s3.get_object(Bucket=LANDING, Key=unrecognized)["Body"].read())
    assert record["object_key"] == "incoming/readme.txt"
    study_item = account.dynamodb.Table(TABLE).get_item(Key={"pk": f"STUDY#{study}", "sk": f"BATCH#{batch}"})["Item"]
    assert (study_item["imported"], study_item["quarantined"], study_item["state"]) == (4, 4, "SETTLED")
    assert account.actions <= {
        "medical-imaging:StartDICOMImportJob",
        "medical-imaging:GetDICOMImportJob",
        "medical-imaging:ListDICOMImportJobs",
        "iam:PassRole",
    }


def test_a_batch_over_the_limit_is_halved(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_FILES_PER_JOB", "3")
    batch, study = new_batch()
    for number in range(1, 6):
        rest, body = instance(number, study)
        account.put(f"incoming/{batch}/{rest}.dcm", body)
    account.close(batch, 5)
    assert wake_until(account, batch, "SPLIT")["moved"] == 5
    halves = [wake_until(account, f"{batch}.{half}", "SETTLED") for half in (1, 2)]
    assert [half["imported"] for half in halves] == [2, 3]
    assert account.keys("incoming/") == []


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceQuotaExceededException", "ConflictException"])
def test_errors_that_pass_are_waited_out(account: Account, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = account.emulator.service.state.settings
    errors = {"StartDICOMImportJob": [code] * 2}
    account.emulator.service.state.settings = settings.changed({"errors_before": errors, "manifest_lag_seconds": 1.0})
    batch, study = new_batch()
    rest, body = instance(1, study)
    account.put(f"incoming/{batch}/{rest}.dcm", body)
    account.close(batch, 1)
    wake_until(account, batch, "SETTLED")
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["ImportErrors"] for line in printed if "ImportErrors" in line} == {0}
    assert (
        code in {line.get("code") for line in printed} or code == "ThrottlingException"
    )  # botocore retries that itself


def test_a_start_whose_answer_is_lost_starts_one_job(account: Account) -> None:
    settings = account.emulator.service.state.settings
    account.emulator.service.state.settings = settings.changed(
        {"errors_after": {"StartDICOMImportJob": ["InternalServerException"] * 3}}
    )
    batch, study = new_batch()
    rest, body = instance(1, study)
    account.put(f"incoming/{batch}/{rest}.dcm", body)
    account.close(batch, 1)
    wake_until(account, batch, "SETTLED")
    datastore = next(iter(account.emulator.service.state.datastores.values()))
    assert sum(job.job_name.startswith(batch) for job in datastore.jobs.values()) == 1


def test_a_missing_right_is_shown_and_the_batch_stays(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    settings = account.emulator.service.state.settings
    account.emulator.service.state.settings = settings.changed(
        {"errors_before": {"StartDICOMImportJob": ["AccessDeniedException"]}}
    )
    batch, study = new_batch()
    rest, body = instance(1, study)
    account.put(f"incoming/{batch}/{rest}.dcm", body)
    account.close(batch, 1)
    handler({}, Context())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ImportErrors"] for line in lines if "_aws" in line] == [1]
    assert account.item(batch)["next_try_at"]
    assert len(account.keys(f"incoming/{batch}/")) == 1
    account.s3.delete_objects(
        Bucket=LANDING, Delete={"Objects": [{"Key": key} for key in account.keys(f"incoming/{batch}/")]}
    )


def test_an_object_that_was_overwritten_is_neither_copied_nor_lost(account: Account) -> None:
    aws = Boto3Aws(read_settings(os.environ))
    key = "quarantine/test/one"
    account.put("incoming/test/one", b"first")
    found = aws.list_objects(LANDING, "incoming/test/")
    account.put("incoming/test/one", b"second")
    assert aws.copy(LANDING, [(found[0], key)]) == []
    assert account.keys(key) == []
    found = aws.list_objects(LANDING, "incoming/test/")
    assert aws.copy(LANDING, [(found[0], key)]) == found
    aws.delete(LANDING, found)
    aws.delete(LANDING, found)
    assert account.keys("incoming/test/") == []
    with pytest.raises(Missing):
        aws.read(LANDING, "incoming/test/one")


def test_conditional_writes_hold(account: Account) -> None:
    aws = Boto3Aws(read_settings(os.environ))
    item = {"pk": "TEST", "sk": "TEST", "revision": 1, "list": ["a"], "text": ""}
    aws.put_item(item)
    with pytest.raises(Conflict):
        aws.put_item(item)
    with pytest.raises(Conflict):
        aws.put_item(item | {"revision": 2}, "revision", "=", 7)
    aws.put_item(item | {"revision": 2}, "revision", "=", 1)
    aws.put_item(item | {"revision": 3}, "revision", "<=", 2)
    with pytest.raises(Conflict):
        aws.put_item(item | {"revision": 2}, "revision", "<=", 2)
    assert aws.get_item("TEST", "TEST") == item | {"revision": 3}
    assert aws.query("TEST", "TE") == [item | {"revision": 3}]
    assert aws.get_item("TEST", "NONE") is None


def client_error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Call")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (client_error("ThrottlingException", 429), TryLater),
        (client_error("ServiceQuotaExceededException", 402), TryLater),
        (client_error("ConflictException", 409), TryLater),
        (client_error("InternalServerException", 500), TryLater),
        (client_error("SlowDown", 503), TryLater),
        (client_error("ValidationException", 400), Refused),
        (client_error("AccessDeniedException", 403), Refused),
        (client_error("ResourceNotFoundException", 404), Refused),
        (client_error(" ServiceQuotaExceededException", 400), Refused),
        (client_error("NoSuchBucket", 404), Refused),
        (client_error("NoSuchKey", 404), Missing),
        (client_error("PreconditionFailed", 412), Missing),
        (client_error("ConditionalCheckFailedException", 400), Conflict),
        (ReadTimeoutError(endpoint_url="https://s3"), TryLater),
        (ConnectTimeoutError(endpoint_url="https://s3"), TryLater),
        (NoCredentialsError(), Refused),
    ],
)
def test_each_error_has_one_meaning(raised: Exception, kind: type[AwsError]) -> None:
    with pytest.raises(kind) as caught, aws_errors():
        raise raised
    assert type(caught.value) is kind
