"""Starting import jobs: the intent first, then the call, then what came of it."""

from __future__ import annotations

from import_lambda.aws import Job, ListedObject
from import_lambda.counting import count_batch
from import_lambda.decisions import Case, Decision, Delay, Finish, Follow, Gather, Intend, Quarantine, Split, Wait
from import_lambda.errors import Refused, TryLater
from import_lambda.keys import JOB_FOLDER
from import_lambda.ledger import SENT, Batch
from import_lambda.metrics import log
from import_lambda.quarantine import importable_objects
from import_lambda.run import Run
from import_lambda.settings import (
    MAX_FAILED_START_CALLS,
    MAX_FOLDERS_PER_JOB,
    MAX_START_CALLS,
    MAX_START_FAILURES,
    PENDING_PER_SLICE,
    SLICE_SECONDS,
    Settings,
)

QUOTA_USED_UP = "ServiceQuotaExceededException"
THROTTLED_CODES = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"})


def prepare(run: Run, batch: Batch) -> Decision:
    """Decide what a closed batch needs: a job, to be split, or nothing any more."""
    if batch.fast_state == SENT:
        return Wait(soon=True)
    if batch.elsewhere:
        return Gather()
    decision = decide_without_job(run, batch)
    if not isinstance(decision, list):
        return decision
    wait_for_a_start(run)
    run.listings[batch.batch] = decision
    return Intend(sum(listed.bytes for listed in decision), max(listed.modified for listed in decision))


def launch(run: Run, batch: Batch) -> Decision:
    """Start the job that was intended, or find the one that an earlier run has started."""
    objects = run.intended.pop(batch.job_name, None)
    if objects is None:
        job = find_job(run, batch)
        if job is not None:
            return Follow(job)
        wait_for_a_start(run)
        decision = decide_without_job(run, batch)
        if not isinstance(decision, list):
            return decision
        objects = decision
    count_batch(run, batch, objects)
    return start_job(run, batch)


def decide_without_job(run: Run, batch: Batch) -> Decision | list[ListedObject]:
    """Return what a batch needs before a job or instead of it; if that is nothing, the objects of the job."""
    objects = importable_objects(run, batch)
    if objects is None:
        return Wait(soon=True)
    limit = run.settings.max_bytes_per_job
    reason = f"The object is larger than the {limit} bytes that an import job takes."
    large = [Case(listed, "TooLarge", reason) for listed in objects if listed.bytes > limit]
    if large:
        return Quarantine(tuple(large[:PENDING_PER_SLICE]))
    if not objects:
        return Finish()
    if len(objects) > 1 and is_over_a_limit(run.settings, objects):
        return Split(tuple(listed.key for listed in objects))
    return objects


def is_over_a_limit(settings: Settings, objects: list[ListedObject]) -> bool:
    """Say whether objects are more than one job takes: files, bytes, folders."""
    series = {listed.key.rpartition("/")[0] for listed in objects}
    folders = len(series) + len({name.rpartition("/")[0] for name in series})
    return (
        len(objects) > settings.max_files_per_job
        or sum(listed.bytes for listed in objects) > settings.max_bytes_per_job
        or folders > MAX_FOLDERS_PER_JOB
    )


def wait_for_a_start(run: Run) -> None:
    """Keep to the quota of starts a second."""
    seconds = run.next_start - run.aws.now()
    if seconds > 0:
        run.wait(seconds)
    run.next_start = run.aws.now() + 1 / run.settings.job_starts_per_second


def start_job(run: Run, batch: Batch) -> Decision:
    """Call StartDICOMImportJob. While it is throttled, wait longer and longer; all else stays with the batch.

    Several batches in a row that cannot be started are no batch's fault: then this pass asks no more.
    """
    source = f"s3://{run.settings.landing_bucket}/{batch.prefix}"
    target = f"s3://{run.settings.results_bucket}/{batch.output_prefix}"
    for calls in range(MAX_START_CALLS):
        begun = run.aws.now()
        try:
            job = run.aws.start_job(batch.job_name, source, target)
        except TryLater as error:
            log("INFO", "HealthImaging starts no job now", batch=batch.batch, code=error.code)
            if error.code == QUOTA_USED_UP:
                run.stop_starting = True  # a job that ends is a wake-up, and so is the minute
                return Wait(soon=True)
            most = MAX_START_CALLS if error.code in THROTTLED_CODES else MAX_FAILED_START_CALLS
            if calls + 1 >= most or run.aws.now() - begun > SLICE_SECONDS:
                break
            run.pause(2.0**calls / run.settings.job_starts_per_second)
            run.lease.keep()
        except Refused as error:
            # The role or the data store, rather than the batch: the others would be refused as well.
            run.stop_starting |= error.code != "ValidationException"
            raise
        else:
            run.start_failures = 0
            return Follow(job)
    run.start_failures += 1
    run.stop_starting |= run.start_failures >= MAX_START_FAILURES
    return Delay()


def find_job(run: Run, batch: Batch) -> Job | None:
    """Return a job that was started although its id was not noted; how long a clientToken holds is not documented.

    An ended job has its folder in the results bucket; the others are few enough to be listed.
    """
    outputs = run.aws.list_objects(run.settings.results_bucket, batch.output_prefix)
    for job_id in sorted({match[1] for listed in outputs if (match := JOB_FOLDER.search(listed.key))}):
        return run.aws.get_job(job_id)
    for status in ("SUBMITTED", "IN_PROGRESS"):
        for job in run.aws.list_jobs(status):
            if job.name == batch.job_name:
                return job
    return None
