"""Discovery: which batches there are. What it costs depends on what is open, not on what has been settled."""

from __future__ import annotations

from import_lambda.cursor import Cursor, start_of_ids
from import_lambda.errors import MALFORMED_DATA_ERRORS
from import_lambda.keys import is_batch_id
from import_lambda.ledger import FINAL_STATES, batch_in
from import_lambda.quarantine import try_to_quarantine_unrecognized
from import_lambda.run import Run
from import_lambda.scanning import MAX_PAGES, try_to_scan
from import_lambda.settings import MAX_UNRECOGNIZED_PER_PASS

MANIFESTS = "batches/"


def discover(run: Run, cursor: Cursor) -> list[str]:
    """Return the ids of all batches that are not settled, oldest first; quarantine unrecognized objects."""
    found = read_unsettled(run)
    found |= read_manifests(run, cursor)
    run.is_discovered = True
    found |= try_to_scan(run, cursor)
    return sorted(found)


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
            run.remember(batch)
    return found


def read_manifests(run: Run, cursor: Cursor) -> set[str]:
    """List batches/ from where every older manifest has been seen."""
    landing = run.settings.landing_bucket
    after = f"{MANIFESTS}{start_of_ids(cursor.manifests_seen_until)}" if cursor.manifests_seen_until else ""
    found: set[str] = set()
    for _ in range(MAX_PAGES):
        page = run.aws.list_page(landing, MANIFESTS, after)
        names = {listed.key[len(MANIFESTS) :].removesuffix(".json"): listed for listed in page.objects}
        run.manifests |= {name: listed for name, listed in names.items() if is_batch_id(name)}
        found |= {name for name in names if is_batch_id(name)}
        unrecognized = [listed for name, listed in names.items() if not is_batch_id(name)]
        try_to_quarantine_unrecognized(run, unrecognized[:MAX_UNRECOGNIZED_PER_PASS])
        after = page.next_after
        run.check()
        if not after:
            break
    else:
        cursor.stopped_at = min(cursor.stopped_at, after.partition("/")[2])
    return found
