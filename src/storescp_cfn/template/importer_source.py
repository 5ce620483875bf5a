"""The importer's source, a copy of import_lambda/index.py that `make render` writes: do not edit it here."""
# ruff: noqa: E501

IMPORTER_SOURCE = r'''"""The importer of StoreSCP for AWS HealthImaging: one Lambda function, one routine, `reconcile()`.

Every wake-up (a closed batch, a job event, the minute's schedule, a person) is only a doorbell. The routine
looks at the facts - the objects in the buckets, the ledger, HealthImaging's jobs - and moves each batch one
step on. Killed at any instruction, run twice at once or woken by nothing but the schedule, it ends the same:

    CLOSED -> STARTING -> IMPORTING -> SETTLING -> SETTLED
      ^                      |  |                  (INCOMPLETE: objects are missing that the receiver counted)
      +--- another attempt --+  +--> SPLITTING -> SPLIT, and its two halves are batches of their own

What makes that true: an object leaves `incoming/` only after HealthImaging's own `success.ndjson` names it,
or after its copy, its reason and its ledger item are in quarantine; counts are recomputed from those facts and
never incremented; every write to the ledger is conditional. The lease only saves work.

This file is the whole function: the template carries it inline, so it uses the standard library and boto3 only.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import boto3
import botocore.exceptions
from botocore.config import Config

# --- Settings: the function's environment -------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """The environment, checked. A field's name in capitals is its variable; `allowed` says what it may be.

    The quotas' defaults are HealthImaging's documented ones ("Endpoints and quotas", "Throttling limits").
    """

    landing_bucket: str = field(metadata={"allowed": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"})
    results_bucket: str = field(metadata={"allowed": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"})
    ledger_table: str = field(metadata={"allowed": r"[A-Za-z0-9_.-]{3,255}"})
    datastore_id: str = field(metadata={"allowed": r"[0-9a-z]{32}"})
    data_access_role_arn: str = field(metadata={"allowed": r"arn:aws[^:]*:iam::[0-9]{12}:role/.+"})
    stack_name: str = field(metadata={"allowed": r".{1,128}"})
    orphan_after_seconds: int = field(default=900, metadata={"allowed": (60, 86_400)})
    job_starts_per_second: float = field(default=1.0, metadata={"allowed": (0.01, 100)})
    max_concurrent_jobs: int = field(default=100, metadata={"allowed": (1, 10_000)})
    max_files_per_job: int = field(default=5_000, metadata={"allowed": (1, 100_000)})
    max_bytes_per_job: int = field(default=10_000_000_000, metadata={"allowed": (1_000_000, 10 * 1024**3)})


MAX_FOLDERS_PER_JOB = 10_000  # quota "nested folders per job": a count of folders, not a depth
MAX_ATTEMPTS = 3  # jobs that an object or a batch gets before it is quarantined or halved
START_TRIES = 5  # calls of StartDICOMImportJob in a row while it is throttled
STARTS_PER_PASS = 30  # so that finished jobs are settled in between
LEASE_SECONDS = 90
LISTED_STUDIES = 100  # UIDs in a batch item, which DynamoDB limits to 400 KB; each study has its own item
MANIFEST_LAG_SECONDS = 600  # how long a COMPLETED job's manifest may be missing before that is an error
RETRY_SECONDS, SLOW_RETRY_SECONDS = 30, 900
SPARE_SECONDS = 30  # kept of Lambda's time for leaving in order

METRICS = {  # name: (unit, meaning); namespace StoreSCP, dimension StackName
    "BatchesWaiting": ("Count", "closed batches whose job has not been started"),
    "BatchesImporting": ("Count", "batches whose job HealthImaging works on"),
    "BatchesSettled": ("Count", "batches of which every instance is imported or quarantined, since the last run"),
    "OldestUnsettledBatchSeconds": ("Seconds", "age of the oldest batch that is not settled"),
    "SecondsToImageSet": ("Seconds", "from a batch's last image to the end of its job"),
    "InstancesImported": ("Count", "instances that HealthImaging has taken into image sets"),
    "InstancesQuarantined": ("Count", "instances below quarantine/, each with its reason"),
    "InstancesNotPrimary": ("Count", "imported instances that conflict with their series' primary image set"),
    "InstancesMissing": ("Count", "instances that a receiver counted and that are not in the bucket"),
    "ForeignObjects": ("Count", "objects below incoming/ or batches/ that no receiver wrote"),
    "ImportErrors": ("Count", "what does not mend itself: refused calls, unreadable facts"),
}


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the checked environment; raise ValueError with one sentence that names variable and value."""
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name, allowed, text = item.name.upper(), item.metadata["allowed"], environ.get(item.name.upper(), "")
        default = getattr(Settings, item.name, None)
        if not text and default is not None:
            continue
        if isinstance(allowed, str):
            if not re.fullmatch(allowed, text):
                raise ValueError(f"{name} is {text!r}; it must match {allowed}")
            values[item.name] = text
            continue
        kind = float if isinstance(default, float) else int
        try:
            values[item.name] = kind(text)
        except ValueError:
            values[item.name] = None
        if values[item.name] is None or not allowed[0] <= values[item.name] <= allowed[1]:
            raise ValueError(f"{name} is {text!r}; it must be {kind.__name__} {allowed[0]} to {allowed[1]}")
    return Settings(**values)


# --- Names and times ----------------------------------------------------------------------------------------

BATCH_ID = re.compile(r"(\d{8}T\d{9})Z-[0-9a-f]{8}-\d{4,}(\.\d+)*")
INSTANCE_KEY = re.compile(r"incoming/([^/]+)/([0-9.]{1,64})/([0-9.]{1,64})/([0-9.]{1,64})\.dcm")
OVER_A_LIMIT = re.compile(r"[A-Z]+_(COUNTS?|SIZE)_LI")  # FILE_COUNTS_LIMIT_EXCEEDED and its like
JOB_FOLDER = re.compile(r"-DicomImport-([0-9a-z]+)/")


def opened_at(batch_id: str) -> float:
    """Epoch seconds at which a batch was opened, from its id; raise ValueError if it is not a batch id."""
    match = BATCH_ID.fullmatch(batch_id)
    if not match:
        raise ValueError(f"{batch_id!r} is not a batch id")
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC).timestamp()


@lru_cache(10_000)
def is_batch_id(text: str) -> bool:
    """Say whether `text` is a batch id with a time that exists."""
    try:
        opened_at(text)
    except ValueError:
        return False
    return True


def iso(seconds: float) -> str:
    """Epoch seconds as the ledger writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(text: str) -> float:
    """The reverse of `iso`; 0 for what is not a time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def job_name(batch_id: str, attempt: int) -> str:
    """jobName and clientToken of an attempt: at most 64 characters (API reference, StartDICOMImportJob)."""
    name = f"{batch_id}-{attempt}"
    return name if len(name) <= 64 else f"{name[:31]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def quarantine_key(key: str) -> str:
    """Where an object goes that will not be imported: its key with quarantine/ in front for incoming/."""
    target = "quarantine/" + key.removeprefix("incoming/")
    fits = len(target.encode()) <= 1_000  # of S3's 1,024 bytes, with the reason's suffix
    return target if fits else f"quarantine/long-keys/{hashlib.sha256(key.encode()).hexdigest()}"


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(RETRY_SECONDS * 2.0 ** min(failures, 10), SLOW_RETRY_SECONDS)


# --- What can go wrong in a call ----------------------------------------------------------------------------


class AwsError(Exception):
    """A call that failed; `code` is AWS's error code, safe to log (the message may not be)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Missing(AwsError):
    """The object is not there (any more), or is not the one that was listed."""


class Conflict(AwsError):
    """A conditional write found that somebody else was faster."""


class TryLater(AwsError):
    """Throttling, a quota that is used up, a 5xx, a broken connection: the same call will work later."""


class Refused(AwsError):
    """The same call will be refused again until a person changes something."""


class Malformed(Exception):
    """A fact that cannot be read: a manifest, a ledger item. The text names it without quoting it."""


class LeaseLost(Exception):
    """Another run works now."""


class OutOfTime(Exception):
    """The function's time is nearly over; the next wake-up goes on from the facts."""


# What unreadable facts can cause in code that trusts them; whatever it is, it must stay with its own batch.
SURPRISES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, Malformed)

RETRIED_CODES = frozenset(
    {
        "ConflictException",
        "InternalError",
        "InternalServerError",
        "InternalServerException",
        "OperationAborted",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceQuotaExceededException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def error_of(code: str, http_status: int) -> AwsError:
    """Sort a service's error by its exact code, then by its status (402 and 409 are HealthImaging's own)."""
    if code == "ConditionalCheckFailedException":
        return Conflict(code)
    if code in {"NoSuchKey", "NotFound", "404", "PreconditionFailed", "412"}:
        return Missing(code)
    if code in RETRIED_CODES or http_status in {402, 409, 429} or http_status >= 500:
        return TryLater(code)
    return Refused(code)


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn botocore's exceptions into ours, here and nowhere else."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise error_of(error.response.get("Error", {}).get("Code", ""), status) from None
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise TryLater(type(error).__name__) from None
    except botocore.exceptions.BotoCoreError as error:
        raise Refused(type(error).__name__) from None


# --- AWS, as far as the importer needs it -------------------------------------------------------------------


class Found(NamedTuple):
    """An object as a listing shows it."""

    key: str
    bytes: int
    etag: str
    modified: float


class Job(NamedTuple):
    """An import job of HealthImaging; times in epoch seconds, 0 while unknown."""

    id: str
    name: str
    status: str
    submitted_at: float
    ended_at: float = 0.0
    message: str = ""


Item = dict[str, Any]


class Aws(Protocol):
    """Every call that the importer makes. Each may raise TryLater or Refused; the others are named."""

    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    def list_objects(self, bucket: str, prefix: str) -> list[Found]: ...
    def list_folders(self, bucket: str, prefix: str) -> tuple[list[str], list[Found]]: ...
    def read(self, bucket: str, key: str) -> bytes:
        """Return an object's bytes, or raise Missing."""

    def write(self, bucket: str, key: str, body: bytes) -> None: ...
    def copy(self, bucket: str, pairs: list[tuple[Found, str]]) -> list[Found]:
        """Copy each object to its key if it still is the one that was found; return those that were copied."""

    def delete(self, bucket: str, found: list[Found]) -> None:
        """Delete those objects that still are the ones that were found."""

    def get_item(self, pk: str, sk: str) -> Item | None: ...
    def query(self, pk: str, sk_prefix: str) -> list[Item]: ...
    def unsettled(self) -> list[Item]: ...
    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        """Write the item if there is none, or if `name operator value` holds for it, else raise Conflict."""

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job: ...
    def get_job(self, job_id: str) -> Job: ...
    def list_jobs(self, status: str) -> list[Job]: ...


class Boto3Aws:
    """`Aws` on boto3; clients are made on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self.clients:
            config = Config(connect_timeout=5, read_timeout=50, retries={"mode": "standard", "max_attempts": 3})
            self.clients[service] = boto3.client(service, config=config)
        return self.clients[service]

    def table(self) -> Any:
        if "table" not in self.clients:
            self.clients["table"] = boto3.resource("dynamodb").Table(self.settings.ledger_table)
        return self.clients["table"]

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def list_objects(self, bucket: str, prefix: str) -> list[Found]:
        with aws_errors():
            pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [found_in(row) for page in pages for row in page.get("Contents", [])]

    def list_folders(self, bucket: str, prefix: str) -> tuple[list[str], list[Found]]:
        with aws_errors():
            paginator = self.client("s3").get_paginator("list_objects_v2")
            pages = list(paginator.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"))
        folders = [row["Prefix"] for page in pages for row in page.get("CommonPrefixes", [])]
        return folders, [found_in(row) for page in pages for row in page.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        with aws_errors():
            body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    def write(self, bucket: str, key: str, body: bytes) -> None:
        with aws_errors():
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")

    def copy(self, bucket: str, pairs: list[tuple[Found, str]]) -> list[Found]:
        client = self.client("s3")

        def copied(pair: tuple[Found, str]) -> bool:
            found, key = pair
            source = {"Bucket": bucket, "Key": found.key}
            try:
                with aws_errors():
                    if found.bytes > 5 * 1024**3:  # CopyObject's limit; the managed copy goes in parts
                        client.copy(source, bucket, key)
                    else:
                        client.copy_object(Bucket=bucket, Key=key, CopySource=source, CopySourceIfMatch=found.etag)
            except Missing:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            return [found for (found, _), good in zip(pairs, pool.map(copied, pairs), strict=True) if good]

    def delete(self, bucket: str, found: list[Found]) -> None:
        for start in range(0, len(found), 1000):  # DeleteObjects takes 1,000 keys
            keys = [{"Key": one.key, "ETag": one.etag} for one in found[start : start + 1000]]
            with aws_errors():
                answer = self.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", []):
                reason = error_of(error.get("Code", ""), 0)
                if not isinstance(reason, Missing):
                    raise reason

    def get_item(self, pk: str, sk: str) -> Item | None:
        with aws_errors():
            item = self.table().get_item(Key={"pk": pk, "sk": sk}, ConsistentRead=True).get("Item")
        return None if item is None else plain(item)

    def query(self, pk: str, sk_prefix: str) -> list[Item]:
        condition = {"KeyConditionExpression": "pk = :p AND begins_with(sk, :s)", "ConsistentRead": True}
        return self.pages({**condition, "ExpressionAttributeValues": {":p": pk, ":s": sk_prefix}})

    def unsettled(self) -> list[Item]:
        condition = {"IndexName": "Unsettled", "KeyConditionExpression": "unsettled = :u"}
        return self.pages({**condition, "ExpressionAttributeValues": {":u": "1"}})

    def pages(self, query: dict[str, Any]) -> list[Item]:
        items: list[Item] = []
        while True:
            with aws_errors():
                page = self.table().query(**query)
            items += [plain(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return items
            query = {**query, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if name:
            condition = {
                "ConditionExpression": f"attribute_not_exists(pk) OR #n {operator} :v",
                "ExpressionAttributeNames": {"#n": name},
                "ExpressionAttributeValues": {":v": value},
            }
        with aws_errors():
            self.table().put_item(Item=item, **condition)

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job:
        with aws_errors():
            answer = self.client("medical-imaging").start_dicom_import_job(
                jobName=name,
                clientToken=name,
                datastoreId=self.settings.datastore_id,
                dataAccessRoleArn=self.settings.data_access_role_arn,
                inputS3Uri=input_uri,
                outputS3Uri=output_uri,
            )
        return job_in({"jobName": name, **answer})

    def get_job(self, job_id: str) -> Job:
        with aws_errors():
            answer = self.client("medical-imaging").get_dicom_import_job(
                datastoreId=self.settings.datastore_id, jobId=job_id
            )
        return job_in(answer["jobProperties"])

    def list_jobs(self, status: str) -> list[Job]:
        with aws_errors():
            paginator = self.client("medical-imaging").get_paginator("list_dicom_import_jobs")
            pages = paginator.paginate(datastoreId=self.settings.datastore_id, jobStatus=status)
            return [job_in(row) for page in pages for row in page["jobSummaries"]]


def found_in(row: Mapping[str, Any]) -> Found:
    """A row of ListObjectsV2."""
    return Found(row["Key"], row["Size"], row["ETag"], row["LastModified"].timestamp())


def job_in(row: Mapping[str, Any]) -> Job:
    """A job as HealthImaging's three operations describe it."""
    submitted_at, ended_at = (row[name].timestamp() if row.get(name) else 0.0 for name in ("submittedAt", "endedAt"))
    name, message = row.get("jobName", ""), row.get("message", "")
    return Job(row["jobId"], name, row["jobStatus"], submitted_at, ended_at, message)


def plain(item: Mapping[str, Any]) -> Item:
    """A ledger item with boto3's Decimals as int."""
    return {name: int(value) if hasattr(value, "to_integral_value") else value for name, value in item.items()}


# --- The ledger's batch item --------------------------------------------------------------------------------

CLOSED, STARTING, IMPORTING, SPLITTING, SETTLING = "CLOSED", "STARTING", "IMPORTING", "SPLITTING", "SETTLING"
INCOMPLETE, SPLIT, SETTLED = "INCOMPLETE", "SPLIT", "SETTLED"
FINAL_STATES = frozenset({SPLIT, SETTLED})
STUDY_STATES = {STARTING: IMPORTING, SPLITTING: SPLIT, SETTLING: SETTLED}  # of the part that came with a batch
STATES = FINAL_STATES | {CLOSED, STARTING, IMPORTING, SPLITTING, SETTLING, INCOMPLETE}


@dataclass
class Batch:
    """A batch item. Counts are of distinct instances; once SETTLED, received = imported + quarantined."""

    batch: str
    state: str = CLOSED
    revision: int = 0  # raised by every write, and the condition of the next
    closed_at: str = ""
    closed_by: str = ""  # the receiver's reason, or orphan, manifest-unreadable, split
    last_stored_at: str = ""
    waiting_since: str = ""  # closed_at, or when a late object re-opened the batch
    expected: int = -1  # instances by the receiver's count; -1: no manifest
    received: int = 0
    imported: int = 0
    quarantined: int = 0
    not_primary: int = 0
    moved: int = 0  # instances that went on in `children`
    missing: int = 0
    bytes: int = 0
    calling_ae_titles: list[str] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)  # the first LISTED_STUDIES of study_count
    study_count: int = 0
    attempt: int = 0  # jobs started so far
    tries: int = 0  # of them, in a row, that left something over
    failing_since: str = ""  # when the first of those began
    errors: int = 0  # refused calls in a row
    next_try_at: str = ""
    job_name: str = ""
    job_id: str = ""
    submitted_at: str = ""
    ended_at: str = ""
    message: str = ""  # HealthImaging's words about a failed job: may quote attributes, so never logged
    pivot: str = ""  # first key of the second half while SPLITTING
    parent: str = ""
    children: list[str] = field(default_factory=list)
    settled_at: str = ""

    @property
    def prefix(self) -> str:
        """Where its objects are; ends in a slash, so that no other batch's prefix begins with it."""
        return f"incoming/{self.batch}/"

    @property
    def output_prefix(self) -> str:
        """Where the current attempt's results are, in the results bucket."""
        return f"jobs/{self.batch}/{self.attempt}/"

    def item(self) -> Item:
        """The item as it is written; only unsettled batches are in the index `Unsettled`."""
        item = {**vars(self), "pk": f"BATCH#{self.batch}", "sk": "BATCH"}
        return item if self.state in FINAL_STATES else item | {"unsettled": "1"}


BATCH_FIELDS = {name: type(value) for name, value in vars(Batch("")).items()}


def tally(batch: Batch) -> Counter[str]:
    """A batch's counts under their metrics' names."""
    names = {
        "imported": "InstancesImported",
        "quarantined": "InstancesQuarantined",
        "not_primary": "InstancesNotPrimary",
    }
    return Counter({metric: getattr(batch, name) for name, metric in names.items()})


def batch_in(item: Item) -> Batch:
    """Read a batch item; raise Malformed if a field is not what `Batch` says."""
    values = {name: item[name] for name in BATCH_FIELDS if name in item}
    name = str(item.get("pk"))
    if not is_batch_id(str(values.get("batch"))) or name != f"BATCH#{values['batch']}":
        raise Malformed(f"ledger item {name}: batch is not a batch id, or not the item's own")
    if values.get("state") not in STATES or "revision" not in values:
        raise Malformed(f"ledger item {name}: state or revision is missing or unknown")
    for field_name, value in values.items():
        if type(value) is not BATCH_FIELDS[field_name]:
            raise Malformed(f"ledger item {name}: {field_name} is not {BATCH_FIELDS[field_name].__name__}")
    return Batch(**values)


# --- HealthImaging's answers --------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """Why HealthImaging did not import an object."""

    kind: str
    message: str


@dataclass
class Results:
    """What the ndjson files of one or more jobs say, by object key."""

    imported: dict[str, bool] = field(default_factory=dict)  # key: is it in the primary image set?
    refused: dict[str, Refusal] = field(default_factory=dict)
    unreadable: int = 0


# exceptionType is not documented as a closed list: what is not known to be the service's or the role's fault
# is the object's.
SERVICE_FAULTS = (
    "internalserver",
    "internalerror",
    "unavailable",
    "throttl",
    "toomany",
    "quota",
    "timeout",
    "conflict",
)
DENIALS = ("accessdenied", "access denied", "not authorized", "unauthorized", "forbidden", "kms", "assume")


def says(text: str, words: Iterable[str]) -> bool:
    """Say whether one of the words is in the text."""
    return any(word in text.lower() for word in words)


def read_line(line: bytes) -> Item | None:
    """A line of ndjson, leniently: the documentation's own example has Python's True. None: unreadable."""
    text = line.decode("utf-8", "replace")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return value if isinstance(value, dict) and isinstance(value.get("inputFile"), str) else None
    return None


def read_results(results: Results, body: bytes, failures: bool) -> None:
    """Add a success or a failure file's lines to `results`."""
    for line in body.splitlines():
        if not line.strip():
            continue
        value = read_line(line)
        if value is None:
            results.unreadable += 1
            continue
        key = re.sub(r"^s3://[^/]+/", "", value["inputFile"])
        told = value.get("exception" if failures else "importResponse")
        told = told if isinstance(told, dict) else {}
        if failures:
            results.refused[key] = Refusal(str(told.get("exceptionType", "")), str(told.get("message", "")))
        else:  # a line of WARNING/ has an importResponse, too: the object was imported
            results.imported[key] = told.get("isPrimary") is not False


def read_manifest(body: bytes, batch_id: str) -> Item:
    """A receiver's batch manifest (docs/adr/0001); raise Malformed."""
    try:
        manifest = json.loads(body)
    except ValueError:
        raise Malformed(f"batches/{batch_id}.json is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("batch") != batch_id:
        raise Malformed(f"batches/{batch_id}.json is not the manifest of its batch")
    count = manifest.get("instances")
    if type(count) is not int or count < 0:
        raise Malformed(f"batches/{batch_id}.json: instances is not a count")
    titles = manifest.get("calling_ae_titles", [])
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        raise Malformed(f"batches/{batch_id}.json: calling_ae_titles is not a list of strings")
    return manifest


# --- Talking ------------------------------------------------------------------------------------------------


def log(level: str, message: str, **values: Any) -> None:
    """One JSON line. UIDs, keys and codes only; never HealthImaging's messages, which may quote attributes."""
    print(json.dumps({"level": level, "message": message, **values}), flush=True)


def print_metrics(settings: Settings, now: float, values: Mapping[str, float | list[float]]) -> None:
    """One line in CloudWatch's embedded metric format."""
    units = [{"Name": name, "Unit": METRICS[name][0]} for name in values]
    about = {"Namespace": "StoreSCP", "Dimensions": [["StackName"]], "Metrics": units}
    meta = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [about]}
    print(json.dumps({"_aws": meta, "StackName": settings.stack_name, **values}), flush=True)


# --- One at a time ------------------------------------------------------------------------------------------


class Lease:
    """Lets one run work at a time, and lets a doorbell that finds it working leave a mark.

    A mark is a higher revision: the holder's next conditional write fails, it sees that the lease still is
    its own, and makes one more pass. So no ring is lost between "nothing more to do" and "released".
    """

    def __init__(self, aws: Aws) -> None:
        self.aws, self.owner, self.revision, self.expires, self.rung = aws, uuid.uuid4().hex, 0, 0, False

    def read(self) -> Item:
        """The lease item; a malformed one counts as free."""
        item = self.aws.get_item("LEASE", "LEASE") or {}
        good = isinstance(item.get("owner"), str) and type(item.get("revision")) is type(item.get("expires")) is int
        return item if good else {"owner": "", "expires": 0, "revision": item.get("revision", 0)}

    def put(self, owner: str, expires: int, seen: Any) -> None:
        revision = seen + 1 if type(seen) is int else 1
        item = {"pk": "LEASE", "sk": "LEASE", "owner": owner, "expires": expires, "revision": revision}
        self.aws.put_item(item, "revision", "=", seen)
        self.revision, self.expires = revision, expires

    def take(self) -> bool:
        """Take the lease, or ring the one who holds it and return False."""
        for _ in range(10):
            item, now = self.read(), int(self.aws.now())
            held = item["owner"] and item["expires"] > now
            try:
                if held:
                    self.put(item["owner"], item["expires"], item["revision"])
                    return False
                self.put(self.owner, now + LEASE_SECONDS, item["revision"])
                return True
            except Conflict:
                continue
        return False

    def keep(self) -> None:
        """Renew the lease when half of it is over; raise LeaseLost."""
        now = int(self.aws.now())
        if self.expires - now < LEASE_SECONDS / 2:
            self.write(self.owner, now + LEASE_SECONDS)

    def release(self) -> bool:
        """Give the lease back; False if somebody rang: then it is still ours."""
        if not self.rung:
            self.write("", 0)
        return not self.rung

    def drop(self) -> None:
        """Give the lease back in whatever state the run is."""
        with suppress(AwsError, LeaseLost):
            self.write("", 0)

    def write(self, owner: str, expires: int) -> None:
        try:
            self.put(owner, expires, self.revision)
        except Conflict:
            item = self.read()
            if item["owner"] != self.owner:
                raise LeaseLost from None
            self.rung, self.revision = True, item["revision"]


# --- The importer -------------------------------------------------------------------------------------------


class Importer:
    """One run: passes over all batches, until there is nothing to do that cannot wait for the next wake-up."""

    def __init__(self, aws: Aws, settings: Settings, lease: Lease, deadline: float) -> None:
        self.aws, self.settings, self.lease, self.deadline = aws, settings, lease, deadline
        self.known: dict[str, Batch] = {}  # newest item of each batch that this run has seen
        self.distrusted: set[str] = set()  # batches that the index may show as they were
        self.manifests: dict[str, Found] = {}  # below batches/, by batch id
        self.counts: Counter[str] = Counter()
        self.seconds_to_image_set: list[float] = []
        self.saves = 0
        self.again = False  # something could not be done now and can be in a few seconds
        self.starting_ends = False  # this pass starts no more jobs
        self.next_start = 0.0
        self.looked = False

    # - passes -

    def work(self) -> None:
        """Make passes until nothing is left to do, the lease is lost or the time is over."""
        idle = 0
        while True:
            before, self.again, self.starting_ends = self.saves, False, False
            self.one_pass()
            idle = 0 if self.saves > before else idle + 1
            if self.again and idle < 4:
                self.pause(2.0**idle)
            elif self.lease.release():
                return
            else:
                self.lease.rung, idle = False, 0

    def one_pass(self) -> None:
        """Take one step of every batch and start jobs, both oldest first; settle while the quota makes starts wait."""
        steps, tried = self.discover(), set[str]()
        while True:
            waiting = None if self.starting_ends else self.oldest_waiting(tried)
            if waiting and (not steps or self.aws.now() >= self.next_start):
                if len(tried) == STARTS_PER_PASS:
                    self.again = True
                    waiting, self.starting_ends = None, True
                    continue
                tried.add(waiting)
                self.guarded(waiting, self.start)
            elif steps:
                self.guarded(steps.pop(0), self.advance)
            else:
                return

    def oldest_waiting(self, tried: set[str]) -> str | None:
        """The batch whose job is to be started next; None if there is none, or if enough jobs are running."""
        batches = [one for one in self.known.values() if one.batch not in tried and self.is_due(one)]
        waiting = [one.batch for one in batches if one.state in {CLOSED, STARTING}]
        busy = sum(1 for one in self.known.values() if one.state == IMPORTING)
        return min(waiting) if waiting and busy < self.settings.max_concurrent_jobs else None

    def check(self) -> None:
        """Between steps: raise if the time is over or somebody else works now."""
        if self.aws.now() >= self.deadline:
            raise OutOfTime
        self.lease.keep()

    def pause(self, seconds: float) -> None:
        """Wait with jitter, within the time that is left."""
        seconds *= random.uniform(0.5, 1.0)
        if self.aws.now() + seconds >= self.deadline:
            raise OutOfTime
        self.aws.sleep(seconds)

    def guarded(self, batch_id: str, step: Callable[[str], None]) -> None:
        """Take one step; whatever is wrong with this batch stays with it."""
        self.check()
        try:
            step(batch_id)
        except (Conflict, TryLater, Missing) as error:  # another run was faster, or AWS is busy
            log("INFO", "will be tried again", batch=batch_id, step=step.__name__, code=error.code)
            self.again = True
            self.forget(batch_id)
        except Refused as error:
            self.trouble("AWS refused a call", batch=batch_id, step=step.__name__, code=error.code)
            self.postpone(batch_id)
        except SURPRISES as error:
            text = str(error) if isinstance(error, Malformed) else type(error).__name__
            self.trouble("a fact cannot be read", batch=batch_id, step=step.__name__, fact=text)
            self.postpone(batch_id)

    def trouble(self, message: str, **values: Any) -> None:
        """Say loudly what does not mend itself."""
        log("ERROR", message, **values)
        self.counts["ImportErrors"] += 1

    def forget(self, batch_id: str) -> None:
        """What this run knows of a batch is half a step, or old: the next step reads the item itself."""
        self.known.pop(batch_id, None)
        self.distrusted.add(batch_id)

    def recall(self, batch_id: str) -> Batch | None:
        """The batch as this run knows it, or as the ledger has it; None if it is not in the ledger."""
        if batch_id not in self.known:
            item = self.aws.get_item(f"BATCH#{batch_id}", "BATCH")
            if item is None:
                return None
            self.known[batch_id] = batch_in(item)
        return self.known[batch_id]

    def postpone(self, batch_id: str) -> None:
        """After a call that will be refused again: try slowly, and let the other batches go first."""
        self.forget(batch_id)
        try:
            batch = self.recall(batch_id)
            if batch is not None and batch.state not in FINAL_STATES:
                batch.errors += 1
                self.delay(batch, backoff(batch.errors))
                self.save(batch)
        except (AwsError, Malformed) as error:
            log("INFO", "could not be postponed", batch=batch_id, error=type(error).__name__)
            self.forget(batch_id)

    def delay(self, batch: Batch, seconds: float) -> None:
        batch.next_try_at = iso(self.aws.now() + seconds * random.uniform(0.8, 1.2))

    def is_due(self, batch: Batch) -> bool:
        """Say whether its time has come; a time too far ahead was written by a clock that is wrong."""
        ahead = epoch(batch.next_try_at) - self.aws.now() if batch.next_try_at else 0.0
        return ahead <= 0 or ahead > 2 * SLOW_RETRY_SECONDS

    def save(self, batch: Batch) -> None:
        """Write the item if it still is the one that was read, else raise Conflict."""
        seen, batch.revision = batch.revision, batch.revision + 1
        try:
            self.aws.put_item(batch.item(), *(("revision", "=", seen) if seen else ()))
        except AwsError:
            self.forget(batch.batch)
            raise
        self.known[batch.batch] = batch
        self.saves += 1

    # - discovery: which batches there are -

    def discover(self) -> list[str]:
        """Return the ids of all batches that are not settled, oldest first; put foreign objects aside."""
        landing = self.settings.landing_bucket
        unsettled = self.read_unsettled()
        folders, strays = self.aws.list_folders(landing, "incoming/")
        names = {folder.split("/")[1]: folder for folder in folders}
        manifests = {found.key[8:].removesuffix(".json"): found for found in self.aws.list_objects(landing, "batches/")}
        self.manifests = {name: found for name, found in manifests.items() if is_batch_id(name)}
        strays += [found for name, found in manifests.items() if not is_batch_id(name)]
        for name, folder in names.items():
            if not is_batch_id(name) and len(strays) < 1000:
                strays += self.aws.list_objects(landing, folder)
        self.looked = True
        for stray in strays[:1000]:
            self.put_stray_aside(stray)
        return sorted({*unsettled, *self.manifests, *filter(is_batch_id, names)})

    def read_unsettled(self) -> set[str]:
        """Read the index. It lags behind the table, so the newest revision that was seen counts."""
        found = {name for name, batch in self.known.items() if batch.state not in FINAL_STATES} | self.distrusted
        for item in self.aws.unsettled():
            try:
                batch = batch_in(item)
            except SURPRISES as error:
                self.trouble("a ledger item cannot be read", item=str(item.get("pk")), fact=str(error))
                continue
            found.add(batch.batch)
            newest = self.known.get(batch.batch)
            if batch.batch not in self.distrusted and (newest is None or newest.revision < batch.revision):
                self.known[batch.batch] = batch
        return found

    def put_stray_aside(self, stray: Found) -> None:
        try:
            self.quarantine_foreign([stray])
        except TryLater:
            self.again = True
        except AwsError as error:
            self.trouble("a foreign object could not be put aside", code=error.code)

    def advance(self, batch_id: str) -> None:
        """Take the next step of one batch, except starting its job."""
        batch = self.recall(batch_id)
        if batch is None:
            return self.register(batch_id)
        if batch.state in FINAL_STATES:
            return self.reopen(batch)
        if not self.is_due(batch):
            return None
        steps = {IMPORTING: self.watch, SPLITTING: self.split, SETTLING: self.conclude, INCOMPLETE: self.finish}
        return steps[batch.state](batch) if batch.state in steps else None

    def register(self, batch_id: str) -> None:
        """Enter a closed batch in the ledger, or adopt one whose receiver died."""
        batch = Batch(batch_id, closed_at=iso(self.aws.now()))
        if batch_id in self.manifests:
            self.absorb_manifest(batch)
        elif not self.adopt(batch):
            return
        batch.waiting_since = batch.last_stored_at or batch.closed_at
        self.save(batch)
        log("INFO", "batch registered", batch=batch_id, closed_by=batch.closed_by, expected=batch.expected)

    def adopt(self, batch: Batch) -> bool:
        """Close an orphan from what is in the bucket, once no receiver can write to it any more."""
        oldest_allowed = self.aws.now() - self.settings.orphan_after_seconds
        if opened_at(batch.batch) > oldest_allowed:
            return False
        parent = self.aws.get_item(f"BATCH#{batch.batch.rpartition('.')[0]}", "BATCH") if "." in batch.batch else None
        if parent and parent.get("state") == SPLITTING:  # its two halves are not complete yet
            return False
        objects = self.aws.list_objects(self.settings.landing_bucket, batch.prefix)
        newest = max((found.modified for found in objects), default=self.aws.now())
        batch.closed_by, batch.last_stored_at = "orphan", iso(newest)
        return newest <= oldest_allowed

    def absorb_manifest(self, batch: Batch) -> None:
        """Take over what the receiver wrote; an unreadable manifest is put aside and says only "closed"."""
        found = self.manifests[batch.batch]
        try:
            manifest = read_manifest(self.aws.read(self.settings.landing_bucket, found.key), batch.batch)
        except Malformed as error:
            self.trouble("a batch manifest cannot be read", fact=str(error))
            self.quarantine_foreign([found], str(error))
            del self.manifests[batch.batch]
            batch.closed_by = batch.closed_by or "manifest-unreadable"
            return
        batch.expected = manifest["instances"]
        batch.calling_ae_titles = manifest.get("calling_ae_titles", [])[:LISTED_STUDIES]
        batch.closed_by = str(manifest.get("closed_by", ""))
        for name in ("closed_at", "last_stored_at"):
            setattr(batch, name, str(manifest.get(name) or getattr(batch, name)))

    def reopen(self, batch: Batch) -> None:
        """A settled batch has objects again (a PUT that came late), or its manifest is still there."""
        objects = self.aws.list_objects(self.settings.landing_bucket, batch.prefix)
        if batch.batch in self.manifests and batch.expected < 0:
            self.absorb_manifest(batch)
            self.save(batch)
        if not objects and batch.batch in self.manifests and batch.expected <= batch.received + batch.moved:
            return self.delete_manifest(batch)
        if objects or batch.expected > batch.received + batch.moved:
            batch.state, batch.tries, batch.failing_since, batch.next_try_at = CLOSED, 0, "", ""
            batch.waiting_since = iso(self.aws.now())
            self.save(batch)
            log("WARNING", "a settled batch is open again", batch=batch.batch, objects=len(objects))
        return None

    # - starting -

    def start(self, batch_id: str) -> None:
        """Start the job of a batch that waits for it, or find the one that an earlier run has started."""
        batch = self.known[batch_id]
        if batch.state == STARTING and self.find_job(batch):
            return None
        objects = self.fit_objects(batch)
        if not objects:
            return self.finish(batch)
        if len(objects) > 1 and self.is_over_a_limit(objects):
            return self.begin_split(batch, objects)
        batch.bytes = max(batch.bytes, sum(found.bytes for found in objects))
        if batch.state == CLOSED:
            batch.state, batch.attempt, batch.job_id = STARTING, batch.attempt + 1, ""
            batch.job_name = job_name(batch.batch, batch.attempt)
        self.wait_for_a_start()
        self.save(batch)  # the intent comes first: whoever finds it looks for the job before starting it again
        self.count(batch, objects)
        self.started(batch, self.start_job(batch))
        return None

    def fit_objects(self, batch: Batch) -> list[Found]:
        """The objects of a batch that a job can take; what cannot be an instance or is too large is put aside."""
        objects = self.aws.list_objects(self.settings.landing_bucket, batch.prefix)
        foreign = [found for found in objects if not INSTANCE_KEY.fullmatch(found.key)]
        self.quarantine_foreign(foreign)
        limit = self.settings.max_bytes_per_job
        large = [found for found in objects if found.bytes > limit and found not in foreign]
        reason = Refusal("TooLarge", f"The object is larger than the {limit} bytes that an import job takes.")
        self.quarantine(batch, [(found, reason) for found in large])
        return [found for found in objects if found not in foreign and found not in large]

    def is_over_a_limit(self, objects: list[Found]) -> bool:
        """Say whether objects are more than one job takes: files, bytes, folders."""
        series = {found.key.rpartition("/")[0] for found in objects}
        folders = len(series) + len({name.rpartition("/")[0] for name in series})
        return (
            len(objects) > self.settings.max_files_per_job
            or sum(found.bytes for found in objects) > self.settings.max_bytes_per_job
            or folders > MAX_FOLDERS_PER_JOB
        )

    def wait_for_a_start(self) -> None:
        """Keep to the quota of starts a second."""
        wait = self.next_start - self.aws.now()
        if wait > 0:
            if self.aws.now() + wait >= self.deadline:
                raise OutOfTime
            self.aws.sleep(wait)
        self.next_start = self.aws.now() + 1 / self.settings.job_starts_per_second

    def start_job(self, batch: Batch) -> Job:
        """Call StartDICOMImportJob; while it is throttled, wait longer and longer."""
        source = f"s3://{self.settings.landing_bucket}/{batch.prefix}"
        target = f"s3://{self.settings.results_bucket}/{batch.output_prefix}"
        for tries in range(START_TRIES):
            try:
                return self.aws.start_job(batch.job_name, source, target)
            except TryLater as error:
                log("INFO", "HealthImaging starts no job now", batch=batch.batch, code=error.code)
                if error.code == "ServiceQuotaExceededException" or tries == START_TRIES - 1:
                    self.starting_ends = True  # a job that ends rings the bell, and the minute does
                    raise
                self.pause(2.0**tries / self.settings.job_starts_per_second)
                self.lease.keep()
            except Refused as error:
                # The role or the data store, rather than the batch: the others would be refused as well.
                self.starting_ends = error.code != "ValidationException"
                raise
        raise AssertionError("unreachable")

    def started(self, batch: Batch, job: Job) -> None:
        batch.state, batch.job_id, batch.submitted_at = IMPORTING, job.id, iso(job.submitted_at or self.aws.now())
        batch.errors, batch.next_try_at, batch.ended_at = 0, "", ""
        self.save(batch)
        log("INFO", "job started", batch=batch.batch, job=job.id, attempt=batch.attempt)

    def find_job(self, batch: Batch) -> bool:
        """Find a job that was started although its id was not noted; how long a clientToken holds is not documented.

        An ended job has its folder in the results bucket; the others are few enough to be listed.
        """
        outputs = self.aws.list_objects(self.settings.results_bucket, batch.output_prefix)
        for job_id in sorted({match[1] for found in outputs if (match := JOB_FOLDER.search(found.key))}):
            self.started(batch, self.aws.get_job(job_id))
            return True
        for status in ("SUBMITTED", "IN_PROGRESS"):
            for job in self.aws.list_jobs(status):
                if job.name == batch.job_name:
                    self.started(batch, job)
                    return True
        return False

    # - settling -

    def watch(self, batch: Batch) -> None:
        """Ask for the job, and settle it when it has ended."""
        try:
            job = self.aws.get_job(batch.job_id)
        except Refused as error:
            if error.code != "ResourceNotFoundException":
                raise
            self.trouble("HealthImaging does not know the job", batch=batch.batch, job=batch.job_id)
            job = Job(batch.job_id, batch.job_name, "FAILED", epoch(batch.submitted_at), 0.0, "The job is not known.")
        if job.status not in {"COMPLETED", "FAILED"}:
            return
        ended = job.ended_at or self.aws.now()
        results = self.read_job(batch, job)
        if results is None and job.status == "COMPLETED":
            self.await_manifest(batch, ended)
        else:
            self.settle(batch, job, results or Results(), ended)

    def await_manifest(self, batch: Batch, ended: float) -> None:
        """The manifest may come after the event. If it stays away, that is an error, and the objects stay."""
        if self.aws.now() - ended > MANIFEST_LAG_SECONDS:
            self.trouble("a completed job has no complete manifest", batch=batch.batch, job=batch.job_id)
            return self.postpone(batch.batch)
        self.again = True
        return None

    def read_job(self, batch: Batch, job: Job) -> Results | None:
        """What an ended job says of each object; None while that is not all there.

        Read from below the prefix that was asked for, whether or not `outputS3Uri` shows the job's own folder.
        """
        found = self.aws.list_objects(self.settings.results_bucket, batch.output_prefix)
        files = [one.key for one in found if f"-{job.id}/" in one.key or not JOB_FOLDER.search(one.key)]
        manifest = next((key for key in files if key.endswith("/job-output-manifest.json")), None)
        if manifest is None:
            return None
        results = self.read_files(files)
        try:
            summary = json.loads(self.aws.read(self.settings.results_bucket, manifest))["jobSummary"]
            names = ("numberOfImportedFiles", "numberOfFilesWithCustomerError", "numberOfFilesWithServerError")
            told = [int(summary.get(name) or 0) for name in names]
        except SURPRISES:
            self.trouble("a job's manifest cannot be read", batch=batch.batch, key=manifest)
            told = [0, 0, 0]
        late = len(results.imported) < told[0] or len(results.refused) < told[1] + told[2]
        if late and not results.unreadable and self.aws.now() - job.ended_at < MANIFEST_LAG_SECONDS:
            return None
        if late or results.unreadable:
            self.trouble("a job's lists are not complete", batch=batch.batch, job=job.id, lines=results.unreadable)
        return results

    def read_files(self, keys: list[str]) -> Results:
        """Read the ndjson files among `keys`, whatever they are called."""
        results = Results()
        for key in keys:
            if any(f"/{kind}/" in key for kind in ("SUCCESS", "WARNING", "FAILURE")):
                self.check()
                read_results(results, self.aws.read(self.settings.results_bucket, key), "/FAILURE/" in key)
        return results

    def settle(self, batch: Batch, job: Job, results: Results, ended: float) -> None:
        """Delete what was imported, quarantine what was refused, and decide about the rest."""
        objects = self.fit_objects(batch)
        # What was stored after the job began is not what the job has read: it stays, for another one.
        begun = job.submitted_at or epoch(batch.submitted_at)
        open_cases = [found for found in objects if found.modified <= begun]
        imported = [found for found in open_cases if found.key in results.imported]
        refused, left = [], []
        for found in open_cases:
            refusal = results.refused.get(found.key)
            if found.key in results.imported:
                continue
            if refusal and not says(refusal.kind, DENIALS + SERVICE_FAULTS):
                refused.append((found, refusal))
            else:
                left.append((found, refusal or Refusal(f"Job{job.status}", job.message or "The job does not name it.")))
        if results.imported or refused:
            self.note_work(int(ended))
        self.quarantine(batch, refused, job.id)
        self.delete(imported)
        if batch.attempt == 1 and batch.last_stored_at and results.imported and not batch.ended_at:
            self.seconds_to_image_set.append(max(0.0, ended - epoch(batch.last_stored_at)))
        batch.ended_at, batch.message = iso(ended), job.message
        if left:
            self.decide(batch, job, left)
        else:
            self.finish(batch)

    def decide(self, batch: Batch, job: Job, left: list[tuple[Found, Refusal]]) -> None:
        """What becomes of the objects that a job has neither imported nor refused.

        They are halved or quarantined only if HealthImaging has done other work since they began to fail: while it
        does none, the fault is not theirs. One halving needs no such proof, since the halves may give it.
        """
        batch.tries += 1
        batch.failing_since = batch.failing_since or iso(job.submitted_at)
        reason = job.message if job.status == "FAILED" else " ".join({refusal.kind for _, refusal in left})
        if says(reason, DENIALS):
            self.trouble("the import role or its key is refused", batch=batch.batch, job=job.id)
            return self.another_attempt(batch, SLOW_RETRY_SECONDS)
        worked_at = (self.aws.get_item("LEASE", "WORKED") or {}).get("worked_at", 0)
        proven, enough = worked_at >= int(epoch(batch.failing_since)), batch.tries >= MAX_ATTEMPTS
        ripe = OVER_A_LIMIT.search(job.message) or (proven if batch.parent else enough)
        if job.status == "FAILED" and len(left) > 1 and ripe:
            return self.begin_split(batch, [found for found, _ in left])
        if enough and proven:
            self.quarantine(batch, left, job.id)
            return self.finish(batch)
        if enough:
            self.trouble("HealthImaging finishes no job", batch=batch.batch, job=job.id)
        return self.another_attempt(batch, backoff(batch.tries))

    def note_work(self, ended: int) -> None:
        """Keep when HealthImaging last imported or refused an object: before the objects go, so no crash forgets it."""
        item = {"pk": "LEASE", "sk": "WORKED", "worked_at": ended}
        with suppress(Conflict):  # it has worked later than that
            self.aws.put_item(item, "worked_at", "<", ended)

    def another_attempt(self, batch: Batch, seconds: float) -> None:
        batch.state = CLOSED
        self.delay(batch, seconds)
        self.save(batch)
        log("INFO", "another job will be started", batch=batch.batch, attempt=batch.attempt, tries=batch.tries)

    def finish(self, batch: Batch) -> None:
        """Nothing seems to be left below the prefix: from here on, count."""
        if batch.batch in self.manifests and (batch.expected < 0 or batch.state == INCOMPLETE):
            self.absorb_manifest(batch)
        batch.state, batch.next_try_at = SETTLING, ""
        self.save(batch)
        self.conclude(batch)

    def conclude(self, batch: Batch) -> None:
        """Count what became of every instance, enter it in the ledger, and only then forget the manifest."""
        objects = self.aws.list_objects(self.settings.landing_bucket, batch.prefix)
        if objects:
            batch.state = CLOSED
            return self.save(batch)
        before = tally(batch)
        children = [self.aws.get_item(f"BATCH#{child}", "BATCH") or {} for child in batch.children]
        batch.moved = sum(int(child.get("expected", 0)) for child in children)
        batch.settled_at = iso(self.aws.now())
        self.count(batch, [])
        batch.missing = max(0, batch.expected - batch.received - batch.moved)
        batch.state = INCOMPLETE if batch.missing else SPLIT if batch.children else SETTLED
        if batch.missing:
            self.delay(batch, SLOW_RETRY_SECONDS)
        self.save(batch)
        self.counts.update(tally(batch) - before)
        if batch.missing:
            self.trouble("instances are missing that the receiver counted", batch=batch.batch, missing=batch.missing)
            return None
        self.counts["BatchesSettled"] += 1
        log("INFO", "batch settled", batch=batch.batch, imported=batch.imported, quarantined=batch.quarantined)
        return self.delete_manifest(batch)

    def count(self, batch: Batch, waiting: list[Found], moving: Iterable[Found] = ()) -> None:
        """Recompute the counts of a batch and its studies' items from the facts of all its jobs.

        The caller has written the batch item at this revision, so a run that is behind cannot write here.
        What is `moving` to another batch is not counted, but its studies' items are brought up to date.
        """
        outputs = self.aws.list_objects(self.settings.results_bucket, f"jobs/{batch.batch}/") if batch.attempt else []
        imported = self.read_files([one.key for one in outputs if "/FAILURE/" not in one.key]).imported
        items = self.aws.query(f"BATCH#{batch.batch}", "QUARANTINED#")
        quarantined = {str(item.get("object_key")) for item in items}
        studies: dict[str, Counter[str]] = {found.key.split("/")[2]: Counter() for found in moving}
        for key in sorted({*imported, *quarantined, *(found.key for found in waiting)}):
            match = INSTANCE_KEY.fullmatch(key)
            if not match or match[1] != batch.batch:
                continue
            study = studies.setdefault(match[2], Counter())
            study["received"] += 1
            if key in quarantined:
                study["quarantined"] += 1
            elif key in imported:
                study["imported"] += 1
                study["not_primary"] += not imported[key]
        total = sum(studies.values(), Counter())
        for name in ("received", "imported", "quarantined", "not_primary"):
            setattr(batch, name, total[name])
        batch.studies, batch.study_count = list(studies)[:LISTED_STUDIES], len(studies)
        for uid, numbers in studies.items():
            self.check()
            self.write_study(batch, uid, numbers)

    def write_study(self, batch: Batch, uid: str, numbers: Counter[str]) -> None:
        item: Item = {name: numbers[name] for name in ("received", "imported", "quarantined", "not_primary")}
        item |= {"pk": f"STUDY#{uid}", "sk": f"BATCH#{batch.batch}", "StudyInstanceUID": uid, "batch": batch.batch}
        item |= {"state": STUDY_STATES[batch.state], "revision": batch.revision}
        item |= {"calling_ae_titles": batch.calling_ae_titles, "updated_at": iso(self.aws.now())}
        self.aws.put_item(item, "revision", "<=", batch.revision)

    def delete_manifest(self, batch: Batch) -> None:
        """A settled batch is in the ledger; versioning keeps its manifest as long as its images."""
        if batch.batch in self.manifests:
            self.delete([self.manifests.pop(batch.batch)])

    def delete(self, found: list[Found]) -> None:
        for start in range(0, len(found), 1000):
            self.check()
            self.aws.delete(self.settings.landing_bucket, found[start : start + 1000])

    # - quarantine -

    def quarantine(self, batch: Batch, cases: list[tuple[Found, Refusal]], job_id: str = "") -> None:
        """Move objects to quarantine/: copy, reason, ledger item, and only then the deletion."""
        for found, refusal in cases:
            self.check()
            _, _, study, series, sop = found.key.removesuffix(".dcm").split("/")
            about = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
            self.put_aside(batch.batch, sop, found, refusal, {**about, "job_id": job_id, "attempt": batch.attempt})
            log("WARNING", "instance quarantined", batch=batch.batch, key=found.key, kind=refusal.kind)

    def quarantine_foreign(self, strays: list[Found], reason: str = "") -> None:
        """Put objects aside that no receiver wrote; they belong to no batch's count."""
        reason = reason or "The key is not one of this product's; only its receiver writes here."
        for found in strays:
            self.check()
            self.put_aside("FOREIGN", found.key[-200:], found, Refusal("ForeignObject", reason), {})
            self.counts["ForeignObjects"] += 1
            # The key is in the ledger and not here: somebody else's file may be named after a patient.
            log("WARNING", "foreign object quarantined", ledger="BATCH#FOREIGN", bytes=found.bytes)

    def put_aside(self, batch_id: str, name: str, found: Found, refusal: Refusal, about: Item) -> None:
        target = quarantine_key(found.key)
        if not self.aws.copy(self.settings.landing_bucket, [(found, target)]):
            return  # another run has moved it, or it was stored anew: then the next listing shows it
        record = {"batch": batch_id, "object_key": found.key, "quarantine_key": target, "bytes": found.bytes, **about}
        record |= {"kind": refusal.kind, "reason": refusal.message[:2048], "quarantined_at": iso(self.aws.now())}
        body = json.dumps({"schema": 1, **record}, indent=1).encode()
        self.aws.write(self.settings.landing_bucket, f"{target}.json", body)
        item = {**record, "pk": f"BATCH#{batch_id}", "sk": f"QUARANTINED#{name}"}
        try:
            self.aws.put_item(item, "object_key", "=", found.key)
        except Conflict:  # the same SOP Instance UID in another series of this batch
            item["sk"] += "#" + hashlib.sha256(found.key.encode()).hexdigest()[:8]
            self.aws.put_item(item, "object_key", "=", found.key)
        self.aws.delete(self.settings.landing_bucket, [found])

    # - splitting -

    def begin_split(self, batch: Batch, objects: list[Found]) -> None:
        """Halve a batch. The first key of the second half is noted, so that a crash does not move the border."""
        batch.state, batch.pivot = SPLITTING, sorted(found.key for found in objects)[len(objects) // 2]
        number = len(batch.children)
        batch.children = [*batch.children, f"{batch.batch}.{number + 1}", f"{batch.batch}.{number + 2}"]
        self.save(batch)
        log("WARNING", "batch is split", batch=batch.batch, objects=len(objects))
        self.split(batch)

    def split(self, batch: Batch) -> None:
        """Move the objects below two new prefixes; only when all have moved are these batches of their own."""
        landing, halves = self.settings.landing_bucket, batch.children[-2:]
        objects = self.fit_objects(batch)
        self.count(batch, [], moving=objects)
        for start in range(0, len(objects), 100):
            self.check()
            pairs = [(found, self.child_key(batch, found.key)) for found in objects[start : start + 100]]
            self.delete(self.aws.copy(landing, pairs))
        for child in halves:
            count = len(self.aws.list_objects(landing, f"incoming/{child}/"))
            self.create_child(batch, child, count)
        self.again = True
        self.finish(batch)

    def child_key(self, batch: Batch, key: str) -> str:
        child = batch.children[-2 if key < batch.pivot else -1]
        return f"incoming/{child}/{key.removeprefix(batch.prefix)}"

    def create_child(self, parent: Batch, name: str, count: int) -> None:
        child = Batch(name, closed_by="split", parent=parent.batch, expected=count, waiting_since=parent.waiting_since)
        child.closed_at, child.last_stored_at = parent.closed_at, parent.last_stored_at
        child.calling_ae_titles, child.failing_since = parent.calling_ae_titles, parent.failing_since
        try:
            self.save(child)
        except Conflict:  # it exists: this step was killed after this line, or another run was faster
            return

    # - metrics -

    def metrics(self) -> dict[str, float | list[float]]:
        """The values of METRICS after this run."""
        now, open_batches = self.aws.now(), [one for one in self.known.values() if one.state not in FINAL_STATES]
        states = Counter(batch.state for batch in open_batches)
        since = [epoch(batch.waiting_since) for batch in open_batches]
        since += [opened_at(name) for name in self.manifests if name not in self.known]
        values: dict[str, float | list[float]] = {name: self.counts[name] for name in METRICS}
        values["BatchesWaiting"] = states[CLOSED] + states[STARTING]
        values["BatchesImporting"] = states[IMPORTING]
        values["InstancesMissing"] = sum(batch.missing for batch in open_batches if batch.state == INCOMPLETE)
        values["OldestUnsettledBatchSeconds"] = max(0, round(now - min(since))) if since else 0
        values.pop("SecondsToImageSet")
        if not self.looked:  # a run that could not look has no gauges to show
            return {"ImportErrors": self.counts["ImportErrors"]}
        if self.seconds_to_image_set:
            values["SecondsToImageSet"] = [round(one, 3) for one in self.seconds_to_image_set[:100]]
        return values


def reconcile(aws: Aws, settings: Settings, deadline: float) -> dict[str, float | list[float]] | None:
    """Move everything on as far as the facts and the time until `deadline` (epoch seconds) allow.

    Returns the metrics of this run, None if another run is at work: then that one has been told to look again.
    """
    lease = Lease(aws)
    importer = Importer(aws, settings, lease, deadline)
    try:
        if not lease.take():
            return None
        importer.work()
    except OutOfTime:
        log("INFO", "time is over; the next wake-up goes on")
        lease.drop()
    except LeaseLost:
        log("INFO", "another run has taken over")
    except AwsError as error:
        level = "INFO" if isinstance(error, TryLater | Conflict) else "ERROR"
        log(level, "a call failed; the next wake-up goes on", code=error.code)
        importer.counts["ImportErrors"] += level == "ERROR"
        lease.drop()
    return importer.metrics()


def handler(event: Any, context: Any) -> dict[str, float | list[float]] | None:
    """Lambda's entry. Events are doorbells: what they say is not looked at."""
    try:
        settings = read_settings(os.environ)
    except ValueError as error:
        log("ERROR", "the function is not configured", reason=str(error))
        raise
    aws = Boto3Aws(settings)
    deadline = aws.now() + max(1.0, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS)
    values = reconcile(aws, settings, deadline)
    if values is not None:
        print_metrics(settings, aws.now(), values)
    return values
'''
