"""Discovery: which batches there are, and how they enter the ledger."""

from __future__ import annotations

from import_lambda.errors import MALFORMED_DATA_ERRORS, Malformed
from import_lambda.keys import is_batch_id, iso, opened_at
from import_lambda.ledger import FINAL_STATES, SPLITTING, Batch, batch_in
from import_lambda.metrics import log
from import_lambda.quarantine import quarantine_unrecognized, try_to_quarantine_unrecognized
from import_lambda.results import read_manifest
from import_lambda.run import Run
from import_lambda.settings import LISTED_STUDIES

MAX_UNRECOGNIZED_PER_PASS = 1000


def discover(run: Run) -> list[str]:
    """Return the ids of all batches that are not settled, oldest first; quarantine unrecognized objects."""
    landing = run.settings.landing_bucket
    unsettled = read_unsettled(run)
    folders, unrecognized = run.aws.list_folders(landing, "incoming/")
    names = {folder.split("/")[1]: folder for folder in folders}
    listed_manifests = run.aws.list_objects(landing, "batches/")
    manifests = {listed.key[8:].removesuffix(".json"): listed for listed in listed_manifests}
    run.manifests = {name: listed for name, listed in manifests.items() if is_batch_id(name)}
    unrecognized += [listed for name, listed in manifests.items() if not is_batch_id(name)]
    for name, folder in names.items():
        if not is_batch_id(name) and len(unrecognized) < MAX_UNRECOGNIZED_PER_PASS:
            unrecognized += run.aws.list_objects(landing, folder)
    run.is_discovered = True
    for listed in unrecognized[:MAX_UNRECOGNIZED_PER_PASS]:
        try_to_quarantine_unrecognized(run, listed)
    return sorted({*unsettled, *run.manifests, *filter(is_batch_id, names)})


def read_unsettled(run: Run) -> set[str]:
    """Read the index. It lags behind the table, so the newest revision that was seen counts."""
    found = {name for name, batch in run.known.items() if batch.state not in FINAL_STATES} | run.distrusted
    for item in run.aws.unsettled():
        try:
            batch = batch_in(item)
        except MALFORMED_DATA_ERRORS as error:
            run.report_error("a ledger item cannot be read", item=str(item.get("pk")), fact=str(error))
            continue
        found.add(batch.batch)
        newest = run.known.get(batch.batch)
        if batch.batch not in run.distrusted and (newest is None or newest.revision < batch.revision):
            run.known[batch.batch] = batch
    return found


def register(run: Run, batch_id: str) -> None:
    """Enter a closed batch in the ledger, or adopt one whose receiver died."""
    batch = Batch(batch_id, closed_at=iso(run.aws.now()))
    if batch_id in run.manifests:
        absorb_manifest(run, batch)
    elif not adopt(run, batch):
        return
    batch.waiting_since = batch.last_stored_at or batch.closed_at
    run.save(batch)
    log("INFO", "batch registered", batch=batch_id, closed_by=batch.closed_by, expected=batch.expected)


def adopt(run: Run, batch: Batch) -> bool:
    """Close an orphan from what is in the bucket, once no receiver can write to it any more."""
    oldest_allowed = run.aws.now() - run.settings.orphan_after_seconds
    if opened_at(batch.batch) > oldest_allowed:
        return False
    parent = run.aws.get_item(f"BATCH#{batch.batch.rpartition('.')[0]}", "BATCH") if "." in batch.batch else None
    if parent and parent.get("state") == SPLITTING:  # its two halves are not complete yet
        return False
    objects = run.list_batch(batch)
    newest = max((listed.modified for listed in objects), default=run.aws.now())
    batch.closed_by, batch.last_stored_at = "orphan", iso(newest)
    return newest <= oldest_allowed


def absorb_manifest(run: Run, batch: Batch) -> None:
    """Take over what the receiver wrote; an unreadable manifest is quarantined and says only "closed"."""
    listed = run.manifests[batch.batch]
    try:
        manifest = read_manifest(run.aws.read(run.settings.landing_bucket, listed.key), batch.batch)
    except Malformed as error:
        run.report_error("a batch manifest cannot be read", fact=str(error))
        quarantine_unrecognized(run, [listed], str(error))
        del run.manifests[batch.batch]
        batch.closed_by = batch.closed_by or "manifest-unreadable"
        return
    batch.expected = manifest["instances"]
    batch.calling_ae_titles = manifest.get("calling_ae_titles", [])[:LISTED_STUDIES]
    batch.closed_by = str(manifest.get("closed_by", ""))
    for name in ("closed_at", "last_stored_at"):
        setattr(batch, name, str(manifest.get(name) or getattr(batch, name)))
