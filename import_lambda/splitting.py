"""Splitting: the objects of a batch go on in two batches of their own."""

from __future__ import annotations

from import_lambda.closing import count_batch
from import_lambda.decisions import Decision, Finish
from import_lambda.errors import Conflict
from import_lambda.ledger import Batch
from import_lambda.quarantine import importable_objects
from import_lambda.run import Run


def plan_split(batch: Batch, keys: tuple[str, ...]) -> None:
    """Name the halves and the first key of the second one, so that a crash does not move the border."""
    batch.pivot = sorted(keys)[len(keys) // 2]
    number = len(batch.children)
    batch.children = [*batch.children, f"{batch.batch}.{number + 1}", f"{batch.batch}.{number + 2}"]


def split(run: Run, batch: Batch) -> Decision:
    """Move the objects below two new prefixes; only when all have moved are these batches of their own."""
    landing, halves = run.settings.landing_bucket, batch.children[-2:]
    objects = importable_objects(run, batch)
    count_batch(run, batch, [], moving=objects)
    for start in range(0, len(objects), 100):
        run.check()
        pairs = [(listed, child_key(batch, listed.key)) for listed in objects[start : start + 100]]
        run.delete(run.aws.copy(landing, pairs))
    for child in halves:
        count = len(run.aws.list_objects(landing, f"incoming/{child}/"))
        create_child(run, batch, child, count)
    run.needs_another_pass = True
    return Finish()


def child_key(batch: Batch, key: str) -> str:
    """Return where an object of a batch that is split goes."""
    child = batch.children[-2 if key < batch.pivot else -1]
    return f"incoming/{child}/{key.removeprefix(batch.prefix)}"


def create_child(run: Run, parent: Batch, name: str, count: int) -> None:
    """Enter one half in the ledger, of so many objects."""
    child = Batch(name, closed_by="split", parent=parent.batch, expected=count, waiting_since=parent.waiting_since)
    child.closed_at, child.last_stored_at = parent.closed_at, parent.last_stored_at
    child.calling_ae_titles, child.failing_since = parent.calling_ae_titles, parent.failing_since
    try:
        run.save(child)
    except Conflict:  # it exists: this step was killed after this line, or another run was faster
        return
