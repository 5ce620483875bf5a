"""One import job's work: read what lies below the input prefix, fill image sets, write the output.

AWS HealthImaging, "Importing imaging data": the layout of the output, its manifest and its ndjson files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from healthimaging_emulator.image_sets import ImageSet, Import
from healthimaging_emulator.instance_files import InstanceFiles
from healthimaging_emulator.reading import Instance, Refused, read_instance, with_injected_warnings
from healthimaging_emulator.settings import Settings


class JobFailed(Exception):
    """The job as a whole cannot go on; the message becomes the job's."""


class ObjectGone(Exception):
    """The object was there when the prefix was listed, and is no more."""


@dataclass(frozen=True)
class ListedObject:
    """One object below the prefix."""

    key: str
    size_bytes: int


class ObjectStore(Protocol):
    """S3 as the data access role may use it. Its methods raise JobFailed when S3 says no."""

    def list(self, bucket: str, prefix: str) -> Iterable[ListedObject]: ...

    def read(self, bucket: str, key: str) -> bytes: ...

    def write(self, bucket: str, key: str, body: bytes) -> None: ...


@dataclass
class Job:
    """One import job; times are in seconds since the epoch, None while they lie ahead."""

    job_id: str
    job_name: str
    datastore_id: str
    datastore_arn: str
    data_access_role_arn: str
    input_s3_uri: str
    output_s3_uri: str
    submitted_at: float
    request: dict[str, Any]
    status: str = "SUBMITTED"
    ended_at: float | None = None
    message: str | None = None

    @property
    def folder(self) -> str:
        """The job folder below outputS3Uri, a URI that ends in a slash."""
        return f"{self.output_s3_uri.rstrip('/')}/{self.datastore_id}-DicomImport-{self.job_id}/"


@dataclass
class Outcome:
    """What became of each file, as lines of the ndjson files."""

    success: list[dict[str, Any]] = field(default_factory=list)
    failure: list[dict[str, Any]] = field(default_factory=list)
    warning: list[dict[str, Any]] = field(default_factory=list)
    scanned: int = 0
    imported: int = 0
    warned_in_success: bool = True

    def fail(self, key: str, exception_type: str, message: str) -> None:
        self.scanned += 1
        if not exception_type:
            return
        exception = {"exceptionType": exception_type, "message": message}
        self.failure.append({"inputFile": key, "exception": exception})

    def succeed(self, key: str, instance: Instance, image_set: ImageSet) -> None:
        self.scanned += 1
        self.imported += 1
        identity = {"imageSetId": image_set.image_set_id, "isPrimary": image_set.is_primary}
        if self.warned_in_success or not instance.warnings:
            self.success.append({"inputFile": key, "importResponse": identity})
        if instance.warnings:
            warnings = [vars(each) for each in instance.warnings]
            response = {**identity, "imageSetVersion": image_set.version, "warnings": warnings}
            self.warning.append({"inputFile": key, "importResponse": response})

    @property
    def server_errors(self) -> int:
        return sum(line["exception"]["exceptionType"] == "InternalServerException" for line in self.failure)


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key prefix of `s3://bucket/prefix`, the prefix exactly as given."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix


def scan(job: Job, s3: ObjectStore, settings: Settings) -> list[ListedObject]:
    """Every object whose key begins with the input prefix. Raises JobFailed over a limit."""
    listed = list(s3.list(*split_s3_uri(job.input_s3_uri)))
    folders = {each.key.rpartition("/")[0] for each in listed}
    total_bytes = sum(each.size_bytes for each in listed)
    # The beginning of the first message is documented; the names of the other two are ours.
    for what, found, most in (
        ("FILE_COUNTS", len(listed), settings.maximum_files_per_job),
        ("TOTAL_SIZE_BYTES", total_bytes, settings.maximum_bytes_per_job),
        ("FOLDER_COUNTS", len(folders), settings.maximum_folders_per_job),
    ):
        if found > most:
            raise JobFailed(f"{what}_LIMIT_EXCEEDED: {found} found, at most {most} allowed. Import job failed")
    if not listed and settings.when_prefix_empty == "fail":
        raise JobFailed("There is no file under inputS3Uri. Import job failed")
    for each in listed:
        if any(part in each.key for part in settings.failing_keys):
            raise JobFailed("Internal error. Import job failed")
    return listed


def read_all(
    job: Job, s3: ObjectStore, listed: Iterable[ListedObject], settings: Settings, files: InstanceFiles
) -> Iterator[tuple[str, Instance | Exception]]:
    """Key by key, in the order of the keys, the instance or why there is none."""
    bucket, _ = split_s3_uri(job.input_s3_uri)

    def read(each: ListedObject) -> tuple[str, Instance | Exception]:
        for part, exception_type in settings.object_errors.items():
            if part in each.key:
                return each.key, InjectedError(exception_type)
        if each.size_bytes > settings.maximum_bytes_per_file:
            return each.key, Refused(f"<the file is larger than {settings.maximum_bytes_per_file} bytes>")
        try:
            data = s3.read(bucket, each.key)
            instance = with_injected_warnings(read_instance(data), settings.warned_instances)
        except ObjectGone:
            return each.key, Refused("<the object does not exist any more>")
        except Refused as error:
            return each.key, error
        if settings.keep_bytes:
            files.keep(instance.sha256, data)
        return each.key, instance

    return map(read, listed)


class InjectedError(Exception):
    """An object that is not imported because the settings say so; its argument is the exceptionType."""


def settle(found: Iterable[tuple[str, Instance | Exception]], into: Import, settings: Settings) -> Outcome:
    """Fill the image sets, and say what became of each file."""
    outcome = Outcome(warned_in_success=settings.warned_in_success)
    for key, what in found:
        if isinstance(what, Instance):
            outcome.succeed(key, what, into.add(key, what))
        elif isinstance(what, InjectedError):
            outcome.fail(key, str(what), "<an error that the emulator's settings asked for>")
        else:
            outcome.fail(key, "ValidationException", str(what))
    return outcome


def write_lines(job: Job, s3: ObjectStore, outcome: Outcome) -> None:
    """Write the ndjson files that have a line."""
    bucket, folder = split_s3_uri(job.folder)
    for name, lines in (("SUCCESS", outcome.success), ("FAILURE", outcome.failure), ("WARNING", outcome.warning)):
        if lines:
            body = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            s3.write(bucket, f"{folder}{name}/{name.lower()}.ndjson", body.encode())


def write_manifest(job: Job, s3: ObjectStore, manifest: dict[str, Any]) -> None:
    """Write job-output-manifest.json."""
    bucket, folder = split_s3_uri(job.folder)
    s3.write(bucket, f"{folder}job-output-manifest.json", json.dumps(manifest).encode())


def manifest_of(job: Job, outcome: Outcome, done: Import, settings: Settings) -> dict[str, Any]:
    """The content of job-output-manifest.json."""
    summaries = []
    for image_set_id, uids in done.matched.items():
        image_set = done.touched[image_set_id]
        summary: dict[str, Any] = {"imageSetId": image_set_id, "numberOfMatchedSOPInstances": len(uids)}
        if settings.summary_has_version:
            summary |= {"imageSetVersion": image_set.version, "isPrimary": image_set.is_primary}
        summaries.append(summary)
    return {
        "jobSummary": {
            "jobId": job.job_id,
            "datastoreId": job.datastore_id,
            "inputS3Uri": job.input_s3_uri,
            "outputS3Uri": job.folder,
            "successOutputS3Uri": f"{job.folder}SUCCESS/",
            "failureOutputS3Uri": f"{job.folder}FAILURE/",
            "warningsOutputS3Uri": f"{job.folder}WARNING/",
            "numberOfScannedFiles": outcome.scanned,
            "numberOfImportedFiles": outcome.imported,
            "numberOfFilesWithCustomerError": len(outcome.failure) - outcome.server_errors,
            "numberOfFilesWithServerError": outcome.server_errors,
            "numberOfGeneratedImageSets": len(summaries),
            "imageSetsSummary": summaries,
        }
    }
