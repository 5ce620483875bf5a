"""Applying decisions: the one place that changes a batch's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from import_lambda.closing import delete_manifest
from import_lambda.containing import delay, postpone
from import_lambda.decisions import (
    Close,
    Decision,
    Delay,
    Finish,
    Follow,
    Gather,
    Gathered,
    Intend,
    LeaveFastPath,
    Postpone,
    Quarantine,
    Reopen,
    Retry,
    Send,
    Split,
    Wait,
)
from import_lambda.keys import iso, job_name
from import_lambda.ledger import CLOSED, IMPORTING, OVER, SENT, SETTLING, SPLITTING, STARTING, Batch
from import_lambda.metrics import log
from import_lambda.quarantine import carry_out_pending, pending_entry
from import_lambda.run import Run
from import_lambda.settings import SLOW_RETRY_SECONDS
from import_lambda.splitting import plan_gathering, plan_split


def apply(run: Run, batch: Batch, decision: Decision) -> bool:
    """Carry a decision out, and say whether the next step may follow at once. Nothing else changes a batch's state."""
    APPLICATIONS[type(decision)](run, batch, decision)
    return isinstance(decision, Quarantine | Intend | Split | Gather | Finish)


def apply_wait(run: Run, batch: Batch, decision: Wait) -> None:
    """Leave the batch as it is."""
    run.needs_another_pass |= decision.soon


def apply_quarantine(run: Run, batch: Batch, decision: Quarantine) -> None:
    """Write down what goes to quarantine/, at the batch's revision: from here on every run does so."""
    batch.pending = [pending_entry(case) for case in decision.cases]
    run.save(batch)


def clear_pending(run: Run, batch: Batch) -> None:
    """Carry out what is pending, and write that it has been."""
    carry_out_pending(run, batch)
    batch.pending = []
    run.save(batch)


def apply_intend(run: Run, batch: Batch, decision: Intend) -> None:
    """Write down that a job is to be started: whoever finds the intent looks for the job before starting it again."""
    batch.become(STARTING)
    batch.bytes = max(batch.bytes, decision.bytes)
    batch.listed_until = iso(decision.listed_until)
    batch.jobs_started, batch.job_id = batch.jobs_started + 1, ""
    batch.job_name = job_name(batch.batch, batch.jobs_started)
    run.save(batch)
    run.intended[batch.job_name] = run.listings.pop(batch.batch, [])


def apply_follow(run: Run, batch: Batch, decision: Follow) -> None:
    """Note the job that runs."""
    batch.become(IMPORTING)
    batch.job_id, batch.submitted_at = decision.job.id, iso(decision.job.submitted_at or run.aws.now())
    batch.consecutive_refusals, batch.next_try_at, batch.ended_at = 0, "", ""
    run.save(batch)
    log("INFO", "job started", batch=batch.batch, job=decision.job.id, number=batch.jobs_started)


def apply_retry(run: Run, batch: Batch, decision: Retry) -> None:
    """Let the batch have another job, later."""
    batch.become(CLOSED)
    batch.consecutive_failures += 1
    run.delay(batch, decision.seconds)
    run.save(batch)
    log("INFO", "another job will be started", batch=batch.batch, jobs_started=batch.jobs_started)


def apply_split(run: Run, batch: Batch, decision: Split) -> None:
    """Write down where the border is, before the first object moves."""
    plan_split(batch, decision.keys)
    batch.become(SPLITTING)
    run.save(batch)
    log("WARNING", "batch is split", batch=batch.batch, objects=len(decision.keys))


def apply_gather(run: Run, batch: Batch, decision: Gather) -> None:
    """Write down where the objects go that are elsewhere, before the first of them moves."""
    plan_gathering(batch)
    batch.become(SPLITTING)
    run.save(batch)


def apply_gathered(run: Run, batch: Batch, decision: Gathered) -> None:
    """Go on with the batch's own objects."""
    batch.become(CLOSED)
    batch.elsewhere = 0
    run.save(batch)


def apply_finish(run: Run, batch: Batch, decision: Finish) -> None:
    """Count from here on."""
    batch.become(SETTLING)
    batch.fast_state = batch.fast_state and OVER
    batch.next_try_at = ""
    run.save(batch)


def apply_reopen(run: Run, batch: Batch, decision: Reopen) -> None:
    """Let a batch begin again; as if it were new if it had been settled."""
    batch.become(CLOSED)
    if decision.is_news:
        batch.consecutive_failures, batch.next_try_at = 0, ""
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
    delete_manifest(run, batch)


def apply_send(run: Run, batch: Batch, decision: Send) -> None:
    """Note that the batch goes out by StoreDICOM, which is no change of its state: it waits for a job, if needed."""
    batch.sent_at = batch.sent_at or iso(run.aws.now())
    batch.fast_state, batch.stores_started = SENT, batch.stores_started + 1
    run.save(batch)


def apply_leave_fast_path(run: Run, batch: Batch, decision: LeaveFastPath) -> None:
    """Leave what StoreDICOM has not clearly stored to a job."""
    batch.fast_state = OVER
    run.save(batch)


def apply_postpone(run: Run, batch: Batch, decision: Postpone) -> None:
    """Try slowly."""
    postpone(run, batch.batch)


APPLICATIONS: dict[type, Callable[[Run, Batch, Any], None]] = {
    Wait: apply_wait,
    Postpone: apply_postpone,
    Delay: delay,
    Quarantine: apply_quarantine,
    Intend: apply_intend,
    Follow: apply_follow,
    Retry: apply_retry,
    Split: apply_split,
    Gather: apply_gather,
    Gathered: apply_gathered,
    Send: apply_send,
    LeaveFastPath: apply_leave_fast_path,
    Finish: apply_finish,
    Reopen: apply_reopen,
    Close: apply_close,
}
