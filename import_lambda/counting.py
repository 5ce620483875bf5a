"""Counting: what became of every instance of a batch, recomputed from the facts of all its jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from import_lambda.aws import Item, ListedObject
from import_lambda.entries import STATE_IMPORTED, enter_instances
from import_lambda.keys import INSTANCE_KEY, iso, rest_of
from import_lambda.ledger import SETTLING, STARTING, STUDY_STATES, Batch, batch_in
from import_lambda.manifests import Manifest, manifest_of
from import_lambda.results import RESULT_FILE, Imported, Results, read_results
from import_lambda.run import Run
from import_lambda.settings import LISTED_STUDIES
from import_lambda.warnings import is_serious

COUNTS = ("received", "imported", "quarantined", "non_primary", "warned")
RETRIED_COUNTS = ("received", "quarantined")
BY_RETRY = "retry"  # `closed_by` of a batch that a retry made
OUTCOME = "retry_outcome"  # of a QUARANTINED# item


def count_batch(run: Run, batch: Batch, waiting: list[ListedObject], moving: Iterable[ListedObject] = ()) -> None:
    """Recompute the counts of a batch and its studies' items.

    The caller has written the batch item at this revision, so a run that is behind cannot write here.
    What is `moving` to another batch is not counted, but its studies' items are brought up to date.
    """
    imported, quarantined = read_facts(run, batch)
    keys = {key for key in (*imported, *quarantined, *(listed.key for listed in waiting)) if is_own(batch, key)}
    if batch.children and keys:  # a PUT that came again after its object had moved on: it is the same instance
        moved = family_rests(run, batch.children)
        keys = {key for key in keys if rest_of(key) not in moved}
    studies: dict[str, Counter[str]] = {rest_of(listed.key).partition("/")[0]: Counter() for listed in moving}
    retried = Counter[str]()
    for key in sorted(keys):
        study = studies.setdefault(rest_of(key).partition("/")[0], Counter())
        study["received"] += 1
        if key in quarantined:
            study["quarantined"] += 1
            retried[rest_of(key).partition("/")[0]] += quarantined[key] or batch.closed_by == BY_RETRY
        elif key in imported:
            study["imported"] += 1
            study["non_primary"] += not imported[key].is_primary
            study["warned"] += is_serious(imported[key].warnings)
    total = sum(studies.values(), Counter())
    for name in COUNTS:
        setattr(batch, name, total[name])
    batch.studies, batch.study_count = list(studies)[:LISTED_STUDIES], len(studies)
    manifest = manifest_of(run, batch.batch)
    for study_instance_uid, numbers in studies.items():
        run.check()
        write_study(run, batch, study_instance_uid, numbers, retried[study_instance_uid], manifest)
    if batch.state == SETTLING:
        found = {key: imported[key] for key in keys if key in imported}
        enter_instances(run, batch, found, keys & quarantined.keys())


def is_own(batch: Batch, key: str) -> bool:
    """Say whether a key is an instance of this batch, and not one that belongs to a later batch."""
    return key.startswith(batch.prefix) and key not in batch.late and bool(INSTANCE_KEY.fullmatch(key))


def read_facts(run: Run, batch: Batch) -> tuple[dict[str, Imported], dict[str, bool]]:
    """Return what all jobs of a batch have imported, and what is in quarantine: whether a retry has imported it."""
    outputs: list[ListedObject] = []
    if batch.stores_started or batch.jobs_started > (batch.state == STARTING):  # the job to be started has none yet
        outputs = run.aws.list_objects(run.settings.results_bucket, f"jobs/{batch.batch}/")
    imported = read_files(run, [one.key for one in outputs if "/FAILURE/" not in one.key], batch.prefix).imported
    items = run.aws.query(f"BATCH#{batch.batch}", "QUARANTINED#")
    return imported, {str(item.get("object_key")): item.get(OUTCOME) == STATE_IMPORTED for item in items}


def read_files(run: Run, keys: list[str], prefix: str) -> Results:
    """Return what the result files among `keys` say of the objects below `prefix`, whatever they are called."""
    results = Results()
    for key in keys:
        if RESULT_FILE.search(key):
            run.check()
            read_results(results, run.aws.read(run.settings.results_bucket, key), prefix, "/WARNING/" in key)
    return results


def family_rests(run: Run, children: Iterable[str]) -> set[str]:
    """Return <study>/<series>/<sop> of all that the parts of a batch have, or had."""
    rests: set[str] = set()
    for child in children:
        item = run.aws.get_item(f"BATCH#{child}", "BATCH")
        if item is not None:
            batch = batch_in(item)
            imported, quarantined = read_facts(run, batch)
            waiting = run.aws.list_objects(run.settings.landing_bucket, batch.prefix)
            keys = (*imported, *quarantined, *(listed.key for listed in waiting))
            rests |= {rest_of(key) for key in keys if INSTANCE_KEY.fullmatch(key)}
            rests |= family_rests(run, batch.children)
    return rests


def write_study(
    run: Run, batch: Batch, study_instance_uid: str, numbers: Counter[str], retried: int, manifest: Manifest | None
) -> None:
    """Write how much of a study came with this batch, unless a newer revision has.

    What was `retried` counts once in its study: where it was imported, else where it was refused first.
    """
    titles = manifest.titles_by_study.get(study_instance_uid) if manifest else None
    item: Item = {name: numbers[name] for name in COUNTS} | {"not_primary": numbers["non_primary"]}
    item |= {"pk": f"STUDY#{study_instance_uid}", "sk": f"BATCH#{batch.batch}"}
    item |= {"StudyInstanceUID": study_instance_uid, "batch": batch.batch}
    item |= {"state": STUDY_STATES[batch.state], "revision": batch.revision}
    item |= {name: numbers[name] - retried for name in RETRIED_COUNTS} | {"retried": retried}
    item |= {"missing": _missing(batch, study_instance_uid, numbers, manifest)}
    item |= {"calling_ae_titles": titles or batch.calling_ae_titles, "updated_at": iso(run.aws.now())}
    run.aws.put_item(item, "revision", "<=", batch.revision)


def recount_studies(run: Run, batch_id: str) -> None:
    """Take what retries have imported out of the studies' items of the batch that it was refused in."""
    items = run.aws.query(f"BATCH#{batch_id}", "QUARANTINED#")
    mended = [str(item["object_key"]) for item in items if item.get(OUTCOME) == STATE_IMPORTED]
    for study, retried in Counter(rest_of(key).partition("/")[0] for key in mended).items():
        run.check()
        item = run.aws.get_item(f"STUDY#{study}", f"BATCH#{batch_id}")
        change = retried - int(item.get("retried", 0)) if item else 0
        if item and change:
            news = {name: int(item[name]) - change for name in RETRIED_COUNTS} | {"retried": retried}
            run.aws.put_item({**item, **news}, "revision", "=", item["revision"])


def _missing(batch: Batch, study: str, numbers: Counter[str], manifest: Manifest | None) -> int:
    """Return how many instances of a study the receiver counted that are not there; 0 for parts of a batch."""
    if manifest is None or batch.parent or batch.children:
        return 0
    return max(0, manifest.instances_by_study.get(study, 0) - numbers["received"])
