"""Applying decisions: the one place that changes a batch's state."""

from __future__ import annotations

from collections.abc import Callable

from import_lambda.decisions import (
    Close,
    Decision,
    Finish,
    Follow,
    Intend,
    LeaveFastPath,
    Postpone,
    Reopen,
    Retry,
    Send,
    Split,
    Wait,
)
from import_lambda.errors import MALFORMED_DATA_ERRORS, AwsError, Conflict, Malformed, Missing, Refused, TryLater
from import_lambda.keys import iso, job_name
from import_lambda.ledger import CLOSED, FINAL_STATES, IMPORTING, OVER, SENT, SETTLING, SPLITTING, STARTING, Batch
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.settings import SLOW_RETRY_SECONDS, backoff
from import_lambda.splitting import plan_split


def apply(run: Run, batch: Batch, decision: Decision) -> bool:
    """Carry a decision out, and say whether the next step may follow at once. Nothing else changes a batch's state."""
    match decision:
        case Wait():
            run.needs_another_pass |= decision.soon
        case Postpone():
            postpone(run, batch.batch)
        case Intend():
            batch.bytes = max(batch.bytes, decision.bytes)
            batch.become(STARTING)
            batch.jobs_started, batch.job_id = batch.jobs_started + 1, ""
            batch.job_name = job_name(batch.batch, batch.jobs_started)
            run.save(batch)  # whoever finds the intent looks for the job before starting it again
            run.intended.add(batch.job_name)
        case Follow():
            batch.become(IMPORTING)
            batch.job_id, batch.submitted_at = decision.job.id, iso(decision.job.submitted_at or run.aws.now())
            batch.consecutive_refusals, batch.next_try_at, batch.ended_at = 0, "", ""
            run.save(batch)
            log("INFO", "job started", batch=batch.batch, job=decision.job.id, number=batch.jobs_started)
        case Retry():
            batch.become(CLOSED)
            run.delay(batch, decision.seconds)
            run.save(batch)
            log("INFO", "another job will be started", batch=batch.batch, jobs_started=batch.jobs_started)
        case Split():
            plan_split(batch, decision.keys)
            batch.become(SPLITTING)
            run.save(batch)
            log("WARNING", "batch is split", batch=batch.batch, objects=len(decision.keys))
        case Send() | LeaveFastPath():
            apply_fast(run, batch, decision)
        case Finish():
            batch.become(SETTLING)
            batch.fast_state = batch.fast_state and OVER
            batch.next_try_at = ""
            run.save(batch)
        case Reopen():
            apply_reopen(run, batch, decision)
        case _:
            apply_close(run, batch, decision)
    return isinstance(decision, Intend | Split | Finish)


def apply_fast(run: Run, batch: Batch, decision: Send | LeaveFastPath) -> None:
    """Note where a batch is on the fast path, which is no change of its state: it waits for a job, if one is needed."""
    if isinstance(decision, Send):
        batch.sent_at = batch.sent_at or iso(run.aws.now())
        batch.fast_state, batch.stores_started = SENT, batch.stores_started + 1
    else:
        batch.fast_state = OVER
    run.save(batch)


def apply_reopen(run: Run, batch: Batch, decision: Reopen) -> None:
    """Let a batch begin again; as if it were new if it had been settled."""
    batch.become(CLOSED)
    if decision.is_news:
        batch.consecutive_failures, batch.failing_since, batch.next_try_at = 0, "", ""
        batch.waiting_since = iso(run.aws.now())
        log("WARNING", "a settled batch is open again", batch=batch.batch)
    run.save(batch)


def apply_close(run: Run, batch: Batch, decision: Close) -> None:
    """Let a batch rest; only when that is written may its manifest go."""
    batch.become(decision.state)
    if batch.missing:
        run.delay(batch, SLOW_RETRY_SECONDS)
    run.save(batch)
    run.counts.update(decision.news)
    if batch.missing:
        run.report_error("instances are missing that the receiver counted", batch=batch.batch, missing=batch.missing)
        return
    run.counts["BatchesSettled"] += 1
    log("INFO", "batch settled", batch=batch.batch, imported=batch.imported, quarantined=batch.quarantined)
    run.delete_manifest(batch)


def keep_to_batch(run: Run, batch_id: str, action: Callable[[], None]) -> None:
    """Do something for a batch; whatever is wrong with it stays with it.

    Raises LeaseLost, OutOfTime: somebody else works now, or the time is over.
    """
    try:
        action()
    except (Conflict, TryLater, Missing) as error:  # another run was faster, or AWS is busy
        log("INFO", "will be tried again", batch=batch_id, code=error.code)
        run.needs_another_pass = True
        run.forget(batch_id)
    except Refused as error:
        run.report_error("AWS refused a call", batch=batch_id, code=error.code)
        postpone(run, batch_id)
    except MALFORMED_DATA_ERRORS as error:
        text = str(error) if isinstance(error, Malformed) else type(error).__name__
        run.report_error("a fact cannot be read", batch=batch_id, fact=text)
        postpone(run, batch_id)


def postpone(run: Run, batch_id: str) -> None:
    """After a call that will be refused again: try slowly, and let the other batches go first."""
    run.forget(batch_id)
    try:
        batch = run.recall(batch_id)
        if batch is not None and batch.state not in FINAL_STATES:
            batch.consecutive_refusals += 1
            run.delay(batch, backoff(batch.consecutive_refusals))
            run.save(batch)
    except (AwsError, Malformed) as error:
        log("INFO", "could not be postponed", batch=batch_id, error=type(error).__name__)
        run.forget(batch_id)
