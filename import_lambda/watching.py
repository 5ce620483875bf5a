"""Watching a job until it has ended and its results are all there."""

from __future__ import annotations

import json
from typing import NamedTuple

from import_lambda.aws import Job
from import_lambda.counting import read_files
from import_lambda.decisions import Decision, Postpone, Wait
from import_lambda.errors import MALFORMED_DATA_ERRORS, Refused
from import_lambda.keys import JOB_FOLDER, epoch
from import_lambda.ledger import Batch
from import_lambda.results import Results
from import_lambda.run import Run
from import_lambda.settings import MANIFEST_LAG_SECONDS, UNKNOWN_JOB_SECONDS, UNKNOWN_STATUS_SECONDS
from import_lambda.settling import settle

RUNNING = frozenset({"SUBMITTED", "IN_PROGRESS"})
ENDED = frozenset({"COMPLETED", "FAILED"})


class JobResults(NamedTuple):
    """What an ended job says of each object, and whether that is all that it has to say."""

    results: Results
    is_complete: bool


def watch(run: Run, batch: Batch) -> Decision:
    """Ask for the job, and settle it when it has ended."""
    try:
        job = run.aws.get_job(batch.job_id)
    except Refused as error:
        if error.code != "ResourceNotFoundException":
            raise
        return lose_job(run, batch)
    age = run.aws.now() - (job.submitted_at or epoch(batch.submitted_at))
    if job.status in RUNNING or (job.status not in ENDED and not job.ended_at and age < UNKNOWN_STATUS_SECONDS):
        return Wait()
    job = job._replace(ended_at=job.ended_at or run.aws.now())
    if job.status not in ENDED:
        run.report_error("a job has a status that is not documented", batch=batch.batch, job=job.id)
    told = read_job(run, batch, job)
    if told is None and job.status == "COMPLETED":
        return await_manifest(run, batch, job)
    results, is_complete = told or JobResults(Results(), job.status == "FAILED")
    return settle(run, batch, job, results, is_complete and job.status in ENDED)


def lose_job(run: Run, batch: Batch) -> Decision:
    """Decide about a job that HealthImaging does not know: just after its start that passes, later it is done again."""
    if run.aws.now() - epoch(batch.submitted_at) < UNKNOWN_JOB_SECONDS:
        return Wait(soon=True)
    run.report_error("HealthImaging does not know the job", batch=batch.batch, job=batch.job_id)
    job = Job(batch.job_id, batch.job_name, "UNKNOWN", epoch(batch.submitted_at), run.aws.now())
    return settle(run, batch, job, Results(), False)


def await_manifest(run: Run, batch: Batch, job: Job) -> Decision:
    """Wait for a manifest that comes after the event. If it stays away, that is an error, and the objects stay."""
    if run.aws.now() - job.ended_at > MANIFEST_LAG_SECONDS:
        run.report_error("a completed job has no complete manifest", batch=batch.batch, job=batch.job_id)
        return Postpone()
    return Wait(soon=True)


def read_job(run: Run, batch: Batch, job: Job) -> JobResults | None:
    """Return what an ended job says of each object; None while that is not all there.

    Read from below the prefix that was asked for, whether or not `outputS3Uri` shows the job's own folder.
    """
    listing = run.aws.list_objects(run.settings.results_bucket, batch.output_prefix)
    files = [one.key for one in listing if f"-{job.id}/" in one.key or not JOB_FOLDER.search(one.key)]
    manifest = next((key for key in files if key.endswith("/job-output-manifest.json")), None)
    if manifest is None:
        return None
    results = read_files(run, files, batch.prefix)
    imported, refused = read_numbers(run, batch, manifest)
    is_late = len(results.imported) + len(results.incomplete) < imported or len(results.refused) < refused
    if is_late and not results.unreadable and run.aws.now() - job.ended_at < MANIFEST_LAG_SECONDS:
        return None
    if is_late or results.unreadable:
        run.report_error("a job's lists are not complete", batch=batch.batch, job=job.id, lines=results.unreadable)
    return JobResults(results, not (is_late or results.unreadable))


def read_numbers(run: Run, batch: Batch, manifest: str) -> tuple[int, int]:
    """Return how many objects a job says that it has imported and refused; 0 for what it does not say."""
    try:
        summary = json.loads(run.aws.read(run.settings.results_bucket, manifest))["jobSummary"]
        names = ("numberOfImportedFiles", "numberOfFilesWithCustomerError", "numberOfFilesWithServerError")
        imported, customer_errors, server_errors = (int(summary.get(name) or 0) for name in names)
    except MALFORMED_DATA_ERRORS:
        run.report_error("a job's manifest cannot be read", batch=batch.batch)
        return 0, 0
    return imported, customer_errors + server_errors
