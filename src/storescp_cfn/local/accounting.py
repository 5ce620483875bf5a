"""Where every instance is, told by the buckets, the ledger and HealthImaging; never by a log.

The invariant of the product: acknowledged => stored => imported or quarantined.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from storescp_cfn.local import dcmtk
from storescp_cfn.local.stack import DeployedStack, LocalStack
from storescp_cfn.local.study import DicomFile, content

# One landed object: the batch that its receiver put it in, and its SOPInstanceUID. A batch that the importer split
# keeps its root's name before the first dot.
Instance = tuple[str, str]

GATHERED = re.compile(r"(?:split|quarantine)/[^/.]+\.1[./]")  # what was elsewhere goes to the first part of a batch
RETRY = re.compile(r"(?:split|quarantine)/[^/.]+\.\d{9,}\.\d+/")
# The ledger's states in which nothing is left to do; a split batch lives on in its halves.
# The kind of a record below quarantine/ whose instance is imported with a serious warning: not a refusal.
WARNED = "Warned"
SETTLED = frozenset({"SETTLED", "SPLIT"})


@dataclass(frozen=True)
class Progress:
    """How far batches and jobs are: cheap to ask, however many instances there are."""

    batches: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)

    @property
    def at_rest(self) -> bool:
        """No job runs, and every batch that the ledger knows is settled."""
        running = any(status in ("SUBMITTED", "IN_PROGRESS") for status in self.jobs.values())
        return not running and set(self.batches.values()) <= SETTLED


@dataclass(frozen=True)
class Account:
    """The facts at one moment."""

    stored: frozenset[Instance] = frozenset()
    imported: frozenset[Instance] = frozenset()
    quarantined: dict[Instance, str] = field(default_factory=dict)
    warned: dict[Instance, str] = field(default_factory=dict)  # imported, and the original is kept for good
    progress: Progress = field(default_factory=Progress)
    image_sets: int = 0

    @property
    def unsettled(self) -> frozenset[Instance]:
        """Stored, and neither imported nor quarantined yet."""
        return self.stored - self.imported - self.quarantined.keys()

    @property
    def at_rest(self) -> bool:
        """Nothing is left to do: every object, every batch and every job is settled."""
        return not self.unsettled and self.progress.at_rest


def promised(sent: Iterable[dcmtk.Sent]) -> list[str]:
    """The SOPInstanceUID of each acknowledged file; of files with one content, once.

    The receiver acknowledges identical bytes without a new object while their batch is open (docs/adr/0014); other
    bytes under the same UID are another object.
    """
    files: dict[str, list[DicomFile]] = {}
    for outcome in sent:
        if outcome.acknowledged:
            files.setdefault(outcome.file.sop_instance_uid, []).append(outcome.file)
    counts = {uid: 1 if len(same) == 1 else len({content(file) for file in same}) for uid, same in files.items()}
    return [uid for uid, count in counts.items() for _ in range(count)]


def differences(acknowledged: Iterable[str], account: Account) -> list[str]:
    """One sentence for each instance that is not where the invariant wants it; nothing when all agree.

    `acknowledged` holds a SOPInstanceUID for each object that success responses promise (`promised`).
    """
    promised = Counter(acknowledged)
    stored = Counter(uid for _, uid in account.stored)
    sentences = [
        f"{uid}: acknowledged {count} times, stored {stored[uid]} times"
        for uid, count in promised.items()
        if stored[uid] < count
    ]
    sentences += [
        f"{uid}: stored in batch {batch}, neither imported nor quarantined" for batch, uid in sorted(account.unsettled)
    ]
    both = account.imported & account.quarantined.keys()
    sentences += [f"{uid}: both imported and quarantined, batch {batch}" for batch, uid in sorted(both)]
    return sentences


def read(stack: LocalStack, deployed: DeployedStack) -> Account:
    """Read the facts with the operator's key."""
    s3, healthimaging = stack.client("s3"), stack.client("medical-imaging")
    progress = read_progress(stack, deployed)  # first: what it calls settled is then found settled below
    kept = list(quarantine(s3, deployed.landing_bucket))
    imported, origins = list(imported_keys(s3, deployed.results_bucket)), Origins(s3, deployed.results_bucket)
    mended = {origins.of(key) for key in imported if is_retry(key)}
    image_sets = healthimaging.get_paginator("search_image_sets").paginate(datastoreId=deployed.datastore_id)
    return Account(
        stored=frozenset(instance_of(key) for key in ever_stored(s3, deployed.landing_bucket)),
        imported=frozenset(origins.of(key) for key in imported),
        quarantined={
            instance: reason
            for key, kind, reason in kept
            if kind != WARNED and (instance := origins.of(key)) not in mended  # what stays is the evidence
        },
        warned={origins.of(key): reason for key, kind, reason in kept if kind == WARNED},
        progress=progress,
        image_sets=sum(len(page["imageSetsMetadataSummaries"]) for page in image_sets),
    )


def read_progress(stack: LocalStack, deployed: DeployedStack) -> Progress:
    """Read the states of batches and jobs with the operator's key."""
    healthimaging = stack.client("medical-imaging")
    jobs = healthimaging.get_paginator("list_dicom_import_jobs").paginate(datastoreId=deployed.datastore_id)
    return Progress(
        batches=dict(ledger_batches(stack.client("dynamodb"), deployed.ledger_table)),
        jobs={job["jobId"]: job["jobStatus"] for page in jobs for job in page["jobSummaries"]},
    )


def instance_of(key: str) -> Instance:
    """`<area>/<batch>/<study>/<series>/<sop>.dcm` as (root batch, SOPInstanceUID); any other key stands for itself."""
    parts = key.split("/")
    if len(parts) != 5:
        return ("", key)
    return parts[1].split(".")[0], parts[4].removesuffix(".dcm")


def is_retry(key: str) -> bool:
    """Whether the key is of a batch that an operator's retry made, `<root>.<epoch seconds>.<digits>`."""
    return bool(RETRY.match(key))


class Origins:
    """Which receiver's object a key of the importer stands for.

    What a batch had in an earlier one (`elsewhere` of its manifest) was moved to `<root>.1`; its object was stored in
    that earlier one, and counts there.
    """

    def __init__(self, s3: Any, results_bucket: str) -> None:
        self._s3, self._bucket = s3, results_bucket
        self._elsewhere: dict[str, dict[str, Instance]] = {}

    def of(self, key: str) -> Instance:
        """As `instance_of`, with the batch in which the receiver stored the object."""
        instance = instance_of(key)
        if not GATHERED.match(key):
            return instance
        return self._moved_by(instance[0]).get(key.split("/", 2)[-1], instance)

    def _moved_by(self, root: str) -> dict[str, Instance]:
        if root not in self._elsewhere:
            try:
                kept = json.load(self._s3.get_object(Bucket=self._bucket, Key=f"jobs/{root}/manifest.json")["Body"])
            except self._s3.exceptions.NoSuchKey:  # nothing of it was moved
                return {}
            self._elsewhere[root] = {key.split("/", 2)[-1]: instance_of(key) for key in kept.get("elsewhere", [])}
        return self._elsewhere[root]


def ever_stored(s3: Any, bucket: str) -> Iterator[str]:
    """Keys of every object ever put below `incoming/`: the bucket is versioned, so a settled one still shows."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="incoming/"):
        for version in page.get("Versions", []):
            yield version["Key"]


def keys(s3: Any, bucket: str, prefix: str = "") -> Iterator[str]:
    """Keys of the current objects below `prefix`."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            yield entry["Key"]


def imported_keys(s3: Any, bucket: str) -> Iterator[str]:
    """The landing keys that HealthImaging says it took: in a job's own lists, or in its kept answers to StoreDICOM."""
    for key in keys(s3, bucket):
        if key.endswith(".ndjson") and ("/SUCCESS/" in key or "/stored-" in key):
            for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines():
                yield json.loads(line)["inputFile"]


def quarantine(s3: Any, bucket: str) -> Iterator[tuple[str, str, str]]:
    """(key, kind, reason) of every instance below `quarantine/`."""
    for key in keys(s3, bucket, "quarantine/"):
        if not key.endswith(".json"):
            try:
                record = json.load(s3.get_object(Bucket=bucket, Key=f"{key}.json")["Body"])
            except s3.exceptions.NoSuchKey:
                continue  # the importer writes the record after the copy: it is not quarantined yet
            yield key, str(record.get("kind", "")), str(record.get("reason", "no reason given"))


def ledger_batches(dynamodb: Any, table: str) -> Iterator[tuple[str, str]]:
    """(batch, state) of every batch that the ledger knows."""
    for page in dynamodb.get_paginator("scan").paginate(TableName=table):
        for item in page["Items"]:
            if item["sk"]["S"] == "BATCH":
                yield item["batch"]["S"], item["state"]["S"]
