"""Starting import jobs: the intent first, then the call, then what came of it."""

from __future__ import annotations

from import_lambda.aws import Job, ListedObject
from import_lambda.closing import count_batch
from import_lambda.decisions import Decision, Finish, Follow, Intend, Split, Wait
from import_lambda.errors import Refused, TryLater
from import_lambda.keys import JOB_FOLDER
from import_lambda.ledger import SENT, Batch
from import_lambda.metrics import log
from import_lambda.quarantine import importable_objects
from import_lambda.run import Run
from import_lambda.settings import MAX_FOLDERS_PER_JOB, MAX_START_CALLS, Settings


def prepare(run: Run, batch: Batch) -> Decision:
    """Decide what a closed batch needs: a job, to be split, or nothing any more."""
    if batch.fast_state == SENT:
        return Wait(soon=True)
    objects = importable_objects(run, batch)
    if not objects:
        return Finish()
    if len(objects) > 1 and is_over_a_limit(run.settings, objects):
        return Split(tuple(listed.key for listed in objects))
    wait_for_a_start(run)
    return Intend(sum(listed.bytes for listed in objects))


def launch(run: Run, batch: Batch) -> Decision:
    """Start the job that was intended, or find the one that an earlier run has started."""
    if batch.job_name in run.intended:
        run.intended.remove(batch.job_name)
    else:
        job = find_job(run, batch)
        if job is not None:
            return Follow(job)
        wait_for_a_start(run)
    objects = importable_objects(run, batch)
    if not objects:
        return Finish()
    if len(objects) > 1 and is_over_a_limit(run.settings, objects):
        return Split(tuple(listed.key for listed in objects))
    count_batch(run, batch, objects)
    return Follow(start_job(run, batch))


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


def start_job(run: Run, batch: Batch) -> Job:
    """Call StartDICOMImportJob; while it is throttled, wait longer and longer."""
    source = f"s3://{run.settings.landing_bucket}/{batch.prefix}"
    target = f"s3://{run.settings.results_bucket}/{batch.output_prefix}"
    for calls in range(MAX_START_CALLS):
        try:
            return run.aws.start_job(batch.job_name, source, target)
        except TryLater as error:
            log("INFO", "HealthImaging starts no job now", batch=batch.batch, code=error.code)
            if error.code == "ServiceQuotaExceededException" or calls == MAX_START_CALLS - 1:
                run.stop_starting = True  # a job that ends is a wake-up, and so is the minute
                raise
            run.pause(2.0**calls / run.settings.job_starts_per_second)
            run.lease.keep()
        except Refused as error:
            # The role or the data store, rather than the batch: the others would be refused as well.
            run.stop_starting = error.code != "ValidationException"
            raise
    raise AssertionError("unreachable")


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
