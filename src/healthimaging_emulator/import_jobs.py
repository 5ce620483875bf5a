"""Import jobs: how they are started, listed, shown and brought to their end.

A job's way is entered in the scheduler: submitted, in progress, ended, manifest written. Whoever drives the scheduler
(a thread, or a test with a virtual clock) makes it happen.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable

from healthimaging_emulator import events
from healthimaging_emulator.errors import NotEmulated, ServiceError
from healthimaging_emulator.jobs import (
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
from healthimaging_emulator.scheduler import Action
from healthimaging_emulator.state import Datastore, Operation, Parameters, ServiceState, page_of, timestamp

log = logging.getLogger(__name__)

# Role ARN and data store ARN in, S3 as that role may use it out; JobFailed when HealthImaging may not assume the role.
OpenObjectStore = Callable[[str, str], ObjectStore]
MESSAGE_FORBIDS = re.compile(r"[^\w -:`]")  # the model's pattern of a message
INTERNAL_ERROR = "Internal error. Import job failed"


class ImportJobs:
    """The operations on import jobs, and the jobs' work."""

    def __init__(self, state: ServiceState, open_object_store: OpenObjectStore, run: Callable[[Action], None]) -> None:
        self._state = state
        self._open_object_store = open_object_store
        self._run = run  # a job's work: in a pool of threads, or on the spot

    def operations(self) -> dict[str, Operation]:
        """By name of the service model."""
        return {
            "StartDICOMImportJob": self.start_dicom_import_job,
            "GetDICOMImportJob": self.get_dicom_import_job,
            "ListDICOMImportJobs": self.list_dicom_import_jobs,
        }

    def start_dicom_import_job(self, request: Parameters) -> Parameters:
        """StartDICOMImportJob; the same clientToken gives the same job, or a ConflictException for another request."""
        datastore = self._state.datastore(request["datastoreId"])
        if "importConfiguration" in request:
            raise NotEmulated("importConfiguration of StartDICOMImportJob")
        known = datastore.by_client_token.get(request["clientToken"])
        if known is not None and self._state.clock() < known.submitted_at + self._state.settings.client_token_seconds:
            if known.request != request:
                raise ServiceError("ConflictException", "The clientToken was used with other parameters")
            return self._started(known)
        if datastore.status != "ACTIVE":
            raise ServiceError("ValidationException", f"The data store is {datastore.status}, not ACTIVE")
        full = len(datastore.running) >= self._state.settings.maximum_concurrent_jobs
        if full and self._state.settings.when_jobs_exceeded == "refuse":
            raise ServiceError("ServiceQuotaExceededException", "The quota of concurrent import jobs is exceeded")
        job = self._new_job(datastore, request)
        datastore.jobs[job.job_id] = datastore.by_client_token[request["clientToken"]] = job
        self._state.emit(events.job_event(job, self._state.settings))
        if full:
            datastore.waiting.append(job)
        else:
            self._admit(datastore, job)
        return self._started(job)

    def _admit(self, datastore: Datastore, job: Job) -> None:
        datastore.running.add(job.job_id)
        self._state.scheduler.after(self._state.settings.submitted_seconds, lambda: self._begin(datastore, job))

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
            submitted_at=self._state.clock(),
            request=request,
        )

    def _started(self, job: Job) -> Parameters:
        return {
            "datastoreId": job.datastore_id,
            "jobId": job.job_id,
            "jobStatus": job.status,
            "submittedAt": timestamp(job.submitted_at),
        }

    def get_dicom_import_job(self, request: Parameters) -> Parameters:
        """GetDICOMImportJob; outputS3Uri is the job folder."""
        job = self._state.datastore(request["datastoreId"]).jobs.get(request["jobId"])
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
        jobs = reversed(self._state.datastore(request["datastoreId"]).jobs.values())
        wanted = request.get("jobStatus")
        page, next_token = page_of([self._job_summary(job) for job in jobs if wanted in (None, job.status)], request)
        return {"jobSummaries": page, "nextToken": next_token}

    def _job_summary(self, job: Job) -> Parameters:
        return {
            "jobId": job.job_id,
            "jobName": job.job_name,
            "jobStatus": job.status,
            "datastoreId": job.datastore_id,
            "dataAccessRoleArn": job.data_access_role_arn,
            "submittedAt": timestamp(job.submitted_at),
            "endedAt": None if job.ended_at is None else timestamp(job.ended_at),
            "message": job.message,
        }

    def _begin(self, datastore: Datastore, job: Job) -> None:
        with self._state.lock:
            job.status = "IN_PROGRESS"
            self._state.emit(events.job_event(job, self._state.settings))
            begun_at = self._state.clock()
        self._run(lambda: self._work(datastore, job, begun_at))

    def _work(self, datastore: Datastore, job: Job, begun_at: float) -> None:
        """Do the job, then enter its end in the scheduler."""
        manifest, s3 = None, None
        failure: str | None = INTERNAL_ERROR
        try:
            s3 = self._open_object_store(job.data_access_role_arn, job.datastore_arn)
            manifest = self._import(datastore, job, s3, begun_at)
            failure = None
        except JobFailed as error:
            failure = _message(error)
        finally:
            files = manifest["jobSummary"]["numberOfScannedFiles"] if manifest else 0
            rest = max(0.0, begun_at + self._duration_seconds(files) - self._state.clock())
            self._state.scheduler.after(rest, lambda: self._end(datastore, job, s3, manifest, failure))

    def _duration_seconds(self, files: int) -> float:
        """How long a job of that many files is IN_PROGRESS at least."""
        settings = self._state.settings
        return settings.in_progress_seconds + files * settings.in_progress_seconds_per_file

    def _import(self, datastore: Datastore, job: Job, s3: ObjectStore, begun_at: float) -> Parameters:
        """Read, fill image sets, write the ndjson files; return the manifest. Raises JobFailed.

        A job that cannot write its output ends FAILED although its image sets are there: the real service's order
        is not documented, and this one is the harder for a client.
        """
        with self._state.lock:
            settings = self._state.settings
            if settings.fail_next_jobs:
                self._state.settings = settings.changed({"fail_next_jobs": settings.fail_next_jobs - 1})
                raise JobFailed(INTERNAL_ERROR)
        listed = scan(job, s3, settings)
        found = list(read_all(job, s3, listed, settings, self._state.files))
        with self._state.lock:
            now = self._state.clock()
            ends_at = max(now, begun_at + self._duration_seconds(len(listed)))
            done = datastore.image_sets.importing(job.job_id, now, ends_at + settings.search_lag_seconds)
            outcome: Outcome = settle(found, done, settings)
            for image_set in done.touched.values():
                self._state.emit(events.image_set_event(image_set, datastore.datastore_id, datastore.arn))
        write_lines(job, s3, outcome)
        return manifest_of(job, outcome, done, settings)

    def _end(
        self, datastore: Datastore, job: Job, s3: ObjectStore | None, manifest: Parameters | None, failure: str | None
    ) -> None:
        settings = self._state.settings
        if manifest is not None and s3 is not None and not settings.manifest_lag_seconds:
            try:
                write_manifest(job, s3, manifest)
            except JobFailed as error:
                failure = _message(error)
        with self._state.lock:
            job.status, job.message = ("COMPLETED", None) if failure is None else ("FAILED", failure)
            job.ended_at = self._state.clock()
            self._state.emit(events.job_event(job, settings))
            if manifest is not None and s3 is not None and settings.manifest_lag_seconds:
                late = manifest
                self._state.scheduler.after(settings.manifest_lag_seconds, lambda: self._write_late(job, s3, late))
            datastore.running.discard(job.job_id)
            if datastore.waiting and len(datastore.running) < settings.maximum_concurrent_jobs:
                self._admit(datastore, datastore.waiting.pop(0))

    def _write_late(self, job: Job, s3: ObjectStore, manifest: Parameters) -> None:
        try:
            write_manifest(job, s3, manifest)
        except JobFailed as error:
            log.warning("Job %s has ended, but its manifest never appears: %s", job.job_id, error)


def _message(error: JobFailed) -> str:
    return MESSAGE_FORBIDS.sub(" ", str(error))[:2048]
