"""The state of the service and the rules by which requests change it; no sockets, threads or clock of its own.

A job's way is entered in a timetable: submitted, in progress, ended, manifest written. Whoever drives the timetable
(a thread, or a test with a virtual clock) makes it happen.
"""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from storescp_cfn.local.healthimaging import events
from storescp_cfn.local.healthimaging.errors import NotEmulated, ServiceError
from storescp_cfn.local.healthimaging.image_sets import ImageSet, ImageSets
from storescp_cfn.local.healthimaging.jobs import (
    Job,
    JobFailed,
    ObjectStore,
    Outcome,
    manifest_of,
    read_all,
    scan,
    settle,
    write_lines,
    write_manifest,
)
from storescp_cfn.local.healthimaging.search import search_image_sets, summaries
from storescp_cfn.local.healthimaging.settings import Settings
from storescp_cfn.local.healthimaging.timetable import Action, Timetable

log = logging.getLogger(__name__)

Parameters = dict[str, Any]
# Role ARN and data store ARN in, S3 as that role may use it out; JobFailed when HealthImaging may not assume the role.
OpenObjectStore = Callable[[str, str], ObjectStore]
MESSAGE_FORBIDS = re.compile(r"[^\w -:`]")  # the model's pattern of a message
INTERNAL_ERROR = "Internal error. Import job failed"
PAGE = 50


@dataclass
class Datastore:
    """One data store; times are in seconds since the epoch."""

    datastore_id: str
    name: str
    arn: str
    created_at: float
    updated_at: float
    request: Parameters
    status: str = "CREATING"
    image_sets: ImageSets = field(default_factory=ImageSets)
    jobs: dict[str, Job] = field(default_factory=dict)
    by_client_token: dict[str, Job] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)  # ids of jobs that count against the quota
    waiting: list[Job] = field(default_factory=list)  # SUBMITTED beyond the quota, where that queues


class HealthImaging:
    """Data stores, jobs and image sets of one account in one Region."""

    def __init__(
        self,
        timetable: Timetable,
        open_object_store: OpenObjectStore,
        publish: events.Publish,
        run: Callable[[Action], None],
        region: str = "us-east-1",
        account: str = "000000000000",
        settings: Settings | None = None,
    ) -> None:
        self.timetable = timetable
        self.clock = timetable.clock
        self.region = region
        self.account = account
        self.settings = settings or Settings()
        self.datastores: dict[str, Datastore] = {}
        self.published: list[events.Event] = []
        self.lock = threading.RLock()
        self._open_object_store = open_object_store
        self._publish = publish
        self._run = run  # a job's work: in a pool of threads, or on the spot

    # Data stores

    def datastore_arn(self, datastore_id: str) -> str:
        return f"arn:aws:medical-imaging:{self.region}:{self.account}:datastore/{datastore_id}"

    def create_datastore(self, request: Parameters) -> Parameters:
        """CreateDatastore."""
        for each in self.datastores.values():
            if each.request.get("clientToken") == request["clientToken"]:
                return {"datastoreId": each.datastore_id, "datastoreStatus": each.status}
        if sum(each.status != "DELETED" for each in self.datastores.values()) >= self.settings.maximum_datastores:
            raise ServiceError("ServiceQuotaExceededException", "The quota of data stores is exceeded")
        datastore_id, now = uuid.uuid4().hex, self.clock()
        name = request.get("datastoreName", datastore_id)
        datastore = Datastore(datastore_id, name, self.datastore_arn(datastore_id), now, now, request)
        self.datastores[datastore_id] = datastore
        self._emit_datastore(datastore, "Data Store Creating")
        self.timetable.after(self.settings.datastore_creation_seconds, lambda: self._activate(datastore))
        return {"datastoreId": datastore_id, "datastoreStatus": "CREATING"}

    def _activate(self, datastore: Datastore) -> None:
        with self.lock:
            datastore.status, datastore.updated_at = "ACTIVE", self.clock()
            self._emit_datastore(datastore, "Data Store Created")

    def delete_datastore(self, request: Parameters) -> Parameters:
        """DeleteDatastore; refused while there is an image set in it."""
        datastore = self._datastore(request["datastoreId"])
        if datastore.image_sets.by_id:
            raise ServiceError("ConflictException", "The data store has image sets: delete them first")
        if datastore.running or datastore.waiting:
            raise ServiceError("ConflictException", "The data store has import jobs that have not ended")
        datastore.status, datastore.updated_at = "DELETED", self.clock()
        self._emit_datastore(datastore, "Data Store Deleted")
        return {"datastoreId": datastore.datastore_id, "datastoreStatus": "DELETING"}

    def get_datastore(self, request: Parameters) -> Parameters:
        """GetDatastore."""
        datastore = self.datastores.get(request["datastoreId"]) or self._datastore(request["datastoreId"])
        optional = {
            name: datastore.request[name] for name in ("kmsKeyArn", "lambdaAuthorizerArn") if name in datastore.request
        }
        storage_format = datastore.request.get("losslessStorageFormat", "HTJ2K")
        summary = self._datastore_summary(datastore)
        return {"datastoreProperties": {**summary, **optional, "losslessStorageFormat": storage_format}}

    def list_datastores(self, request: Parameters) -> Parameters:
        """ListDatastores."""
        wanted = request.get("datastoreStatus")
        found = [self._datastore_summary(each) for each in self.datastores.values() if wanted in (None, each.status)]
        page, next_token = _page(found, request)
        return {"datastoreSummaries": page, "nextToken": next_token}

    def _datastore_summary(self, datastore: Datastore) -> Parameters:
        return {
            "datastoreId": datastore.datastore_id,
            "datastoreName": datastore.name,
            "datastoreStatus": datastore.status,
            "datastoreArn": datastore.arn,
            "createdAt": _time(datastore.created_at),
            "updatedAt": _time(datastore.updated_at),
        }

    def _datastore(self, datastore_id: str) -> Datastore:
        datastore = self.datastores.get(datastore_id)
        if datastore is None or datastore.status == "DELETED":
            raise ServiceError("ResourceNotFoundException", f"There is no data store {datastore_id}")
        return datastore

    # Import jobs

    def start_dicom_import_job(self, request: Parameters) -> Parameters:
        """StartDICOMImportJob; the same clientToken gives the same job, or a ConflictException for another request."""
        datastore = self._datastore(request["datastoreId"])
        if "importConfiguration" in request:
            raise NotEmulated("importConfiguration of StartDICOMImportJob")
        known = datastore.by_client_token.get(request["clientToken"])
        if known is not None and self.clock() < known.submitted_at + self.settings.client_token_seconds:
            if known.request != request:
                raise ServiceError("ConflictException", "The clientToken was used with other parameters")
            return self._started(known)
        if datastore.status != "ACTIVE":
            raise ServiceError("ValidationException", f"The data store is {datastore.status}, not ACTIVE")
        full = len(datastore.running) >= self.settings.maximum_concurrent_jobs
        if full and self.settings.when_jobs_exceeded == "refuse":
            raise ServiceError("ServiceQuotaExceededException", "The quota of concurrent import jobs is exceeded")
        job = self._new_job(datastore, request)
        datastore.jobs[job.job_id] = datastore.by_client_token[request["clientToken"]] = job
        self._emit(events.job_event(job, self.settings))
        if full:
            datastore.waiting.append(job)
        else:
            self._admit(datastore, job)
        return self._started(job)

    def _admit(self, datastore: Datastore, job: Job) -> None:
        datastore.running.add(job.job_id)
        self.timetable.after(self.settings.submitted_seconds, lambda: self._begin(datastore, job))

    def _new_job(self, datastore: Datastore, request: Parameters) -> Job:
        job_id = uuid.uuid4().hex
        return Job(
            job_id=job_id,
            job_name=request.get("jobName", job_id),
            datastore_id=datastore.datastore_id,
            datastore_arn=datastore.arn,
            data_access_role_arn=request["dataAccessRoleArn"],
            input_s3_uri=request["inputS3Uri"],
            output_s3_uri=request["outputS3Uri"],
            submitted_at=self.clock(),
            request=request,
        )

    def _started(self, job: Job) -> Parameters:
        return {
            "datastoreId": job.datastore_id,
            "jobId": job.job_id,
            "jobStatus": job.status,
            "submittedAt": _time(job.submitted_at),
        }

    def get_dicom_import_job(self, request: Parameters) -> Parameters:
        """GetDICOMImportJob; outputS3Uri is the job folder."""
        job = self._datastore(request["datastoreId"]).jobs.get(request["jobId"])
        if job is None:
            raise ServiceError("ResourceNotFoundException", f"There is no import job {request['jobId']}")
        return {
            "jobProperties": {
                **self._job_summary(job),
                "inputS3Uri": job.input_s3_uri,
                "outputS3Uri": job.folder,
            }
        }

    def list_dicom_import_jobs(self, request: Parameters) -> Parameters:
        """ListDICOMImportJobs, the newest first."""
        jobs = reversed(self._datastore(request["datastoreId"]).jobs.values())
        wanted = request.get("jobStatus")
        page, next_token = _page([self._job_summary(job) for job in jobs if wanted in (None, job.status)], request)
        return {"jobSummaries": page, "nextToken": next_token}

    def _job_summary(self, job: Job) -> Parameters:
        return {
            "jobId": job.job_id,
            "jobName": job.job_name,
            "jobStatus": job.status,
            "datastoreId": job.datastore_id,
            "dataAccessRoleArn": job.data_access_role_arn,
            "submittedAt": _time(job.submitted_at),
            "endedAt": None if job.ended_at is None else _time(job.ended_at),
            "message": job.message,
        }

    def _begin(self, datastore: Datastore, job: Job) -> None:
        with self.lock:
            job.status = "IN_PROGRESS"
            self._emit(events.job_event(job, self.settings))
            begun_at = self.clock()
        self._run(lambda: self._work(datastore, job, begun_at))

    def _work(self, datastore: Datastore, job: Job, begun_at: float) -> None:
        """Do the job, then enter its end in the timetable."""
        manifest, s3 = None, None
        failure: str | None = INTERNAL_ERROR
        try:
            s3 = self._open_object_store(job.data_access_role_arn, job.datastore_arn)
            manifest = self._import(datastore, job, s3)
            failure = None
        except JobFailed as error:
            failure = _message(error)
        finally:
            rest = max(0.0, begun_at + self.settings.in_progress_seconds - self.clock())
            self.timetable.after(rest, lambda: self._end(datastore, job, s3, manifest, failure))

    def _import(self, datastore: Datastore, job: Job, s3: ObjectStore) -> Parameters:
        """Read, fill image sets, write the ndjson files; return the manifest. Raises JobFailed.

        A job that cannot write its output ends FAILED although its image sets are there: the real service's order
        is not documented, and this one is the harder for a client.
        """
        with self.lock:
            settings = self.settings
            if settings.fail_next_jobs:
                self.settings = settings.changed({"fail_next_jobs": settings.fail_next_jobs - 1})
                raise JobFailed(INTERNAL_ERROR)
        listed = scan(job, s3, settings)
        found = list(read_all(job, s3, listed, settings))
        with self.lock:
            done = datastore.image_sets.importing(job.job_id, self.clock())
            outcome: Outcome = settle(found, done, settings)
            for image_set in done.touched.values():
                self._emit(events.image_set_event(image_set, datastore.datastore_id, datastore.arn))
        write_lines(job, s3, outcome)
        return manifest_of(job, outcome, done, settings)

    def _end(
        self, datastore: Datastore, job: Job, s3: ObjectStore | None, manifest: Parameters | None, failure: str | None
    ) -> None:
        settings = self.settings
        if manifest is not None and s3 is not None and not settings.manifest_lag_seconds:
            try:
                write_manifest(job, s3, manifest)
            except JobFailed as error:
                failure = _message(error)
        with self.lock:
            job.status, job.message = ("COMPLETED", None) if failure is None else ("FAILED", failure)
            job.ended_at = self.clock()
            self._emit(events.job_event(job, settings))
            if manifest is not None and s3 is not None and settings.manifest_lag_seconds:
                late = manifest
                self.timetable.after(settings.manifest_lag_seconds, lambda: self._write_late(job, s3, late))
            datastore.running.discard(job.job_id)
            if datastore.waiting and len(datastore.running) < settings.maximum_concurrent_jobs:
                self._admit(datastore, datastore.waiting.pop(0))

    def _write_late(self, job: Job, s3: ObjectStore, manifest: Parameters) -> None:
        try:
            write_manifest(job, s3, manifest)
        except JobFailed as error:
            log.warning("Job %s has ended, but its manifest never appears: %s", job.job_id, error)

    # Image sets

    def search_image_sets(self, request: Parameters) -> Parameters:
        """SearchImageSets."""
        datastore = self._datastore(request["datastoreId"])
        criteria = request.get("searchCriteria", {})
        image_sets = list(datastore.image_sets)
        page, next_token = _page(search_image_sets(image_sets, criteria), request)
        found = summaries(page, image_sets)
        return {"imageSetsMetadataSummaries": found, "sort": criteria.get("sort"), "nextToken": next_token}

    def get_image_set(self, request: Parameters) -> Parameters:
        """GetImageSet."""
        image_set, number = self.image_set(request)
        arn = f"{self.datastore_arn(request['datastoreId'])}/imageset/{image_set.image_set_id}"
        return {
            "datastoreId": request["datastoreId"],
            **self._image_set_version(image_set, number),
            "imageSetArn": arn,
            "storageTier": "FREQUENT_ACCESS",
        }

    def list_image_set_versions(self, request: Parameters) -> Parameters:
        """ListImageSetVersions, the newest first."""
        image_set, _ = self.image_set(request)
        versions = [self._image_set_version(image_set, each.number) for each in reversed(image_set.versions)]
        for version in versions:
            version["ImageSetWorkflowStatus"] = version.pop("imageSetWorkflowStatus")  # the model's own spelling here
        page, next_token = _page(versions, request)
        return {"imageSetPropertiesList": page, "nextToken": next_token}

    def image_set(self, request: Parameters) -> tuple[ImageSet, int]:
        """The image set and the version that the request names."""
        image_set = self._datastore(request["datastoreId"]).image_sets.by_id.get(request["imageSetId"])
        if image_set is None:
            raise ServiceError("ResourceNotFoundException", f"There is no image set {request['imageSetId']}")
        if self.clock() < image_set.updated_at + self.settings.image_set_conflict_seconds:
            raise ServiceError("ConflictException", "The image set is not consistent yet")
        number = int(request.get("versionId") or image_set.version)
        if not 1 <= number <= image_set.version:
            raise ServiceError("ResourceNotFoundException", f"The image set has no version {number}")
        return image_set, number

    def _image_set_version(self, image_set: ImageSet, number: int) -> Parameters:
        return {
            "imageSetId": image_set.image_set_id,
            "versionId": str(number),
            "imageSetState": "ACTIVE",
            "imageSetWorkflowStatus": "CREATED" if number == 1 else "UPDATED",
            "createdAt": _time(image_set.created_at),
            "updatedAt": _time(image_set.versions[number - 1].made_at),
            "isPrimary": image_set.is_primary,
        }

    # Events

    def _emit_datastore(self, datastore: Datastore, detail_type: str) -> None:
        self._emit(
            events.datastore_event(detail_type, datastore.arn, datastore.datastore_id, datastore.name, datastore.status)
        )

    def _emit(self, what: events.Event) -> None:
        """Publish once, twice or never, as the settings say; always from the timetable, never under a request."""
        settings, detail_type = self.settings, what["DetailType"]
        if detail_type in settings.lost_events or "*" in settings.lost_events:
            return
        doubled = detail_type in settings.doubled_events or "*" in settings.doubled_events
        for _ in range(2 if doubled else 1):
            self.timetable.after(settings.event_delay_seconds, lambda: self._send(what))

    def _send(self, what: events.Event) -> None:
        self.published.append(what)
        self._publish(what)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _message(error: JobFailed) -> str:
    return MESSAGE_FORBIDS.sub(" ", str(error))[:2048]


def _page(items: list[Any], request: Parameters) -> tuple[list[Any], str | None]:
    """One page, and the token of the next; the token is the position where it begins."""
    token = request.get("nextToken", "0")
    if not token.isdigit():
        raise ServiceError("ValidationException", "nextToken is not one that this service gave")
    begin, size = int(token), request.get("maxResults", PAGE)
    end = begin + size
    return items[begin:end], str(end) if end < len(items) else None
