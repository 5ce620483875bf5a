"""The reconciler: passes over all batches, one step each, and no batch in another's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from import_lambda.applying import apply, clear_pending
from import_lambda.aws import Aws
from import_lambda.closing import close_batch, look_for_missing, reopen
from import_lambda.commitments import answer_commitments
from import_lambda.containing import keep_to_batch
from import_lambda.cursor import Cursor
from import_lambda.decisions import Decision
from import_lambda.discovery import discover
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
from import_lambda.queueing import StartQueue, order_of_steps
from import_lambda.registering import register
from import_lambda.retries import count_open
from import_lambda.run import Run
from import_lambda.settings import METRICS_SECONDS, SLICE_SECONDS, Settings
from import_lambda.splitting import split
from import_lambda.starting import launch, prepare
from import_lambda.watching import watch

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
Values = Mapping[str, float | list[float]]


def work(run: Run, emit: Callable[[Values], None] | None) -> None:
    """Make passes until nothing is left to do; `emit` is given the metrics once a minute.

    Raises LeaseLost, OutOfTime: somebody else works now, or the time is over.
    """
    idle = 0
    while True:
        before, run.needs_another_pass, run.stop_starting, run.start_failures = run.saves, False, False, 0
        make_pass(run, emit)
        answer_commitments(run)
        run.open_counts = count_open(run)
        idle = 0 if run.saves > before else idle + 1
        if run.needs_another_pass and idle < 4:
            run.pause(2.0**idle)
        elif run.lease.release():
            return
        else:
            run.lease.wake_up_pending, idle = False, 0


def make_pass(run: Run, emit: Callable[[Values], None] | None) -> None:
    """Take one step of every batch and start jobs, both in a fair order; settle while the quota makes starts wait."""
    cursor = Cursor(run)
    steps = order_of_steps(run, discover(run, cursor))
    for batch_id in sorted(name for name in run.manifests if name not in run.known):
        run_step(run, batch_id, starts=False)
    for batch_id in store_small_batches(run):
        run_step(run, batch_id, starts=False)
    queue = StartQueue(run)
    while True:
        waiting = queue.next(bool(steps)) if not steps or run.aws.now() >= run.next_start else None
        if waiting is not None:
            run_step(run, waiting, starts=True)
        elif steps:
            batch_id = steps.popleft()
            run_step(run, batch_id, starts=False)
            queue.add(batch_id)
        else:
            break
        if emit is not None and run.aws.now() - run.emitted_at >= METRICS_SECONDS:
            emit(run_metrics(run))
            run.counts.clear()
            run.seconds_to_image_set.clear()
            run.emitted_at = run.aws.now()
    cursor.finish(run)


def run_step(run: Run, batch_id: str, starts: bool) -> None:
    """Take the next steps of a batch; whatever goes wrong with it stays with it."""
    run.check()
    keep_to_batch(run, batch_id, lambda: advance(run, batch_id, starts))


def advance(run: Run, batch_id: str, starts: bool) -> None:
    """Take steps until one has to wait. Steps that start jobs are taken only if it is this batch's turn (`starts`)."""
    batch = run.recall(batch_id)
    if batch is None:
        return register(run, batch_id)
    if batch.state not in FINAL_STATES and not run.is_due(batch):
        return None
    if starts != (batch.state in {CLOSED, STARTING}):
        return None
    begun = run.aws.now()
    while True:
        if batch.pending:
            clear_pending(run, batch)
        elif not apply(run, batch, STEPS[batch.state](run, batch)):
            return None
        if run.aws.now() - begun > SLICE_SECONDS:  # the others have their turn
            run.needs_another_pass = True
            return None
        run.check()


def reconcile(
    aws: Aws, settings: Settings, deadline: float, emit: Callable[[Values], None] | None = None
) -> dict[str, float | list[float]] | None:
    """Move everything on as far as the facts and the time until `deadline` (epoch seconds) allow.

    Returns the metrics of this run since the last ones that `emit` was given; None if another run is at work: then that
    one has been told to look again.
    """
    lease = Lease(aws)
    run = Run(aws, settings, lease, deadline)
    try:
        if not lease.take():
            return None
        work(run, emit)
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
