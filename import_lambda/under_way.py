"""What is under way: instances of batches that are not settled, which have no entry of their own yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from import_lambda.keys import INSTANCE_KEY, rest_of
from import_lambda.ledger import FINAL_STATES, Batch
from import_lambda.manifests import MAX_CACHED_MANIFESTS, Sender, manifest_of
from import_lambda.run import Run


def sop_classes_under_way(run: Run, sop_instance_uids: Collection[str]) -> dict[str, str]:
    """Return those of the instances that an unsettled batch has, with their SOP class; empty where that is not known.

    If more batches are unsettled than can be looked through, all of the instances are taken to be under way.
    """
    wanted, found = set(sop_instance_uids), dict[str, str]()
    batches = [one for one in run.known.values() if one.state not in FINAL_STATES]
    if len(batches) > MAX_CACHED_MANIFESTS:
        return dict.fromkeys(wanted, "")
    for batch in sorted(batches, key=lambda one: one.batch):  # what came last counts
        run.check()
        for rest, sender in instances_of(run, batch):
            sop_instance_uid = rest.rpartition("/")[2]
            if sop_instance_uid in wanted:
                found[sop_instance_uid] = sender.sop_class_uid
    return found


def instances_of(run: Run, batch: Batch) -> Iterator[tuple[str, Sender]]:
    """Yield <study>/<series>/<sop> and the sender of what a batch has: by its manifest, else by its objects."""
    manifest = manifest_of(run, batch.batch)
    if manifest and manifest.senders:
        yield from manifest.senders.items()
        return
    for listed in run.aws.list_objects(run.settings.landing_bucket, batch.prefix):
        if INSTANCE_KEY.fullmatch(listed.key):
            yield rest_of(listed.key), Sender()
