"""Scanning the landing bucket for what no manifest tells: batches of receivers that died, and unrecognized objects.

Below incoming/ lies a delete marker for every image of the last RetentionDays, and a listing reads them all. So it is
listed from where the last look ended, every few minutes, and as a whole once a day, hour by hour and a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from import_lambda.aws import ListedObject, Page
from import_lambda.cursor import Cursor, start_of_ids
from import_lambda.errors import AwsError
from import_lambda.keys import is_batch_id
from import_lambda.metrics import log
from import_lambda.quarantine import try_to_quarantine_unrecognized
from import_lambda.run import Run
from import_lambda.settings import (
    MAX_UNRECOGNIZED_PER_PASS,
    ORPHAN_SCAN_SECONDS,
    SWEEP_CALLS_PER_PASS,
    SWEEP_DAYS,
    SWEEP_SECONDS,
)

PREFIXES = ("incoming/", "split/")
NOT_IDS = " !\"#$%&'()*+,-./01"  # with what a key below incoming/ begins that sorts before every batch id
DAY_SECONDS = 86_400
MAX_PAGES = 20  # of one listing in a pass


def scan(run: Run, cursor: Cursor) -> set[str]:
    """Return the ids of batches that have objects, among those that were opened since the last look."""
    now = int(run.aws.now())
    if 0 <= now - cursor.scanned_at < ORPHAN_SCAN_SECONDS:
        return set()
    found: set[str] = set()
    for prefix in PREFIXES:
        after = f"{prefix}{start_of_ids(cursor.objects_seen_until)}" if cursor.objects_seen_until else ""
        for _ in range(MAX_PAGES):
            page = run.aws.list_page(run.settings.landing_bucket, prefix, after, "/")
            found |= take_in(run, page)
            after = page.next_after
            run.check()
            if not after:
                break
        else:
            cursor.stopped_at = min(cursor.stopped_at, after.partition("/")[2])
    cursor.scanned_at, cursor.scanned = now, found
    return found


def take_in(run: Run, page: Page) -> set[str]:
    """Return the batches of a page of folders; quarantine what is none."""
    landing = run.settings.landing_bucket
    ids = {folder.split("/")[1]: folder for folder in page.folders}
    batches = {name for name in ids if is_batch_id(name)}
    run.prefixes |= {name: ids[name] for name in batches}
    manifests = {listed.key.split("/", 1)[1].removesuffix(".json"): listed for listed in page.objects}
    run.manifests |= {name: listed for name, listed in manifests.items() if is_manifest(name, listed)}
    unrecognized = [listed for name, listed in manifests.items() if not is_manifest(name, listed)]
    for name in sorted(ids.keys() - batches):
        if len(unrecognized) < MAX_UNRECOGNIZED_PER_PASS:
            unrecognized += run.aws.list_page(landing, ids[name]).objects
    try_to_quarantine_unrecognized(run, unrecognized[:MAX_UNRECOGNIZED_PER_PASS])
    return batches | {name for name, listed in manifests.items() if is_manifest(name, listed)}


def is_manifest(name: str, listed: ListedObject) -> bool:
    """Say whether an object is the manifest of the batch that its name says."""
    return is_batch_id(name) and listed.key == f"batches/{name}.json"


def sweep(run: Run, cursor: Cursor) -> set[str]:
    """Return the ids of batches that have objects or a manifest: the next slice of the daily look at everything."""
    now = int(run.aws.now())
    cursor.swept_at = cursor.swept_at or now  # the first look of all has seen everything
    if cursor.step == 0 and 0 <= now - cursor.swept_at < SWEEP_SECONDS:
        return set()
    if cursor.step == 0:
        cursor.swept_at = now
    found: set[str] = set()
    prefixes = list(sweep_prefixes(cursor.swept_at))
    for prefix in prefixes[cursor.step : cursor.step + SWEEP_CALLS_PER_PASS]:
        run.check()
        try:
            found |= take_in(run, run.aws.list_page(run.settings.landing_bucket, prefix, "", "/"))
        except AwsError as error:  # the next hour may be better; tomorrow this one is looked at again
            log("WARNING", "an hour of the bucket could not be listed", prefix=prefix, code=error.code)
    cursor.step = cursor.step + SWEEP_CALLS_PER_PASS
    if cursor.step >= len(prefixes):
        cursor.step = 0
    return found


def sweep_prefixes(now: int) -> Iterator[str]:
    """Yield the prefixes that are listed one after the other, the newest hours first."""
    yield from (f"incoming/{character}" for character in NOT_IDS)
    for days in range(SWEEP_DAYS):
        stamp = start_of_ids(now - days * DAY_SECONDS)[: len("20261123T")]
        yield from (f"incoming/{stamp}{hour:02d}" for hour in reversed(range(24)))
        yield f"split/{stamp}"
        yield f"batches/{stamp}"


def try_to_scan(run: Run, cursor: Cursor) -> set[str]:
    """Look for what no manifest tells. Whatever goes wrong here waits for the next wake-up, and stops nothing else."""
    found: set[str] = set()
    try:
        found |= scan(run, cursor)
        found |= sweep(run, cursor)
    except AwsError as error:
        log("WARNING", "the bucket could not be scanned", code=error.code)
        run.needs_another_pass = True
    return found
