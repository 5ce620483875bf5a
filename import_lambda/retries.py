"""Retries: a quarantined instance that an operator wants imported once more, and what has become of it.

The operator's command writes `retry_requested_at` into the instance's item. Its object is copied, so that the evidence
stays, into a batch of its own; how that ended is noted on the item, and on the operator's action (docs/adr/0001).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from import_lambda.aws import Item
from import_lambda.counting import BY_RETRY, OUTCOME, recount_studies
from import_lambda.entries import STATE_IMPORTED, STATE_QUARANTINED
from import_lambda.errors import MALFORMED_DATA_ERRORS, AwsError, Conflict, Missing, TryLater
from import_lambda.keys import epoch, is_batch_id, iso
from import_lambda.ledger import FINAL_STATES, Batch
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.splitting import child_key, child_prefix

OPEN_QUARANTINED = "QUARANTINED"
OPEN_GAUGES = {  # `open`: the gauge's metric
    "NON_PRIMARY": "NonPrimaryOpen",
    "WARNED": "WarnedOpen",
    "UNRECOGNIZED": "UnrecognizedOpen",
    "UNDELIVERED": "CommitmentResultsOverdue",
}
REQUESTED, RETRIED_IN = "retry_requested_at", "retry_batch"


def take_up_retries(run: Run, open_items: list[Item]) -> None:
    """Start the retries that were asked for, and note those that have ended; what is wrong with one stays with it."""
    mended: dict[str, list[Item]] = {}
    for item in open_items:
        if item.get(REQUESTED):
            action = (
                partial(note_outcome, run, item, mended) if item.get(RETRIED_IN) else partial(start_retry, run, item)
            )
            keep_to_retry(run, action)
    for batch_id, items in mended.items():
        keep_to_retry(run, partial(end_mended, run, batch_id, items))


def keep_to_retry(run: Run, action: Callable[[], None]) -> None:
    """Do something for a retry; what goes wrong stays with it."""
    run.check()
    try:
        action()
    except (Conflict, Missing, TryLater) as error:
        log("INFO", "a retry will be tried again", code=error.code)
    except AwsError as error:
        run.report_error("AWS refused a call for a retry", code=error.code)
    except MALFORMED_DATA_ERRORS as error:
        run.report_error("a retry cannot be read", fact=type(error).__name__)


def start_retry(run: Run, item: Item) -> None:
    """Copy the object into a batch of its own. The batch's name is written down first, so that there is only one."""
    batch_id = str(item["batch"])
    if not is_batch_id(batch_id):
        return end_retry(run, item, STATE_QUARANTINED)  # no receiver wrote it: it is not for HealthImaging
    name = retry_batch(batch_id, str(item["object_key"]), str(item[REQUESTED]))
    run.aws.put_item({**item, RETRIED_IN: name}, REQUESTED, "=", item[REQUESTED])
    create_retry(run, {**item, RETRIED_IN: name}, name)
    log("INFO", "a quarantined instance is tried again", batch=name)
    run.needs_another_pass = True
    return None


def retry_batch(batch_id: str, object_key: str, requested_at: str) -> str:
    """Return the id of the batch of a retry: one for each instance and request."""
    digits = int(hashlib.sha256(object_key.encode()).hexdigest()[:7], 16)
    return f"{batch_id.partition('.')[0]}.{int(epoch(requested_at))}.{digits}"


def create_retry(run: Run, item: Item, name: str) -> None:
    """Copy the object, then enter the batch; both may have been done before."""
    landing, source = run.settings.landing_bucket, str(item["quarantine_key"])
    target = child_key(name, str(item["object_key"]))
    listed = [one for one in run.aws.list_objects(landing, source) if one.key == source]
    if not listed or not run.aws.copy(landing, [(listed[0], target)]):
        return end_retry(run, item, STATE_QUARANTINED)  # the evidence is gone: nothing can be imported
    child = Batch(name, prefix=child_prefix(name), closed_by=BY_RETRY, parent=str(item["batch"]), expected=1)
    child.closed_at = child.last_stored_at = child.waiting_since = iso(run.aws.now())
    title = str(item.get("calling_ae_title", ""))
    child.calling_ae_titles = [title] if title else []
    run.save(child)
    return None


def note_outcome(run: Run, item: Item, mended: dict[str, list[Item]]) -> None:
    """Note how a retry has ended, once its batch rests; begin again what a crash has cut short.

    What it has imported is collected by batch, so that each batch's studies are counted again once.
    """
    name = str(item[RETRIED_IN])
    batch = run.aws.get_item(f"BATCH#{name}", "BATCH")
    if batch is None:
        return create_retry(run, item, name)
    if batch.get("state") in FINAL_STATES:
        close_repeated(run, name)
        if batch.get("imported") and not batch.get("quarantined"):
            run.aws.put_item({**item, OUTCOME: STATE_IMPORTED}, REQUESTED, "=", item[REQUESTED])
            mended.setdefault(str(item["batch"]), []).append(item)
        else:
            end_retry(run, item, STATE_QUARANTINED)
    return None


def end_mended(run: Run, batch_id: str, items: list[Item]) -> None:
    """End the retries that have imported instances of a batch, after its studies have been counted again."""
    recount_studies(run, batch_id)
    for item in items:
        keep_to_retry(run, partial(end_retry, run, item, STATE_IMPORTED))


def close_repeated(run: Run, name: str) -> None:
    """Let what was refused again be open once: in the item that was retried, and not in the retry's own."""
    for item in run.aws.query(f"BATCH#{name}", "QUARANTINED#"):
        if "open" in item:
            closed = {key: value for key, value in item.items() if key not in {"open", "open_since"}}
            run.aws.put_item(closed, "object_key", "=", item["object_key"])


def end_retry(run: Run, item: Item, outcome: str) -> None:
    """Write the outcome: on the action first, since the item says that there is one to be written."""
    for action in run.aws.query(f"ACTION#{item['object_key']}", ""):
        if action.get("action") == "retry" and not action.get("ended_at"):
            news = {**action, "outcome": outcome, "ended_at": iso(run.aws.now())}
            run.aws.put_item(news, "action", "=", "retry")
    ended = {**item, OUTCOME: outcome}
    drop = ("open", "open_since") if outcome == STATE_IMPORTED else (REQUESTED,)
    for name in (*drop, RETRIED_IN):
        ended.pop(name, None)
    run.aws.put_item(ended, REQUESTED, "=", item[REQUESTED])


def count_open(run: Run) -> dict[str, int]:
    """Return how many matters of each kind are open, and take up the retries among them."""
    found = run.aws.open_items(OPEN_QUARANTINED)
    take_up_retries(run, found)
    kinds = {metric: run.aws.count_open(kind) for kind, metric in OPEN_GAUGES.items()}
    return {**kinds, "QuarantinedOpen": len(found)}
