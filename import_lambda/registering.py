"""Registering: how a batch enters the ledger, by its manifest or without one."""

from __future__ import annotations

from import_lambda.errors import Malformed
from import_lambda.keys import iso, opened_at
from import_lambda.ledger import SPLITTING, Batch
from import_lambda.manifests import cache_manifest, find_manifest, read_listed_manifest
from import_lambda.metrics import log
from import_lambda.quarantine import quarantine_unrecognized
from import_lambda.run import Run


def register(run: Run, batch_id: str) -> None:
    """Enter a closed batch in the ledger, or adopt one whose receiver died."""
    batch = Batch(batch_id, closed_at=iso(run.aws.now()), prefix=run.prefixes.get(batch_id, ""))
    if batch_id in run.manifests:
        absorb_manifest(run, batch)
    elif not adopt(run, batch):
        return
    batch.waiting_since = batch.last_stored_at or batch.closed_at
    run.save(batch)
    log("INFO", "batch registered", batch=batch_id, closed_by=batch.closed_by, expected=batch.expected)


def adopt(run: Run, batch: Batch) -> bool:
    """Close an orphan from what is in the bucket, once no receiver can write to it any more.

    Receivers add to a batch until it is some minutes old. An id of the future was made by a clock that is wrong: there,
    only what has been stored counts.
    """
    now = run.aws.now()
    oldest_allowed = now - run.settings.orphan_after_seconds
    if oldest_allowed < opened_at(batch.batch) <= now:
        return False
    parent = run.aws.get_item(f"BATCH#{batch.batch.rpartition('.')[0]}", "BATCH") if "." in batch.batch else None
    if parent and parent.get("state") == SPLITTING:  # its parts are not complete yet
        return False
    objects = run.list_batch(batch)
    newest = max((listed.modified for listed in objects), default=now)
    batch.closed_by, batch.last_stored_at = "orphan", iso(newest)
    return newest <= oldest_allowed


def absorb_manifest(run: Run, batch: Batch) -> None:
    """Take over what the receiver wrote; an unreadable manifest is quarantined and says only "closed"."""
    listed = find_manifest(run, batch.batch)
    if listed is None:
        return
    try:
        manifest = read_listed_manifest(run, listed, batch.batch)
    except Malformed as error:
        run.report_error("a batch manifest cannot be read", fact=str(error))
        quarantine_unrecognized(run, [listed], str(error))
        del run.manifests[batch.batch]
        batch.closed_by = batch.closed_by or "manifest-unreadable"
        return
    cache_manifest(run, batch.batch, manifest)
    if batch.expected < 0:
        batch.late, batch.elsewhere = manifest.late, len(manifest.elsewhere)
    batch.expected = manifest.instances
    batch.calling_ae_titles = manifest.calling_ae_titles
    batch.closed_by = manifest.closed_by
    batch.closed_at = manifest.closed_at or batch.closed_at
    batch.last_stored_at = manifest.last_stored_at or batch.last_stored_at
