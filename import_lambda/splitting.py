"""Splitting: the objects of a batch go on in batches of their own, below split/."""

from __future__ import annotations

from import_lambda.aws import ListedObject
from import_lambda.counting import count_batch
from import_lambda.decisions import Decision, Finish, Gathered, Wait
from import_lambda.errors import Conflict
from import_lambda.keys import rest_of
from import_lambda.ledger import Batch, batch_in
from import_lambda.manifests import keep_manifest, manifest_of
from import_lambda.quarantine import importable_objects
from import_lambda.run import Run
from import_lambda.settings import MAX_LISTED_OBJECTS

MOVED_AT_ONCE = 100


def plan_split(batch: Batch, keys: tuple[str, ...]) -> None:
    """Name the halves and the first key of the second one, so that a crash does not move the border."""
    batch.pivot = sorted(keys)[len(keys) // 2]
    _add_children(batch, 2)


def plan_gathering(batch: Batch) -> None:
    """Name the batch for what this one has in earlier batches."""
    batch.pivot = ""
    _add_children(batch, 1)


def _add_children(batch: Batch, count: int) -> None:
    number = len(batch.children)
    batch.children = [*batch.children, *(f"{batch.batch}.{number + one}" for one in range(1, count + 1))]


def split(run: Run, batch: Batch) -> Decision:
    """Move the objects below new prefixes; only when all have moved are these batches of their own."""
    keep_manifest(run, batch.batch)
    if not batch.pivot:
        return gather(run, batch)
    objects = importable_objects(run, batch)
    if objects is None:
        return Wait(soon=True)
    count_batch(run, batch, [], moving=objects)
    halves = batch.children[-2:]
    pairs = [(listed, child_key(halves[listed.key >= batch.pivot], listed.key)) for listed in objects]
    for child in halves:  # where version 0.1.0 began to move them
        earlier = run.aws.list_objects(run.settings.landing_bucket, f"incoming/{child}/")
        pairs += [(listed, child_key(child, listed.key)) for listed in earlier]
    move(run, pairs)
    if len(objects) == MAX_LISTED_OBJECTS:  # there are more
        return Wait(soon=True)
    for child in halves:
        count = len(run.aws.list_objects(run.settings.landing_bucket, child_prefix(child)))
        create_child(run, batch, child, count)
    run.needs_another_pass = True
    return Finish()


def gather(run: Run, batch: Batch) -> Decision:
    """Move what this batch has in earlier ones, as its manifest says; what is not there any more, is missing.

    What came so late that its earlier batch has taken it for its own stays there, and counts there.
    """
    manifest, child = manifest_of(run, batch.batch), batch.children[-1]
    keys = [key for key in manifest.elsewhere if is_left_to_others(run, key)] if manifest else []
    pairs = []
    for key in keys:
        run.check()
        listing = run.aws.list_page(run.settings.landing_bucket, key).objects
        pairs += [(listed, child_key(child, key)) for listed in listing if listed.key == key]
    move(run, pairs)
    batch.expected -= batch.elsewhere - len(keys)
    if keys:
        create_child(run, batch, child, len(keys))
        run.needs_another_pass = True
    return Gathered()


def is_left_to_others(run: Run, key: str) -> bool:
    """Say whether the batch below whose prefix a late object lies still leaves it to another one."""
    item = run.aws.get_item(f"BATCH#{key.split('/')[1]}", "BATCH")
    return item is None or key in batch_in(item).late


def move(run: Run, pairs: list[tuple[ListedObject, str]]) -> None:
    """Copy, then delete, some at a time."""
    for start in range(0, len(pairs), MOVED_AT_ONCE):
        run.check()
        copied = run.aws.copy(run.settings.landing_bucket, pairs[start : start + MOVED_AT_ONCE])
        if copied:
            run.delete(copied)


def child_prefix(child: str) -> str:
    """Return where the objects of a batch are that the importer has made."""
    return f"split/{child}/"


def child_key(child: str, key: str) -> str:
    """Return where an object goes in a batch that the importer makes."""
    return f"{child_prefix(child)}{rest_of(key)}.dcm"


def create_child(run: Run, parent: Batch, name: str, count: int) -> None:
    """Enter a part in the ledger, of so many objects."""
    child = Batch(name, prefix=child_prefix(name), closed_by="split", parent=parent.batch, expected=count)
    child.waiting_since, child.closed_at = parent.waiting_since, parent.closed_at
    child.last_stored_at, child.calling_ae_titles = parent.last_stored_at, parent.calling_ae_titles
    try:
        run.save(child)
    except Conflict:  # it exists: this step was killed after this line, or another run was faster
        return
