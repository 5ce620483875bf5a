"""The facts of an AWS in memory for the importer: S3, the ledger and HealthImaging on a virtual clock.

HealthImaging keeps the documented quotas, honours clientTokens for as long as it is told, works asynchronously, shows
its jobs late, writes its results late and in parts, has brownouts, and judges an object by its first bytes:

    DICM      imported                       BAD       ValidationException, the object's own fault
    CONFLICT  imported, not primary          FLAKY:n   InternalServerException n times, then imported
    SILENT    in neither list                POISON    the whole job fails
    DENIED    AccessDeniedException          (empty)   ValidationException
    WARN:n    imported with warning code n   ODD       an exception type that is not documented
    NOSET     a success without image set
"""

from __future__ import annotations

import hashlib
import json
import operator
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from import_lambda.aws import Item, Job, ListedObject
from import_lambda.errors import error_of
from import_lambda.settings import Settings
from tests.testkit.memory_dicomweb import MemoryDicomWeb

LANDING, RESULTS = "landing", "results"
DATASTORE = "0123456789abcdef0123456789abcdef"
SETTINGS = Settings(
    *(LANDING, RESULTS, "ledger", DATASTORE, "arn:aws:iam::123456789012:role/import", "stack"), fast_import="false"
)
START = 1_795_000_000.0  # 2026-11-18


COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le}


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
        self.markers: Counter[str] = Counter()  # delete markers, by group

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
        self.markers[group] += stored is not None
        if group in self.groups and not self.groups[group]:
            del self.groups[group]
            del self.tops[group.split("/", 1)[0]][group]
        return stored

    def below(self, prefix: str) -> Iterator[Stored]:
        if prefix.count("/") >= 2:
            groups = [self.group_of(prefix)]
        else:
            tops = self.tops.get(prefix.split("/", 1)[0], {})
            groups = [group for group in tops if group.startswith(prefix) or prefix.startswith(group)]
        for group in sorted(groups):
            for key in sorted(self.groups.get(group, {})):
                if key.startswith(prefix):
                    yield self.groups[group][key]

    def folders(self, prefix: str) -> Iterator[str]:
        """Folders directly below a top folder whose names begin so."""
        top = prefix.split("/", 1)[0]
        return (group for group in sorted(self.tops.get(top, {})) if group.startswith(prefix) and group != f"{top}/")

    def markers_below(self, prefix: str, start_after: str) -> int:
        """How many delete markers a listing reads that begins behind a key."""
        passed = (group for group in self.markers if group.startswith(prefix) and group >= start_after[: len(group)])
        return sum(self.markers[group] for group in passed)


@dataclass
class Brownout:
    """A time in which a share of HealthImaging's work fails, and how: "jobs", "silent", "unknown" or "internal"."""

    begins_at: float
    ends_at: float
    share: float
    kind: str = "jobs"
    draw: random.Random = field(default_factory=lambda: random.Random(7))

    def strikes(self, now: float, kind: str) -> bool:
        return kind == self.kind and self.begins_at <= now < self.ends_at and self.draw.random() < self.share


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
    partial_results: bool = False  # a list is written in two parts
    job_shown_after_seconds: float = 0.0  # how long a job that has been started is neither found nor listed
    seconds_per_marker: float = 0.0  # what a listing takes for each delete marker that it passes
    brownouts: list[Brownout] = field(default_factory=list)
    healthy_every_minutes: int = 0  # how often another batch comes while the tests' schedule runs
    extra: list[tuple[str, str]] = field(default_factory=list)  # what came so
    about: str = ""  # the batch that the current call names, as far as it names one
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
        elif any(one.strikes(job.ends_at, "jobs") for one in self.brownouts):
            message = "The import job failed."
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
        if body.startswith(b"SILENT") or any(one.strikes(self.time, "silent") for one in self.brownouts):
            return None
        fault = ("ValidationException", "<attribute TransferSyntaxUID is missing> DOE^JANE")
        if body.startswith(b"ODD") or any(one.strikes(self.time, "unknown") for one in self.brownouts):
            fault, body = ("SomethingNewException", "it went wrong"), b"ODD"
        if any(one.strikes(self.time, "internal") for one in self.brownouts):
            fault, body = ("InternalServerException", "try again"), b"ODD"
        if body.startswith(b"FLAKY:"):
            left = self.failures_left.setdefault(key.rpartition("/")[2], int(body.split(b":")[1]))
            self.failures_left[key.rpartition("/")[2]] = left - 1
            fault = ("InternalServerException", "try again")
        if body.startswith(b"DENIED"):
            fault = ("AccessDeniedException", "the role may not read the object")
        if body.startswith(b"NOSET"):
            return {"inputFile": key, "importResponse": {"isPrimary": True}}
        if body.startswith((b"DICM", b"CONFLICT", b"WARN:")) or (body.startswith(b"FLAKY:") and left <= 0):
            self.image_sets[key] += 1
            image_set = hashlib.md5("/".join(key.split("/")[2:4]).encode(), usedforsecurity=False).hexdigest()
            primary = not body.startswith(b"CONFLICT")
            self.dicomweb.enter(key, primary, self.time)
            response: dict[str, Any] = {"imageSetId": image_set, "isPrimary": primary}
            if body.startswith(b"WARN:"):
                code = int(body.split(b":")[1])
                response["warnings"] = [{"warning_reason_code": code, "type": "Other", "message": "DOE^JANE"}]
            return {"inputFile": key, "importResponse": response}
        return {"inputFile": key, "exception": {"exceptionType": fault[0], "message": fault[1]}}

    def write_results(self, job: MemoryJob, lines: dict[str, dict[str, Any] | None]) -> None:
        folder = f"{job.output_prefix}{DATASTORE}-DicomImport-{job.job.id}/"
        good = [line for line in lines.values() if line and "importResponse" in line]
        warned = [line for line in good if "warnings" in line["importResponse"]]
        bad = [line for line in lines.values() if line and "exception" in line]
        summary = {
            "jobId": job.job.id,
            "numberOfScannedFiles": len(good) + len(bad),
            "numberOfImportedFiles": len(good),
            "numberOfFilesWithCustomerError": len(bad),
        }
        files = {
            "SUCCESS/success.ndjson": "".join(json.dumps(line) + "\n" for line in good),
            "WARNING/warning.ndjson": "".join(json.dumps(line) + "\n" for line in warned),
            "FAILURE/failure.ndjson": "".join(json.dumps(line) + "\n" for line in bad),
            "job-output-manifest.json": json.dumps({"jobSummary": summary}),
        }
        for number, (name, text) in enumerate(files.items()):
            due = job.ends_at + self.manifest_lag_seconds * number / 3
            if self.partial_results and text.count("\n") > 1:
                part = "".join(text.splitlines(keepends=True)[: text.count("\n") // 2])
                self.put(RESULTS, folder + name, part.encode())
                due += 30
            if text and due > self.time:
                self.late_results.append((due, folder + name, text.encode()))
            elif text:
                self.put(RESULTS, folder + name, text.encode())
