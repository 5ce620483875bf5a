"""The HealthImaging emulator in the embedded AWS: callers, roles and events as IAM and EventBridge have them."""

from __future__ import annotations

import io
import json
import socket
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from storescp_cfn.local.embedded_aws import ACCOUNT, ROOT_KEY, ROOT_SECRET
from storescp_cfn.local.stack import REGION, LocalStack
from tests.testkit.emulator_bench import part10

TRUSTED = {
    "StringEquals": {"aws:SourceAccount": ACCOUNT},
    "ArnLike": {"aws:SourceArn": f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/*"},
}
LIST = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": ["arn:aws:s3:::landing", "arn:aws:s3:::output"]}
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::landing/*"}
WRITE = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::output/*"}
ROOT = {"AccessKeyId": ROOT_KEY, "SecretAccessKey": ROOT_SECRET}
SEND_ON = """
import boto3, json
def handler(event, context):
    boto3.client("s3").put_object(Bucket="output", Key="received.json", Body=json.dumps(event))
"""


class Account:
    """An account with two buckets and a data store, and what the tests make in it."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.s3, self.iam = stack.client("s3"), stack.client("iam")
        self.root = stack.client("medical-imaging")
        for bucket in ("landing", "output"):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_object(Bucket="landing", Key="b/1.dcm", Body=part10(1))
        self.datastore_id = self.root.create_datastore(datastoreName="images")["datastoreId"]
        self.datastore_arn = f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/{self.datastore_id}"
        self.set(throttling=False)
        self.access_role = self.role("access", [LIST, READ, WRITE])

    def set(self, **settings: Any) -> None:
        url = f"{self.stack.healthimaging_url}/_emulator/settings"
        with urllib.request.urlopen(url, json.dumps(settings).encode()) as answer:
            assert answer.status == 200

    def role(
        self,
        name: str,
        statements: list[dict[str, Any]],
        service: str = "medical-imaging.amazonaws.com",
        condition: dict[str, Any] | None = None,
    ) -> str:
        """A role that `service` may assume; its ARN."""
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        trust = policy([statement | {"Condition": TRUSTED if condition is None else condition}])
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        if statements:
            self.iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=policy(statements))
        return str(arn)

    def caller(self, name: str, statements: list[dict[str, Any]], secret: str | None = None) -> Any:
        """A client with the keys of a new user who may do what the statements say."""
        self.iam.create_user(UserName=name)
        if statements:
            self.iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=policy(statements))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return self.client(key["AccessKeyId"], secret or key["SecretAccessKey"])

    def client(self, access_key_id: str, secret: str) -> Any:
        return boto3.client(
            "medical-imaging",
            region_name=REGION,
            endpoint_url=self.stack.healthimaging_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret,
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        )

    def start(self, client: Any, role: str | None = None) -> str:
        return str(
            client.start_dicom_import_job(
                datastoreId=self.datastore_id,
                dataAccessRoleArn=role or self.access_role,
                inputS3Uri="s3://landing/b/",
                outputS3Uri="s3://output/results",
            )["jobId"]
        )

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job's properties, once it has ended."""

        def job() -> dict[str, Any]:
            answer = self.root.get_dicom_import_job(datastoreId=self.datastore_id, jobId=job_id)
            properties: dict[str, Any] = answer["jobProperties"]
            return properties

        wait_until(lambda: "endedAt" in job())
        return job()


def policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start_statement(datastore_arn: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "medical-imaging:StartDICOMImportJob", "Resource": datastore_arn}


def pass_statement(role_arn: str, service: str = "medical-imaging.amazonaws.com") -> dict[str, Any]:
    condition = {"StringEquals": {"iam:PassedToService": service}}
    return {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role_arn, "Condition": condition}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with LocalStack("{}") as stack:
        stack.start_aws()
        yield Account(stack)


def test_a_caller_with_both_permissions_imports(account: Account) -> None:
    caller = account.caller("importer", [start_statement(account.datastore_arn), pass_statement(account.access_role)])
    job = account.ended(account.start(caller))
    assert job["jobStatus"] == "COMPLETED"
    key = f"{job['outputS3Uri'].removeprefix('s3://output/')}job-output-manifest.json"
    manifest = json.load(account.s3.get_object(Bucket="output", Key=key)["Body"])["jobSummary"]
    assert (manifest["numberOfScannedFiles"], manifest["numberOfImportedFiles"]) == (1, 1)
    with pytest.raises(ClientError, match="GetDICOMImportJob") as error:
        caller.get_dicom_import_job(datastoreId=account.datastore_id, jobId=job["jobId"])
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"


CALLERS: dict[str, Callable[[Account], list[dict[str, Any]]]] = {
    "nothing": lambda account: [],
    "another-data-store": lambda account: [
        start_statement(account.datastore_arn[:-1] + "x"),
        pass_statement(account.access_role),
    ],
    "no-passrole": lambda account: [start_statement(account.datastore_arn)],
    "passrole-for-another-role": lambda account: [
        start_statement(account.datastore_arn),
        pass_statement(account.access_role + "s"),
    ],
    "passrole-to-another-service": lambda account: [
        start_statement(account.datastore_arn),
        pass_statement(account.access_role, "lambda.amazonaws.com"),
    ],
    "denied": lambda account: [
        start_statement(account.datastore_arn),
        pass_statement(account.access_role),
        start_statement("*") | {"Effect": "Deny"},
    ],
}


@pytest.mark.parametrize("name", CALLERS)
def test_a_caller_who_lacks_a_permission_is_denied(account: Account, name: str) -> None:
    caller = account.caller(name, CALLERS[name](account))
    with pytest.raises(ClientError) as error:
        account.start(caller)
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_stranger_and_a_forger_are_turned_away(account: Account) -> None:
    allowed = [start_statement(account.datastore_arn), pass_statement(account.access_role)]
    forger = account.caller("forger", allowed, secret="not the secret")
    for client, code in (
        (forger, "SignatureDoesNotMatch"),
        (account.client("AKIAUNKNOWN123456789", "x"), "UnrecognizedClientException"),
    ):
        with pytest.raises(ClientError) as error:
            account.start(client)
        assert error.value.response["Error"]["Code"] == code
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


ROLES: dict[str, dict[str, Any]] = {
    "for-another-service": {"statements": [LIST, READ, WRITE], "service": "lambda.amazonaws.com"},
    "for-another-account": {
        "statements": [LIST, READ, WRITE],
        "condition": {"StringEquals": {"aws:SourceAccount": "111111111111"}},
    },
    "for-another-data-store": {
        "statements": [LIST, READ, WRITE],
        "condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/0*0"}},
    },
    "without-list": {"statements": [READ, WRITE]},
    "without-read": {"statements": [LIST, WRITE]},
    "without-write": {"statements": [LIST, READ]},
    "without-policy": {"statements": []},
}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_that_does_not_suffice_fails_the_job(account: Account, name: str) -> None:
    job = account.ended(account.start(account.root, account.role(name, **ROLES[name])))
    assert job["jobStatus"] == "FAILED"
    assert any(words in job["message"] for words in ("AccessDenied", "Access denied"))


def test_a_role_that_does_not_exist_fails_the_job(account: Account) -> None:
    job = account.ended(account.start(account.root, account.access_role + "-none"))
    assert (job["jobStatus"], "Access denied" in job["message"]) == ("FAILED", True)


def function_of(account: Account) -> str:
    """A function that writes the event it receives to the output bucket; its ARN."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.py", SEND_ON)
    created = account.stack.client("lambda").create_function(
        FunctionName="receives",
        Runtime="python3.13",
        Handler="index.handler",
        Role=account.role("receives", [WRITE], "lambda.amazonaws.com", {}),
        Code={"ZipFile": package.getvalue()},
        Timeout=20,
    )
    return str(created["FunctionArn"])


def test_a_rule_that_matches_invokes_its_function(account: Account) -> None:
    events = account.stack.client("events")
    pattern = {
        "source": ["aws.medical-imaging"],
        "detail-type": ["Import Job Completed", "Import Job Failed"],
        "detail": {"datastoreId": [account.datastore_id]},
    }
    events.put_rule(Name="ended", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="ended", Targets=[{"Id": "1", "Arn": function_of(account)}])
    job = account.ended(account.start(account.root))
    wait_until(lambda: account.s3.list_objects_v2(Bucket="output", Prefix="received.json")["KeyCount"])
    event = json.load(account.s3.get_object(Bucket="output", Key="received.json")["Body"])
    assert event["detail"]["jobId"] == job["jobId"]
    assert event["detail"]["jobStatus"] == "COMPLETED"
    assert (event["source"], event["detail-type"]) == ("aws.medical-imaging", "Import Job Completed")
    assert (event["account"], event["region"], event["resources"]) == (ACCOUNT, REGION, [account.datastore_arn])
    events.remove_targets(Rule="ended", Ids=["1"])
    events.delete_rule(Name="ended")


def store_signed(account: Account, key: dict[str, str], body: bytes, sent: bytes | None = None) -> int:
    """StoreDICOM with a signature over `body`; `sent` goes out in its place. The status."""
    url = f"{account.stack.healthimaging_url}/datastore/{account.datastore_id}/studies"
    request = AWSRequest("POST", url, {"Content-Type": "application/dicom"}, body)
    credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    SigV4Auth(credentials, "medical-imaging", REGION).add_auth(request)
    signed = urllib.request.Request(url, body if sent is None else sent, dict(request.headers.items()))
    try:
        with urllib.request.urlopen(signed) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_store_dicom_asks_iam_and_checks_the_signature_of_the_whole_body(account: Account) -> None:
    statement = start_statement(account.datastore_arn) | {"Action": "medical-imaging:StoreDICOM"}
    keys = {}
    for name, statements in (("stores", [statement]), ("stores-not", [start_statement(account.datastore_arn)])):
        account.caller(name, statements)
        keys[name] = account.iam.create_access_key(UserName=name)["AccessKey"]
    body = part10(900)
    assert store_signed(account, keys["stores-not"], body) == 403
    assert store_signed(account, keys["stores"] | {"SecretAccessKey": "wrong"}, body) == 403
    assert store_signed(account, keys["stores"], body, sent=part10(901)) == 403
    assert store_signed(account, keys["stores"], body) == 200


def test_a_lost_answer_closes_the_connection_after_the_effect(account: Account) -> None:
    account.set(lost_answers={"StoreDICOM": 1})
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        store_signed(account, ROOT, part10(902))
    assert store_signed(account, ROOT, part10(903)) == 200
    with urllib.request.urlopen(f"{account.stack.healthimaging_url}/_emulator/instances") as answer:
        uids = {each["SOPInstanceUID"] for each in json.load(answer)}
    assert {"1.2.3.1.1.902", "1.2.3.1.1.903"} <= uids


def test_jobs_at_once_leave_every_instance_once(account: Account) -> None:
    for number in range(30):
        account.s3.put_object(Bucket="landing", Key=f"b/{number + 2}.dcm", Body=part10(number + 2))
    jobs = [account.start(account.root) for _ in range(10)]
    assert {account.ended(job)["jobStatus"] for job in jobs} == {"COMPLETED"}
    with urllib.request.urlopen(f"{account.stack.healthimaging_url}/_emulator/instances") as answer:
        current = json.load(answer)
    by_job = [each["SOPInstanceUID"] for each in current if each["jobId"]]
    assert len(by_job) == len(set(by_job)) == 31


@pytest.mark.parametrize(
    ("header", "status"),
    [("Content-Length: none", 411), ("Content-Length: -1", 411), ("Transfer-Encoding: chunked", 411),
     ("Content-Length: 99999999", 413)],
)  # fmt: skip
def test_a_body_without_a_sound_length_is_refused(account: Account, header: str, status: int) -> None:
    port = int(account.stack.healthimaging_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(f"POST /datastore HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == str(status).encode()
