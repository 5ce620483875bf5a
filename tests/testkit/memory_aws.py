"""An AWS in memory for the importer: S3, the ledger and HealthImaging on a virtual clock.

`World` holds the facts, `MemoryAws` is one importer's view of it (with its own clock skew). Every call can be
interrupted before and after it takes effect. HealthImaging keeps the documented quotas, honours clientTokens for as
long as it is told, works asynchronously, writes its results late, and judges an object by its first bytes:

    DICM      imported                       BAD       ValidationException, the object's own fault
    CONFLICT  imported, not primary          FLAKY:n   InternalServerException n times, then imported
    SILENT    in neither list                POISON    the whole job fails
    DENIED    AccessDeniedException          (empty)   ValidationException
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from import_lambda.aws import Item, Job, ListedObject
from import_lambda.errors import error_of
from import_lambda.settings import Settings
from tests.testkit.memory_dicomweb import DicomWebCalls, MemoryDicomWeb

LANDING, RESULTS = "landing", "results"
DATASTORE = "0123456789abcdef0123456789abcdef"
SETTINGS = Settings(
    *(LANDING, RESULTS, "ledger", DATASTORE, "arn:aws:iam::123456789012:role/import", "stack"), fast_import="false"
)
START = 1_795_000_000.0  # 2026-11-18


COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le}


class KilledError(BaseException):
    """The function was killed: nothing in the code under test may catch it."""


@dataclass
class Stored:
    """One version of an object."""

    found: ListedObject
    body: bytes


@dataclass
class MemoryJob:
    """An import job inside HealthImaging."""

    job: Job
    token: str
    input_prefix: str
    output_prefix: str
    ends_at: float
    scanned: list[str] = field(default_factory=list)


class Bucket:
    """Objects by key, grouped by their first two folders so that listing a batch does not read the others."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, Stored]] = {}
        self.tops: dict[str, dict[str, None]] = defaultdict(dict)

    @staticmethod
    def group_of(key: str) -> str:
        parts = key.split("/", 2)
        return "/".join(parts[:-1]) + "/"

    def put(self, key: str, stored: Stored) -> None:
        group = self.group_of(key)
        self.groups.setdefault(group, {})[key] = stored
        self.tops[group.split("/", 1)[0]][group] = None

    def get(self, key: str) -> Stored | None:
        return self.groups.get(self.group_of(key), {}).get(key)

    def pop(self, key: str) -> Stored | None:
        group = self.group_of(key)
        stored = self.groups.get(group, {}).pop(key, None)
        if group in self.groups and not self.groups[group]:
            del self.groups[group]
            del self.tops[group.split("/", 1)[0]][group]
        return stored

    def below(self, prefix: str) -> Iterator[Stored]:
        if prefix.count("/") >= 2:
            groups = [self.group_of(prefix)]
        else:
            groups = [group for group in self.tops.get(prefix.split("/", 1)[0], {}) if group.startswith(prefix)]
        for group in sorted(groups):
            for key in sorted(self.groups.get(group, {})):
                if key.startswith(prefix):
                    yield self.groups[group][key]

    def folders(self, prefix: str) -> Iterator[str]:
        """Folders directly below a prefix of one folder."""
        return (group for group in sorted(self.tops.get(prefix.rstrip("/"), {})) if group != prefix)


@dataclass
class World:
    """All facts, and how HealthImaging behaves."""

    time: float = START
    starts_per_second: float = 1.0
    starts_burst: float = 2.0
    concurrent_jobs: int = 100
    files_per_job: int = 5_000
    token_seconds: float = 86_400.0  # how long a clientToken is remembered
    job_seconds: float = 20.0
    job_seconds_per_file: float = 0.005
    manifest_lag_seconds: float = 0.0
    call_seconds: float = 0.0  # what each call of the importer takes
    index_lag_seconds: float = 0.0  # how long the index shows an item as it was
    on_job_end: Callable[[MemoryJob], None] | None = None

    dicomweb: MemoryDicomWeb = field(default_factory=MemoryDicomWeb)
    buckets: dict[str, Bucket] = field(default_factory=lambda: {LANDING: Bucket(), RESULTS: Bucket()})
    ledger: dict[str, dict[str, Item]] = field(default_factory=lambda: defaultdict(dict))
    unsettled: dict[str, Item] = field(default_factory=dict)
    index_as_shown: dict[str, Item] = field(default_factory=dict)
    index_changes: list[tuple[float, str, Item | None]] = field(default_factory=list)
    jobs: dict[str, MemoryJob] = field(default_factory=dict)
    running: dict[str, MemoryJob] = field(default_factory=dict)
    by_token: dict[str, MemoryJob] = field(default_factory=dict)
    late_results: list[tuple[float, str, bytes]] = field(default_factory=list)
    image_sets: Counter[str] = field(default_factory=Counter)  # imports by object key
    failures_left: dict[str, int] = field(default_factory=dict)
    tokens: float = 2.0
    tokens_at: float = START
    calls: Counter[str] = field(default_factory=Counter)
    puts: int = 0
    peak_jobs: int = 0
    start_times: list[float] = field(default_factory=list)
    started: int = 0
    quarantined_versions: Counter[str] = field(default_factory=Counter)

    # - S3 -

    def put(self, bucket: str, key: str, body: bytes, size: int | None = None) -> None:
        self.puts += 1
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        found = ListedObject(key, len(body) if size is None else size, etag, self.time)
        self.buckets[bucket].put(key, Stored(found, body))
        if key.startswith("quarantine/") and not key.endswith(".json"):
            self.quarantined_versions[key] += 1

    def keys(self, prefix: str, bucket: str = LANDING) -> list[str]:
        self.tick()
        return [stored.found.key for stored in self.buckets[bucket].below(prefix)]

    # - DynamoDB's index -

    def change_index(self, pk: str, item: Item | None) -> None:
        self.unsettled.pop(pk, None)
        if item is not None:
            self.unsettled[pk] = item
        if self.index_lag_seconds:
            self.index_changes.append((self.time + self.index_lag_seconds, pk, item))

    def shown_index(self) -> dict[str, Item]:
        if not self.index_lag_seconds:
            return self.unsettled
        while self.index_changes and self.index_changes[0][0] <= self.time:
            _, pk, item = self.index_changes.pop(0)
            self.index_as_shown.pop(pk, None)
            if item is not None:
                self.index_as_shown[pk] = item
        return self.index_as_shown

    # - HealthImaging -

    def start(self, name: str, token: str, input_prefix: str, output_prefix: str) -> MemoryJob:
        known = self.by_token.get(token)
        if known is not None and self.time - known.job.submitted_at <= self.token_seconds:
            return known
        if self.starts_per_second:
            refill = (self.time - self.tokens_at) * self.starts_per_second
            self.tokens, self.tokens_at = min(self.starts_burst, self.tokens + refill), self.time
            if self.tokens < 1:
                raise error_of("ThrottlingException", 429)
            self.tokens -= 1
        if len(self.running) >= self.concurrent_jobs:
            raise error_of("ServiceQuotaExceededException", 402)
        files = [stored.found.key for stored in self.buckets[LANDING].below(input_prefix)]
        number = f"{self.started:032x}"
        self.started += 1
        job = Job(number, name, "SUBMITTED", self.time)
        ends_at = self.time + self.job_seconds + self.job_seconds_per_file * len(files)
        self.jobs[number] = self.running[number] = MemoryJob(job, token, input_prefix, output_prefix, ends_at, files)
        self.by_token[token] = self.jobs[number]
        self.start_times.append(self.time)
        self.peak_jobs = max(self.peak_jobs, len(self.running))
        return self.jobs[number]

    def tick(self) -> None:
        """Let HealthImaging do what is due."""
        if not self.running and not self.late_results:
            return
        for job in [job for job in self.running.values() if job.ends_at <= self.time]:
            del self.running[job.job.id]
            self.end(job)
        for due in [one for one in self.late_results if one[0] <= self.time]:
            self.late_results.remove(due)
            self.put(RESULTS, due[1], due[2])

    def end(self, job: MemoryJob) -> None:
        stored = {key: self.buckets[LANDING].get(key) for key in job.scanned}
        bodies = {key: one.body for key, one in stored.items() if one is not None}
        message = ""
        if len(job.scanned) > self.files_per_job:
            message = "FILE_COUNTS_LIMIT_EXCEEDED: the import job failed."
        elif any(body.startswith(b"POISON") for body in bodies.values()):
            message = "Something in the input is wrong: PatientName DOE^JANE"
        if message:
            job.job = job.job._replace(status="FAILED", ended_at=job.ends_at, message=message)
        else:
            self.write_results(job, {key: self.judge(key, body) for key, body in bodies.items()})
            job.job = job.job._replace(status="COMPLETED", ended_at=job.ends_at)
        if self.on_job_end:
            self.on_job_end(job)

    def judge(self, key: str, body: bytes) -> dict[str, Any] | None:
        """The line that HealthImaging writes about an object, and what it does with it."""
        if body.startswith(b"SILENT"):
            return None
        fault = ("ValidationException", "<attribute TransferSyntaxUID is missing> DOE^JANE")
        if body.startswith(b"FLAKY:"):
            left = self.failures_left.setdefault(key.rpartition("/")[2], int(body.split(b":")[1]))
            self.failures_left[key.rpartition("/")[2]] = left - 1
            fault = ("InternalServerException", "try again")
        if body.startswith(b"DENIED"):
            fault = ("AccessDeniedException", "the role may not read the object")
        if body.startswith((b"DICM", b"CONFLICT")) or (body.startswith(b"FLAKY:") and left <= 0):
            self.image_sets[key] += 1
            image_set = hashlib.md5("/".join(key.split("/")[2:4]).encode(), usedforsecurity=False).hexdigest()
            primary = not body.startswith(b"CONFLICT")
            self.dicomweb.enter(key, primary, self.time)
            return {"inputFile": key, "importResponse": {"imageSetId": image_set, "isPrimary": primary}}
        return {"inputFile": key, "exception": {"exceptionType": fault[0], "message": fault[1]}}

    def write_results(self, job: MemoryJob, lines: dict[str, dict[str, Any] | None]) -> None:
        folder = f"{job.output_prefix}{DATASTORE}-DicomImport-{job.job.id}/"
        good = [line for line in lines.values() if line and "importResponse" in line]
        bad = [line for line in lines.values() if line and "exception" in line]
        summary = {
            "jobId": job.job.id,
            "numberOfScannedFiles": len(good) + len(bad),
            "numberOfImportedFiles": len(good),
            "numberOfFilesWithCustomerError": len(bad),
        }
        files = {
            "SUCCESS/success.ndjson": "".join(json.dumps(line) + "\n" for line in good),
            "FAILURE/failure.ndjson": "".join(json.dumps(line) + "\n" for line in bad),
            "job-output-manifest.json": json.dumps({"jobSummary": summary}),
        }
        for number, (name, text) in enumerate(files.items()):
            due = job.ends_at + self.manifest_lag_seconds * number / 2
            if text and due > self.time:
                self.late_results.append((due, folder + name, text.encode()))
            elif text:
                self.put(RESULTS, folder + name, text.encode())


def duplicate(item: Item | None) -> Item:
    """An item as DynamoDB returns it: nobody else's. None stays what it is."""
    if item is None:
        return item  # type: ignore[return-value]
    return {name: list(value) if isinstance(value, list) else value for name, value in item.items()}


class MemoryAws(DicomWebCalls):
    """What one importer sees of a `World`; implements `Aws`.

    `interrupt(moment, number, name)` is called with moment "before" and "after" each call, and may raise
    KilledError, run another importer, or raise one of index's errors (before only).
    """

    def __init__(
        self, world: World, skew: float = 0.0, interrupt: Callable[[str, int, str], None] | None = None
    ) -> None:
        self.world, self.skew, self.interrupt, self.number = world, skew, interrupt, 0

    def now(self) -> float:
        return self.world.time + self.skew

    def sleep(self, seconds: float) -> None:
        self.world.time += seconds
        self.world.tick()

    def call(self, name: str, effect: Callable[[], Any]) -> Any:
        self.number += 1
        number = self.number
        self.world.calls[name] += 1
        self.world.time += self.world.call_seconds
        self.world.tick()
        if self.interrupt:
            self.interrupt("before", number, name)
        answer = effect()
        if self.interrupt:
            self.interrupt("after", number, name)
        return answer

    # - S3 -

    def list_objects(self, bucket: str, prefix: str) -> list[ListedObject]:
        found = self.call("s3:list", lambda: [one.found for one in self.world.buckets[bucket].below(prefix)])
        self.world.calls["s3:list"] += len(found) // 1000  # ListObjectsV2 answers with 1,000 keys
        return list(found)

    def list_folders(self, bucket: str, prefix: str) -> tuple[list[str], list[ListedObject]]:
        def listing() -> tuple[list[str], list[ListedObject]]:
            inside = self.world.buckets[bucket]
            strays = [one.found for key, one in sorted(inside.groups.get(prefix, {}).items())]
            return list(inside.folders(prefix)), strays

        answer: tuple[list[str], list[ListedObject]] = self.call("s3:list", listing)
        return answer

    def read(self, bucket: str, key: str) -> bytes:
        def reading() -> bytes:
            stored = self.world.buckets[bucket].get(key)
            if stored is None:
                raise error_of("NoSuchKey", 404)
            return stored.body

        body: bytes = self.call("s3:get", reading)
        return body

    def write(self, bucket: str, key: str, body: bytes) -> None:
        self.call("s3:put", lambda: self.world.put(bucket, key, body))

    def copy(self, bucket: str, pairs: list[tuple[ListedObject, str]]) -> list[ListedObject]:
        def copying(found: ListedObject, key: str) -> bool:
            stored = self.world.buckets[bucket].get(found.key)
            if stored is None or stored.found.etag != found.etag:
                return False
            self.world.put(bucket, key, stored.body, stored.found.bytes)
            return True

        return [found for found, key in pairs if self.call("s3:copy", partial(copying, found, key))]

    def delete(self, bucket: str, found: list[ListedObject]) -> None:
        def deleting() -> None:
            assert len(found) <= 1000, "DeleteObjects takes 1,000 keys"
            for one in found:
                stored = self.world.buckets[bucket].get(one.key)
                if stored is not None and stored.found.etag == one.etag:
                    self.world.buckets[bucket].pop(one.key)

        self.call("s3:delete", deleting)

    # - DynamoDB -

    def get_item(self, pk: str, sk: str) -> Item | None:
        item: Item | None = self.call("dynamodb:get", lambda: duplicate(self.world.ledger[pk].get(sk)))
        return item

    def query(self, pk: str, sk_prefix: str) -> list[Item]:
        def querying() -> list[Item]:
            rows = self.world.ledger[pk].items() if pk in self.world.ledger else ()
            return [duplicate(item) for sk, item in sorted(rows) if sk.startswith(sk_prefix)]

        items: list[Item] = self.call("dynamodb:query", querying)
        return items

    def unsettled(self) -> list[Item]:
        def querying() -> list[Item]:
            return [duplicate(item) for _, item in sorted(self.world.shown_index().items())]

        items: list[Item] = self.call("dynamodb:query", querying)
        return items

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        def putting() -> None:
            pk, sk = item["pk"], item["sk"]
            old = self.world.ledger[pk].get(sk)
            if old is not None:
                holds = name and name in old and COMPARISONS[operator](old[name], value)
                if not holds:
                    raise error_of("ConditionalCheckFailedException", 400)
            self.world.ledger[pk][sk] = duplicate(item)
            if sk == "BATCH":
                self.world.change_index(pk, self.world.ledger[pk][sk] if "unsettled" in item else None)

        self.call("dynamodb:put", putting)

    # - HealthImaging -

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job:
        assert input_uri.endswith("/"), "a prefix that does not end in / may match its neighbours"
        assert len(name) <= 64
        input_prefix, output_prefix = (uri.split("/", 3)[3] for uri in (input_uri, output_uri))
        job: MemoryJob = self.call(
            "medical-imaging:start", lambda: self.world.start(name, name, input_prefix, output_prefix)
        )
        return job.job

    def get_job(self, job_id: str) -> Job:
        def getting() -> Job:
            if job_id not in self.world.jobs:
                raise error_of("ResourceNotFoundException", 404)
            return self.world.jobs[job_id].job

        job: Job = self.call("medical-imaging:get", getting)
        return job

    def list_jobs(self, status: str) -> list[Job]:
        def listing() -> list[Job]:
            return [one.job for one in self.world.running.values() if one.job.status == status]

        jobs: list[Job] = self.call("medical-imaging:list", listing)
        return jobs
