"""Closing a batch: every instance is counted, and only then it rests."""

from __future__ import annotations

from import_lambda.counting import count_batch
from import_lambda.decisions import Close, Decision, Finish, Reopen, Wait
from import_lambda.keys import iso
from import_lambda.ledger import INCOMPLETE, SETTLED, SPLIT, Batch, tally
from import_lambda.manifests import find_manifest
from import_lambda.registering import absorb_manifest
from import_lambda.run import Run


def close_batch(run: Run, batch: Batch) -> Decision:
    """Count a batch below whose prefix nothing seems to be left."""
    if run.list_batch(batch):
        return Reopen()
    if batch.expected < 0 and find_manifest(run, batch.batch):  # it was adopted before its manifest came
        absorb_manifest(run, batch)
    if batch.elsewhere:
        return Reopen()
    before = tally(batch)
    children = [run.aws.get_item(f"BATCH#{child}", "BATCH") or {} for child in batch.children]
    batch.moved = sum(int(child.get("expected", 0)) for child in children)
    batch.settled_at = iso(run.aws.now())
    count_batch(run, batch, [])
    batch.missing = max(0, batch.expected - batch.received - batch.moved)
    state = INCOMPLETE if batch.missing else SPLIT if batch.children else SETTLED
    return Close(state, tally(batch) - before)


def look_for_missing(run: Run, batch: Batch) -> Decision:
    """Count again a batch of which instances were missing: they, or another manifest, may have come."""
    run.manifests.pop(batch.batch, None)
    if find_manifest(run, batch.batch):
        absorb_manifest(run, batch)
    return Finish()


def reopen(run: Run, batch: Batch) -> Decision:
    """Look at a settled batch that has objects again (a PUT that came late), or whose manifest is still there."""
    objects = run.list_batch(batch)
    if batch.batch in run.manifests and batch.expected < 0:
        absorb_manifest(run, batch)
        run.save(batch)
    if objects or batch.elsewhere or batch.expected > batch.received + batch.moved:
        return Reopen(is_news=True)
    delete_manifest(run, batch)
    return Wait()


def delete_manifest(run: Run, batch: Batch) -> None:
    """Delete the manifest of a batch that is in the ledger; versioning keeps it as long as its images."""
    if batch.expected >= 0 and not batch.parent and find_manifest(run, batch.batch):
        run.delete([run.manifests.pop(batch.batch)])
