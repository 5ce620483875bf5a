"""Quarantine: where objects go that will not be imported, each with its reason; and the originals that are kept.

What goes there is written into the batch item first, at its revision: whoever is behind cannot begin, and whoever comes
next finishes it before anything else. So an image never is imported by one run and quarantined by another.
"""

from __future__ import annotations

import hashlib
import json

from import_lambda.aws import Item, ListedObject
from import_lambda.blame import safe_kind
from import_lambda.decisions import WARNED, Case
from import_lambda.errors import AwsError, TryLater
from import_lambda.keys import INSTANCE_KEY, iso, quarantine_key, rest_of, unrecognized_name
from import_lambda.ledger import Batch
from import_lambda.manifests import Sender, manifest_of
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.settings import MAX_REASON_LENGTH, MAX_UNRECOGNIZED_PER_PASS

NOT_OURS = "The key is not one of this product's; only its receiver writes here."


def importable_objects(run: Run, batch: Batch) -> list[ListedObject] | None:
    """Return the objects of a batch that can be instances; None while there are others to be quarantined first."""
    objects = run.list_batch(batch)
    unrecognized = [listed for listed in objects if not INSTANCE_KEY.fullmatch(listed.key)]
    quarantine_unrecognized(run, unrecognized[:MAX_UNRECOGNIZED_PER_PASS])
    if len(unrecognized) > MAX_UNRECOGNIZED_PER_PASS:
        return None
    return [listed for listed in objects if INSTANCE_KEY.fullmatch(listed.key)]


def pending_entry(case: Case) -> Item:
    """Return a case as the batch item holds it until it has been carried out."""
    listed = {"key": case.listed.key, "etag": case.listed.etag, "bytes": case.listed.bytes}
    about = {"kind": case.kind[:64], "reason": case.reason[:MAX_REASON_LENGTH], "is_permanent": case.is_permanent}
    return {**listed, **about, "job_id": case.job_id}


def carry_out_pending(run: Run, batch: Batch) -> None:
    """Move the pending objects: copy, record, ledger item, and only then the deletion. Repeating it does no harm."""
    landing = run.settings.landing_bucket
    entries = {entry["key"]: entry for entry in batch.pending}
    listed = [ListedObject(entry["key"], entry["bytes"], entry["etag"], 0.0) for entry in batch.pending]
    # What is not copied has been moved by another run, or was stored anew: then the next listing shows it.
    copied = run.aws.copy(landing, [(one, quarantine_key(one.key)) for one in listed])
    records = [_record(run, batch, entries[one.key]) for one in copied]
    if not records:
        return
    bodies = [json.dumps({"schema": 1, **record}, indent=1).encode() for record in records]
    run.aws.write(landing, [(f"{one['quarantine_key']}.json", body) for one, body in zip(records, bodies, strict=True)])
    _create_items(run, batch, [record for record in records if record["kind"] != WARNED])
    run.delete(copied)
    kinds = {safe_kind(record["kind"]) for record in records}
    log("WARNING", "instances quarantined", batch=batch.batch, instances=len(records), kinds=sorted(kinds))


def _record(run: Run, batch: Batch, entry: Item) -> Item:
    study, series, sop = rest_of(entry["key"]).split("/")
    manifest = manifest_of(run, batch.batch)
    title = manifest.senders.get(rest_of(entry["key"]), Sender()).calling_ae_title if manifest else ""
    titles = batch.calling_ae_titles
    return {
        "batch": batch.batch,
        "object_key": entry["key"],
        "quarantine_key": quarantine_key(entry["key"]),
        "bytes": entry["bytes"],
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": sop,
        "calling_ae_title": title or (titles[0] if len(titles) == 1 else ""),
        "kind": entry["kind"],
        "reason": entry["reason"],
        "is_permanent": entry["is_permanent"],
        "job_id": entry["job_id"],
        "jobs_started": batch.jobs_started,
        "quarantined_at": iso(run.aws.now()),
    }


def _create_items(run: Run, batch: Batch, records: list[Item]) -> None:
    """Enter refused instances in the ledger; what an operator has noted there since stays."""
    about = {"pk": f"BATCH#{batch.batch}", "open": "QUARANTINED", "open_since": iso(run.aws.now())}
    items = [{**record, **about, "sk": f"QUARANTINED#{record['SOPInstanceUID']}"} for record in records]
    others = []
    for item in run.aws.create_items(items):
        found = run.aws.get_item(item["pk"], item["sk"]) or {}
        if found.get("object_key") != item["object_key"]:  # the same SOP Instance UID in another series of this batch
            suffix = hashlib.sha256(item["object_key"].encode()).hexdigest()[:8]
            others.append({**item, "sk": f"{item['sk']}#{suffix}"})
    if others:
        run.aws.create_items(others)


def quarantine_unrecognized(run: Run, objects: list[ListedObject], reason: str = NOT_OURS) -> None:
    """Quarantine objects that no receiver wrote; they belong to no batch's count."""
    if not objects:
        return
    run.check()
    landing = run.settings.landing_bucket
    targets = {one.key: f"quarantine/unrecognized/{unrecognized_name(one.key, one.etag)}" for one in objects}
    copied = run.aws.copy(landing, [(one, targets[one.key]) for one in objects])
    if not copied:
        return
    about = {"batch": "UNRECOGNIZED", "kind": "UnrecognizedObject", "reason": reason, "is_permanent": True}
    about |= {"quarantined_at": iso(run.aws.now())}
    records: list[Item] = [
        {**about, "object_key": one.key, "quarantine_key": targets[one.key], "bytes": one.bytes} for one in copied
    ]
    bodies = [json.dumps({"schema": 1, **record}, indent=1).encode() for record in records]
    run.aws.write(landing, [(f"{one['quarantine_key']}.json", body) for one, body in zip(records, bodies, strict=True)])
    key = {"pk": "BATCH#UNRECOGNIZED", "open": "UNRECOGNIZED", "open_since": about["quarantined_at"]}
    run.aws.create_items(
        [{**record, **key, "sk": f"QUARANTINED#{record['quarantine_key'].rpartition('/')[2]}"} for record in records]
    )
    run.delete(copied)
    run.counts["UnrecognizedObjects"] += len(copied)
    # The keys are in the ledger and not here: somebody else's file may be named after a patient.
    log("WARNING", "unrecognized objects quarantined", ledger="BATCH#UNRECOGNIZED", objects=len(copied))


def try_to_quarantine_unrecognized(run: Run, objects: list[ListedObject]) -> None:
    """Quarantine objects that belong to no batch; whatever goes wrong with them stays with them."""
    try:
        quarantine_unrecognized(run, objects)
    except TryLater:
        run.needs_another_pass = True
    except AwsError as error:
        run.report_error("unrecognized objects could not be quarantined", code=error.code)
