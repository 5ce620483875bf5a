"""Containing trouble: whatever goes wrong with a batch postpones that batch, and no other."""

from __future__ import annotations

from collections.abc import Callable

from import_lambda.decisions import Delay
from import_lambda.errors import MALFORMED_DATA_ERRORS, AwsError, Conflict, Malformed, Missing, Refused, TryLater
from import_lambda.ledger import FINAL_STATES, Batch
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.settings import SLICE_SECONDS, backoff


def keep_to_batch(run: Run, batch_id: str, action: Callable[[], None]) -> None:
    """Do something for a batch; whatever goes wrong stays with it.

    Raises LeaseLost, OutOfTime: somebody else works now, or the time is over.
    """
    begun = run.aws.now()
    try:
        action()
    except Conflict as error:  # another run was faster
        log("INFO", "will be tried again", batch=batch_id, code=error.code)
        run.needs_another_pass = True
        run.forget(batch_id)
    except (TryLater, Missing) as error:
        log("INFO", "will be tried again", batch=batch_id, code=error.code)
        run.needs_another_pass = True
        run.forget(batch_id)
        run.troubles[batch_id] += 1
        if run.troubles[batch_id] > 1 or run.aws.now() - begun > SLICE_SECONDS:
            put_off(run, batch_id)
    except Refused as error:
        run.report_error("AWS refused a call", batch=batch_id, code=error.code)
        postpone(run, batch_id)
    except MALFORMED_DATA_ERRORS as error:
        text = str(error) if isinstance(error, Malformed) else type(error).__name__
        run.report_error("a fact cannot be read", batch=batch_id, fact=text)
        postpone(run, batch_id)


def put_off(run: Run, batch_id: str) -> None:
    """After calls that failed again, or took too long to fail: let the batch wait, if its item can be written."""
    try:
        batch = run.recall(batch_id)
        if batch is not None and batch.state not in FINAL_STATES:
            delay(run, batch)
    except (AwsError, *MALFORMED_DATA_ERRORS) as error:
        log("INFO", "could not be put off", batch=batch_id, error=type(error).__name__)
        run.forget(batch_id)


def delay(run: Run, batch: Batch, decision: Delay | None = None) -> None:
    """After calls that fail for this batch while others work: look at it later, without an alarm."""
    batch.consecutive_refusals += 1
    run.delay(batch, backoff(batch.consecutive_refusals - 1))
    run.save(batch)


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
