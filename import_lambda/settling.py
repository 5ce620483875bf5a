"""Settling: what an ended job did with each object, and what becomes of it."""

from __future__ import annotations

import json
from contextlib import suppress

from import_lambda.aws import Job, ListedObject
from import_lambda.closing import read_files
from import_lambda.decisions import Decision, Finish, Postpone, Retry, Split, Wait
from import_lambda.errors import MALFORMED_DATA_ERRORS, Conflict, Refused
from import_lambda.keys import JOB_FOLDER, epoch, iso
from import_lambda.ledger import Batch
from import_lambda.quarantine import importable_objects, quarantine_instances
from import_lambda.results import DENIALS, OVER_A_LIMIT, SERVICE_FAULTS, Refusal, Results, contains_any
from import_lambda.run import Run
from import_lambda.settings import MANIFEST_LAG_SECONDS, MAX_FAILURES, SLOW_RETRY_SECONDS, backoff


def watch(run: Run, batch: Batch) -> Decision:
    """Ask for the job, and settle it when it has ended."""
    try:
        job = run.aws.get_job(batch.job_id)
    except Refused as error:
        if error.code != "ResourceNotFoundException":
            raise
        run.report_error("HealthImaging does not know the job", batch=batch.batch, job=batch.job_id)
        job = Job(batch.job_id, batch.job_name, "FAILED", epoch(batch.submitted_at), 0.0, "The job is not known.")
    if job.status not in {"COMPLETED", "FAILED"}:
        return Wait()
    ended = job.ended_at or run.aws.now()
    results = read_job(run, batch, job)
    if results is None and job.status == "COMPLETED":
        return await_manifest(run, batch, ended)
    return settle(run, batch, job._replace(ended_at=ended), results or Results())


def await_manifest(run: Run, batch: Batch, ended: float) -> Decision:
    """Wait for a manifest that comes after the event. If it stays away, that is an error, and the objects stay."""
    if run.aws.now() - ended > MANIFEST_LAG_SECONDS:
        run.report_error("a completed job has no complete manifest", batch=batch.batch, job=batch.job_id)
        return Postpone()
    return Wait(soon=True)


def read_job(run: Run, batch: Batch, job: Job) -> Results | None:
    """Return what an ended job says of each object; None while that is not all there.

    Read from below the prefix that was asked for, whether or not `outputS3Uri` shows the job's own folder.
    """
    listing = run.aws.list_objects(run.settings.results_bucket, batch.output_prefix)
    files = [one.key for one in listing if f"-{job.id}/" in one.key or not JOB_FOLDER.search(one.key)]
    manifest = next((key for key in files if key.endswith("/job-output-manifest.json")), None)
    if manifest is None:
        return None
    results = read_files(run, files)
    try:
        summary = json.loads(run.aws.read(run.settings.results_bucket, manifest))["jobSummary"]
        names = ("numberOfImportedFiles", "numberOfFilesWithCustomerError", "numberOfFilesWithServerError")
        imported, customer_errors, server_errors = (int(summary.get(name) or 0) for name in names)
    except MALFORMED_DATA_ERRORS:
        run.report_error("a job's manifest cannot be read", batch=batch.batch, key=manifest)
        imported = customer_errors = server_errors = 0
    late = len(results.imported) < imported or len(results.refused) < customer_errors + server_errors
    if late and not results.unreadable and run.aws.now() - job.ended_at < MANIFEST_LAG_SECONDS:
        return None
    if late or results.unreadable:
        run.report_error("a job's lists are not complete", batch=batch.batch, job=job.id, lines=results.unreadable)
    return results


def settle(run: Run, batch: Batch, job: Job, results: Results) -> Decision:
    """Delete what was imported, quarantine what was refused, and decide about the rest."""
    objects = importable_objects(run, batch)
    # What was stored after the job began is not what the job has read: it stays, for another one.
    begun = job.submitted_at or epoch(batch.submitted_at)
    open_cases = [listed for listed in objects if listed.modified <= begun]
    imported = [listed for listed in open_cases if listed.key in results.imported]
    refused, unresolved = [], []
    for listed in open_cases:
        refusal = results.refused.get(listed.key)
        if listed.key in results.imported:
            continue
        if refusal and not contains_any(refusal.kind, DENIALS + SERVICE_FAULTS):
            refused.append((listed, refusal))
        else:
            silence = Refusal(f"Job{job.status}", job.message or "The job does not name it.")
            unresolved.append((listed, refusal or silence))
    if results.imported or refused:
        note_work(run, int(job.ended_at))
    quarantine_instances(run, batch, refused, job.id)
    run.delete(imported)
    if batch.jobs_started == 1 and batch.last_stored_at and results.imported and not batch.ended_at:
        run.seconds_to_image_set.append(max(0.0, job.ended_at - epoch(batch.last_stored_at)))
    batch.ended_at, batch.message = iso(job.ended_at), job.message
    return handle_unresolved(run, batch, job, unresolved) if unresolved else Finish()


def handle_unresolved(run: Run, batch: Batch, job: Job, unresolved: list[tuple[ListedObject, Refusal]]) -> Decision:
    """Decide what becomes of the objects that a job has neither imported nor refused.

    They are halved or quarantined only if HealthImaging has done other work since they began to fail: while it does
    none, the fault is not theirs. One halving needs no such proof, since the halves may give it.
    """
    batch.consecutive_failures += 1
    batch.failing_since = batch.failing_since or iso(job.submitted_at)
    reason = job.message if job.status == "FAILED" else " ".join({refusal.kind for _, refusal in unresolved})
    if contains_any(reason, DENIALS):
        run.report_error("the import role or its key is refused", batch=batch.batch, job=job.id)
        return Retry(SLOW_RETRY_SECONDS)
    worked_at = (run.aws.get_item("LEASE", "WORKED") or {}).get("worked_at", 0)
    is_proven, is_enough = worked_at >= int(epoch(batch.failing_since)), batch.consecutive_failures >= MAX_FAILURES
    is_ripe = OVER_A_LIMIT.search(job.message) or (is_proven if batch.parent else is_enough)
    if job.status == "FAILED" and len(unresolved) > 1 and is_ripe:
        return Split(tuple(listed.key for listed, _ in unresolved))
    if is_enough and is_proven:
        quarantine_instances(run, batch, unresolved, job.id)
        return Finish()
    if is_enough:
        run.report_error("HealthImaging finishes no job", batch=batch.batch, job=job.id)
    return Retry(backoff(batch.consecutive_failures))


def note_work(run: Run, ended: int) -> None:
    """Note when HealthImaging last imported or refused an object: before the objects go, so no crash forgets it."""
    item = {"pk": "LEASE", "sk": "WORKED", "worked_at": ended}
    with suppress(Conflict):  # it has worked later than that
        run.aws.put_item(item, "worked_at", "<", ended)
