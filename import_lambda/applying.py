"""Applying decisions: the one place that changes a batch's state."""

from __future__ import annotations

from import_lambda.decisions import Close, Decision, Finish, Follow, Intend, Postpone, Reopen, Retry, Split, Wait
from import_lambda.errors import AwsError, Malformed
from import_lambda.keys import iso, job_name
from import_lambda.ledger import CLOSED, FINAL_STATES, IMPORTING, SETTLING, SPLITTING, STARTING, Batch
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
        case Finish():
            batch.become(SETTLING)
            batch.next_try_at = ""
            run.save(batch)
        case Reopen():
            apply_reopen(run, batch, decision)
        case Close():
            apply_close(run, batch, decision)
    return isinstance(decision, Intend | Split | Finish)


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
