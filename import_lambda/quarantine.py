"""Quarantine: where objects go that will not be imported, each with its reason."""

from __future__ import annotations

import hashlib
import json

from import_lambda.aws import Item, ListedObject
from import_lambda.errors import AwsError, Conflict, TryLater
from import_lambda.keys import INSTANCE_KEY, iso, quarantine_key
from import_lambda.ledger import Batch
from import_lambda.metrics import log
from import_lambda.results import Refusal
from import_lambda.run import Run


def importable_objects(run: Run, batch: Batch) -> list[ListedObject]:
    """Return the objects of a batch that a job can take; quarantine what cannot be an instance or is too large."""
    objects = run.list_batch(batch)
    unrecognized = [listed for listed in objects if not INSTANCE_KEY.fullmatch(listed.key)]
    quarantine_unrecognized(run, unrecognized)
    limit = run.settings.max_bytes_per_job
    large = [listed for listed in objects if listed.bytes > limit and listed not in unrecognized]
    reason = Refusal("TooLarge", f"The object is larger than the {limit} bytes that an import job takes.")
    quarantine_instances(run, batch, [(listed, reason) for listed in large])
    return [listed for listed in objects if listed not in unrecognized and listed not in large]


def quarantine_instances(run: Run, batch: Batch, cases: list[tuple[ListedObject, Refusal]], job_id: str = "") -> None:
    """Move objects to quarantine/: copy, reason, ledger item, and only then the deletion."""
    for listed, refusal in cases:
        run.check()
        _, _, study, series, sop = listed.key.removesuffix(".dcm").split("/")
        about: Item = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
        about |= {"job_id": job_id, "attempt": batch.jobs_started}
        quarantine_object(run, batch.batch, sop, listed, refusal, about)
        log("WARNING", "instance quarantined", batch=batch.batch, key=listed.key, kind=refusal.kind)


def quarantine_unrecognized(run: Run, objects: list[ListedObject], reason: str = "") -> None:
    """Quarantine objects that no receiver wrote; they belong to no batch's count."""
    reason = reason or "The key is not one of this product's; only its receiver writes here."
    for listed in objects:
        run.check()
        refusal = Refusal("UnrecognizedObject", reason)
        quarantine_object(run, "UNRECOGNIZED", listed.key[-200:], listed, refusal, {})
        run.counts["UnrecognizedObjects"] += 1
        # The key is in the ledger and not here: somebody else's file may be named after a patient.
        log("WARNING", "unrecognized object quarantined", ledger="BATCH#UNRECOGNIZED", bytes=listed.bytes)


def try_to_quarantine_unrecognized(run: Run, listed: ListedObject) -> None:
    """Quarantine one object that belongs to no batch; whatever goes wrong with it stays with it."""
    try:
        quarantine_unrecognized(run, [listed])
    except TryLater:
        run.needs_another_pass = True
    except AwsError as error:
        run.report_error("an unrecognized object could not be quarantined", code=error.code)


def quarantine_object(run: Run, batch_id: str, name: str, listed: ListedObject, refusal: Refusal, about: Item) -> None:
    """Move one object to quarantine/, under `name` in the ledger; nothing happens if it is not what was listed."""
    target, landing = quarantine_key(listed.key), run.settings.landing_bucket
    if not run.aws.copy(landing, [(listed, target)]):
        return  # another run has moved it, or it was stored anew: then the next listing shows it
    record = {"batch": batch_id, "object_key": listed.key, "quarantine_key": target, "bytes": listed.bytes, **about}
    record |= {"kind": refusal.kind, "reason": refusal.message[:2048], "quarantined_at": iso(run.aws.now())}
    run.aws.write(landing, f"{target}.json", json.dumps({"schema": 1, **record}, indent=1).encode())
    item = {**record, "pk": f"BATCH#{batch_id}", "sk": f"QUARANTINED#{name}"}
    try:
        run.aws.put_item(item, "object_key", "=", listed.key)
    except Conflict:  # the same SOP Instance UID in another series of this batch
        item["sk"] += "#" + hashlib.sha256(listed.key.encode()).hexdigest()[:8]
        run.aws.put_item(item, "object_key", "=", listed.key)
    run.aws.delete(landing, [listed])
