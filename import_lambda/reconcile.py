"""The reconciler: passes over all batches, one step each, and no batch in another's way."""

from __future__ import annotations

from collections.abc import Callable

from import_lambda.applying import apply, keep_to_batch
from import_lambda.aws import Aws
from import_lambda.closing import close_batch, look_for_missing, reopen
from import_lambda.decisions import Decision
from import_lambda.discovery import discover, register
from import_lambda.errors import (
    AwsError,
    Conflict,
    LeaseLost,
    OutOfTime,
    TryLater,
)
from import_lambda.fast_path import store_small_batches
from import_lambda.gauges import run_metrics
from import_lambda.lease import Lease
from import_lambda.ledger import (
    CLOSED,
    FINAL_STATES,
    IMPORTING,
    INCOMPLETE,
    SETTLED,
    SETTLING,
    SPLIT,
    SPLITTING,
    STARTING,
    Batch,
)
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.settings import MAX_STARTS_PER_PASS, Settings
from import_lambda.settling import watch
from import_lambda.splitting import split
from import_lambda.starting import launch, prepare

STEPS: dict[str, Callable[[Run, Batch], Decision]] = {
    CLOSED: prepare,
    STARTING: launch,
    IMPORTING: watch,
    SPLITTING: split,
    SETTLING: close_batch,
    INCOMPLETE: look_for_missing,
    SPLIT: reopen,
    SETTLED: reopen,
}
STARTED_LATER = frozenset({CLOSED, STARTING})  # their steps start jobs: by quota, oldest first


def work(run: Run) -> None:
    """Make passes until nothing is left to do.

    Raises LeaseLost, OutOfTime: somebody else works now, or the time is over.
    """
    idle = 0
    while True:
        before, run.needs_another_pass, run.stop_starting = run.saves, False, False
        make_pass(run)
        idle = 0 if run.saves > before else idle + 1
        if run.needs_another_pass and idle < 4:
            run.pause(2.0**idle)
        elif run.lease.release():
            return
        else:
            run.lease.wake_up_pending, idle = False, 0


def make_pass(run: Run) -> None:
    """Take one step of every batch and start jobs, both oldest first; settle while the quota makes starts wait."""
    steps, tried = discover(run), set[str]()
    for batch_id in sorted(name for name in run.manifests if name not in run.known):
        run_step(run, batch_id, starts=False)
    for batch_id in store_small_batches(run):
        run_step(run, batch_id, starts=False)
    while True:
        waiting = None if run.stop_starting else oldest_waiting(run, tried)
        if waiting and (not steps or run.aws.now() >= run.next_start):
            if len(tried) == MAX_STARTS_PER_PASS:
                run.needs_another_pass = run.stop_starting = True
                continue
            tried.add(waiting)
            run_step(run, waiting, starts=True)
        elif steps:
            run_step(run, steps.pop(0), starts=False)
        else:
            return


def oldest_waiting(run: Run, tried: set[str]) -> str | None:
    """Return the batch whose job is to be started next; None if there is none, or if enough jobs are running."""
    batches = [one for one in run.known.values() if one.batch not in tried and run.is_due(one)]
    waiting = [one.batch for one in batches if one.state in STARTED_LATER]
    busy = sum(1 for one in run.known.values() if one.state == IMPORTING)
    return min(waiting) if waiting and busy < run.settings.max_concurrent_jobs else None


def run_step(run: Run, batch_id: str, starts: bool) -> None:
    """Take the next steps of a batch; whatever is wrong with it stays with it."""
    run.check()
    keep_to_batch(run, batch_id, lambda: advance(run, batch_id, starts))


def advance(run: Run, batch_id: str, starts: bool) -> None:
    """Take steps until one has to wait. Steps that start jobs are taken only if it is this batch's turn (`starts`)."""
    batch = run.recall(batch_id)
    if batch is None:
        return register(run, batch_id)
    if batch.state not in FINAL_STATES and not run.is_due(batch):
        return None
    if starts != (batch.state in STARTED_LATER):
        return None
    while apply(run, batch, STEPS[batch.state](run, batch)):
        pass
    return None


def reconcile(aws: Aws, settings: Settings, deadline: float) -> dict[str, float | list[float]] | None:
    """Move everything on as far as the facts and the time until `deadline` (epoch seconds) allow.

    Returns the metrics of this run, None if another run is at work: then that one has been told to look again.
    """
    lease = Lease(aws)
    run = Run(aws, settings, lease, deadline)
    try:
        if not lease.take():
            return None
        work(run)
    except OutOfTime:
        log("INFO", "time is over; the next wake-up goes on")
        lease.drop()
    except LeaseLost:
        log("INFO", "another run has taken over")
    except AwsError as error:
        level = "INFO" if isinstance(error, TryLater | Conflict) else "ERROR"
        log(level, "a call failed; the next wake-up goes on", code=error.code)
        run.counts["ImportErrors"] += level == "ERROR"
        lease.drop()
    return run_metrics(run)
