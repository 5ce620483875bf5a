"""Entries: what the ledger says of each instance, and of each device by day, once a batch is counted (docs/adr/0018).

Everything here is derived from facts and written again without harm; what a person has noted on an entry stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from import_lambda.aws import Item
from import_lambda.errors import Conflict
from import_lambda.keys import epoch, iso, quarantine_key, rest_of
from import_lambda.ledger import Batch
from import_lambda.manifests import Sender, manifest_of
from import_lambda.results import Imported
from import_lambda.run import Run
from import_lambda.warnings import is_serious

STATE_IMPORTED, STATE_QUARANTINED = "IMPORTED", "QUARANTINED"  # of an INSTANCE# item
OPEN_NON_PRIMARY, OPEN_WARNED = "NON_PRIMARY", "WARNED"  # its `open`
CLOSED_BY_A_PERSON = ("closed_at", "closed_by", "close_note")
WRITTEN_AT_ONCE = 500
DEVICE_COUNTS = ("received", "imported", "quarantined", "non_primary", "warned")


def enter_instances(run: Run, batch: Batch, imported: Mapping[str, Imported], quarantined: Collection[str]) -> None:
    """Write an item for each instance of a batch, and what each device sent with it; both by object key."""
    manifest = manifest_of(run, batch.batch)
    senders = manifest.senders if manifest else {}
    items = [
        instance_item(batch, key, None if key in quarantined else imported.get(key), sender_of(senders, batch, key))
        for key in sorted({*imported, *quarantined})
    ]
    for start in range(0, len(items), WRITTEN_AT_ONCE):
        run.check()
        part = items[start : start + WRITTEN_AT_ONCE]
        run.aws.put_items([with_notes(run, item) if "open" in item else item for item in part])
    for title, counts in sorted(device_counts(items).items()):
        run.check()
        enter_device(run, batch, title, counts)


def sender_of(senders: Mapping[str, Sender], batch: Batch, key: str) -> Sender:
    """Return who sent an instance; if only one device sent this batch, it was that one."""
    only = batch.calling_ae_titles[0] if len(batch.calling_ae_titles) == 1 else ""
    return senders.get(rest_of(key), Sender(only))


def instance_item(batch: Batch, key: str, found: Imported | None, sender: Sender) -> Item:
    """Return the item of one instance; quarantine has the last word, as in the counts."""
    study, series, sop = rest_of(key).split("/")
    item: Item = {"pk": f"INSTANCE#{sop}", "sk": f"BATCH#{batch.batch}#{series}", "batch": batch.batch}
    item |= {"revision": batch.revision, "settled_at": batch.settled_at}
    item |= {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
    item |= {"SOPClassUID": sender.sop_class_uid, "calling_ae_title": sender.calling_ae_title}
    if found is None:
        kept = {"is_primary": False, "warnings": [], "object_key": quarantine_key(key)}
        return item | {"state": STATE_QUARANTINED, **kept}
    codes = [warning.code for warning in found.warnings]
    item |= {
        "state": STATE_IMPORTED,
        "is_primary": found.is_primary,
        "warnings": codes,
        "image_set_id": found.image_set_id,
    }
    if is_serious(found.warnings):  # its original is kept
        item |= {
            "open": OPEN_WARNED,
            "open_since": batch.settled_at,
            "object_key": quarantine_key(key),
        }
    elif not found.is_primary:
        item |= {"open": OPEN_NON_PRIMARY, "open_since": batch.settled_at}
    return item


def with_notes(run: Run, item: Item) -> Item:
    """Return an open item with what is in the ledger of it already: since when, and whether a person has closed it."""
    before = run.aws.get_item(item["pk"], item["sk"]) or {}
    item |= {name: before[name] for name in (*CLOSED_BY_A_PERSON, "open_since") if name in before}
    if "closed_at" in before:
        del item["open"]
    return item


def device_counts(items: Iterable[Item]) -> dict[str, Counter[str]]:
    """Return the counts of instances by calling AE title; those of unknown senders are not counted."""
    counts: dict[str, Counter[str]] = {}
    for item in items:
        if not item["calling_ae_title"]:
            continue
        one = counts.setdefault(item["calling_ae_title"], Counter())
        one["received"] += 1
        one["imported"] += item["state"] == STATE_IMPORTED
        one["quarantined"] += item["state"] == STATE_QUARANTINED
        one["non_primary"] += item["state"] == STATE_IMPORTED and not item["is_primary"]
        one["warned"] += item.get("open") == OPEN_WARNED
    return counts


def enter_device(run: Run, batch: Batch, title: str, counts: Mapping[str, int]) -> None:
    """Write what a device sent with a batch, under the day of its last image, and when it was last in contact."""
    stored_at = batch.last_stored_at or batch.closed_at
    expires_at = int(epoch(stored_at)) + run.settings.device_days * 86_400
    day = iso(epoch(stored_at))[:10]
    item: Item = {"pk": f"DEVICE#{title}", "sk": f"DAY#{day}#BATCH#{batch.batch}", "revision": batch.revision}
    item |= {"calling_ae_title": title, "batch": batch.batch, "last_stored_at": stored_at, "expires_at": expires_at}
    item |= {name: counts[name] for name in DEVICE_COUNTS}
    run.aws.put_items([item])
    contact: Item = {"pk": "DEVICES", "sk": f"DEVICE#{title}", "calling_ae_title": title, "last_contact_at": stored_at}
    try:
        run.aws.put_item(contact, "last_contact_at", "<", stored_at)
    except Conflict:  # it has been in contact since
        return
