"""Closing a batch: count what became of every instance, from the facts, and enter it in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from import_lambda.aws import Item, ListedObject
from import_lambda.decisions import Close, Decision, Finish, Reopen, Wait
from import_lambda.discovery import absorb_manifest
from import_lambda.keys import INSTANCE_KEY, iso
from import_lambda.ledger import INCOMPLETE, SETTLED, SPLIT, STUDY_STATES, Batch, tally
from import_lambda.results import Results, read_results
from import_lambda.run import Run
from import_lambda.settings import LISTED_STUDIES

COUNTS = ("received", "imported", "quarantined", "non_primary")


def close_batch(run: Run, batch: Batch) -> Decision:
    """Count a batch below whose prefix nothing seems to be left."""
    if run.list_batch(batch):
        return Reopen()
    if batch.batch in run.manifests and batch.expected < 0:  # it was adopted before its manifest came
        absorb_manifest(run, batch)
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
    if batch.batch in run.manifests:
        absorb_manifest(run, batch)
    return Finish()


def reopen(run: Run, batch: Batch) -> Decision:
    """Look at a settled batch that has objects again (a PUT that came late), or whose manifest is still there."""
    objects = run.list_batch(batch)
    if batch.batch in run.manifests and batch.expected < 0:
        absorb_manifest(run, batch)
        run.save(batch)
    if objects or batch.expected > batch.received + batch.moved:
        return Reopen(is_news=True)
    run.delete_manifest(batch)
    return Wait()


def count_batch(run: Run, batch: Batch, waiting: list[ListedObject], moving: Iterable[ListedObject] = ()) -> None:
    """Recompute the counts of a batch and its studies' items from the facts of all its jobs.

    The caller has written the batch item at this revision, so a run that is behind cannot write here.
    What is `moving` to another batch is not counted, but its studies' items are brought up to date.
    """
    imported = read_files(run, output_keys(run, batch)).imported
    items = run.aws.query(f"BATCH#{batch.batch}", "QUARANTINED#")
    quarantined = {str(item.get("object_key")) for item in items}
    studies: dict[str, Counter[str]] = {listed.key.split("/")[2]: Counter() for listed in moving}
    for key in sorted({*imported, *quarantined, *(listed.key for listed in waiting)}):
        match = INSTANCE_KEY.fullmatch(key)
        if not match or match[1] != batch.batch:
            continue
        study = studies.setdefault(match[2], Counter())
        study["received"] += 1
        if key in quarantined:
            study["quarantined"] += 1
        elif key in imported:
            study["imported"] += 1
            study["non_primary"] += not imported[key]
    total = sum(studies.values(), Counter())
    for name in COUNTS:
        setattr(batch, name, total[name])
    batch.studies, batch.study_count = list(studies)[:LISTED_STUDIES], len(studies)
    for study_instance_uid, numbers in studies.items():
        run.check()
        write_study(run, batch, study_instance_uid, numbers)


def output_keys(run: Run, batch: Batch) -> list[str]:
    """Return the keys of what all jobs of a batch have written about imported objects."""
    if not batch.jobs_started and not batch.stores_started:
        return []
    outputs = run.aws.list_objects(run.settings.results_bucket, f"jobs/{batch.batch}/")
    return [listed.key for listed in outputs if "/FAILURE/" not in listed.key]


def read_files(run: Run, keys: list[str]) -> Results:
    """Return what the ndjson files among `keys` say, whatever they are called."""
    results = Results()
    for key in keys:
        if any(word in key for word in ("/SUCCESS/", "/WARNING/", "/FAILURE/", "/stored-")):
            run.check()
            read_results(results, run.aws.read(run.settings.results_bucket, key), "/FAILURE/" in key)
    return results


def write_study(run: Run, batch: Batch, study_instance_uid: str, numbers: Counter[str]) -> None:
    """Write how much of a study came with this batch, unless a newer revision has."""
    item: Item = {name: numbers[name] for name in COUNTS} | {"not_primary": numbers["non_primary"]}
    item |= {"pk": f"STUDY#{study_instance_uid}", "sk": f"BATCH#{batch.batch}"}
    item |= {"StudyInstanceUID": study_instance_uid, "batch": batch.batch}
    item |= {"state": STUDY_STATES[batch.state], "revision": batch.revision}
    item |= {"calling_ae_titles": batch.calling_ae_titles, "updated_at": iso(run.aws.now())}
    run.aws.put_item(item, "revision", "<=", batch.revision)
