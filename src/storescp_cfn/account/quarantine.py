"""What HealthImaging refused, and what it warned of: listed by device and reason, tried again, exported, closed.

A retry and a close are conditional writes into the ledger (docs/adr/0001); the importer does the work and writes how it
ended. What lies in quarantine stays there as evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storescp_cfn.account import keys, ledger, masking, moments
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.ledger import Item, Ledger
from storescp_cfn.account.screen import Level, Line, Screen, Table
from storescp_cfn.account.words import are, counted, have, were

OUTCOMES_SECONDS = 50  # how long a retry is watched: an answer comes within a minute
POLL_SECONDS = 3
HEADER_BYTES = 256 * 1024
ROWS_SHOWN = 50


@dataclass(frozen=True)
class Selection:
    """Which entries are meant; nothing given means all."""

    device: str = ""
    study: str = ""
    batch: str = ""
    image: str = ""

    def matches(self, item: Item) -> bool:
        """Whether an entry is meant."""
        wanted = {
            "calling_ae_title": self.device,
            "StudyInstanceUID": self.study and keys.safe_name(self.study),
            "batch": self.batch,
        }
        if self.image and keys.safe_name(self.image) not in (image_of(item), ledger.text(item, "SOPInstanceUID")):
            return False
        own = {**item, "batch": batch_of(item)}
        return all(not value or own.get(name) == value for name, value in wanted.items())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was given."""
        return not (self.device or self.study or self.batch or self.image)


def image_of(item: Item) -> str:
    """The safe name of an entry's SOP Instance UID, or the digest of an unrecognized object."""
    for part in ("pk", "sk"):
        kind, _, name = ledger.text(item, part).partition("#")
        if kind in ("INSTANCE", "QUARANTINED"):
            return name.partition("#")[0]
    return "?"


def batch_of(item: Item) -> str:
    """The batch of an entry."""
    named = ledger.text(item, "batch")
    for part in ("pk", "sk"):
        kind, _, name = ledger.text(item, part).partition("#")
        if kind == "BATCH" and not named:
            named = name.partition("#")[0]
    return named


def open_entries(book: Ledger, kinds: Sequence[str], selection: Selection) -> list[Item]:
    """The open entries of these kinds that are meant, the oldest first."""
    found = [item for kind in kinds for item in book.open_items(kind)]
    return [item for item in found if selection.matches(item)]


QUARANTINE_KINDS = (ledger.QUARANTINED, ledger.UNRECOGNIZED)
WARNING_KINDS = (ledger.WARNED, ledger.NON_PRIMARY)


def show_list(deployment: Deployment, selection: Selection, utc_now: datetime | None = None) -> Screen:
    """`quarantine list`: a line for each device and reason, and the entries."""
    now = utc_now or datetime.now(UTC)
    items = open_entries(ledger.of(deployment), QUARANTINE_KINDS, selection)
    groups: dict[tuple[str, str, str, bool], list[Item]] = {}
    for item in items:
        reason = masking.masked_reason(ledger.text(item, "reason"))
        permanent = bool(item.get("is_permanent"))
        groups.setdefault((device_of(item), ledger.text(item, "kind"), reason, permanent), []).append(item)
    lines = [
        _group_line(*group, members)
        for group, members in sorted(groups.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]
    headline = f"{are(len(items), 'image')} in quarantine{_of_what(selection)}." if items else _nothing(selection)
    return Screen(headline, lines, [entries_table(items, now)], {"entries": [_facts(item) for item in items]})


def _nothing(selection: Selection) -> str:
    return f"Nothing is in quarantine{_of_what(selection)}."


def _of_what(selection: Selection) -> str:
    return "" if selection.is_empty else " of what you asked for"


def device_of(item: Item) -> str:
    """The calling AE title of an entry, or what stands for it."""
    return ledger.text(item, "calling_ae_title") or "an unknown device"


def _group_line(device: str, kind: str, reason: str, permanent: bool, members: Sequence[Item]) -> Line:
    option = f"--device {device}" if ledger.text(members[0], "calling_ae_title") else f"--image {image_of(members[0])}"
    asked = sum(bool(ledger.text(item, "retry_requested_at")) for item in members)
    text = f"{counted(len(members), 'image')} of {device}: {kind or 'refused'}. {reason}".rstrip()
    if asked:
        text += f" A retry is asked for {asked} of them."
    to_do = (
        f"mend it at the device and send again, then: storescp-cfn quarantine close {option} --note WHY"
        if permanent
        else f"worth a retry: storescp-cfn quarantine retry {option}"
    )
    facts = {"device": device, "kind": kind, "reason": reason, "is_permanent": permanent, "images": len(members)}
    return Line(Level.WARNING, text, to_do, "quarantine", facts)


def entries_table(items: Sequence[Item], now: datetime) -> Table:
    """The first entries, one line each."""
    rows = [[_since(item, now), device_of(item), batch_of(item), image_of(item)] for item in items[:ROWS_SHOWN]]
    title = "Images" if len(items) <= ROWS_SHOWN else f"The first {ROWS_SHOWN} of {len(items)} images (--json has all)"
    return Table(title, ["Since", "Device", "Batch", "SOP Instance UID"], rows)


def _since(item: Item, now: datetime) -> str:
    return moments.shown(moments.parse(ledger.text(item, "open_since") or ledger.text(item, "quarantined_at")), now)


def _facts(item: Item) -> dict[str, Any]:
    about = {"image": image_of(item), "batch": batch_of(item), "device": device_of(item)}
    names = ("StudyInstanceUID", "SeriesInstanceUID", "kind", "is_permanent", "open", "open_since", "quarantine_key")
    about |= {name: item[name] for name in (*names, "retry_requested_at", "warnings") if name in item}
    return about | {"reason": masking.masked_reason(ledger.text(item, "reason"))}


def show_warnings(deployment: Deployment, selection: Selection, utc_now: datetime | None = None) -> Screen:
    """`warnings list`: what is imported and yet not as it should be."""
    now = utc_now or datetime.now(UTC)
    items = open_entries(ledger.of(deployment), WARNING_KINDS, selection)
    groups: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        codes = ", ".join(map(str, item.get("warnings", []))) or "unknown"
        groups.setdefault((device_of(item), ledger.text(item, "open"), codes), []).append(item)
    lines = []
    for (device, kind, codes), members in sorted(groups.items(), key=lambda entry: -len(entry[1])):
        text = f"{counted(len(members), 'image')} of {device}: "
        if kind == ledger.WARNED:
            text += f"warning {codes}: HealthImaging may not give the pixels back. The originals are kept."
            to_do = "try them in your viewer; read them from the landing bucket if they do not show"
        else:
            text += "not in the primary image set, because they contradict their series: viewers do not show them."
            to_do = "compare patient and study of the series at the device, mend them and send again"
        to_do += f"; then: storescp-cfn warnings close --device {device} --note WHY"
        lines.append(Line(Level.WARNING, text, to_do, kind.lower(), {"device": device, "images": len(members)}))
    headline = f"{are(len(items), 'image')} imported with an open warning." if items else "No warning is open."
    return Screen(headline, lines, [entries_table(items, now)], {"entries": [_facts(item) for item in items]})


def chosen(book: Ledger, kinds: Sequence[str], selection: Selection) -> list[Item]:
    """The open entries that are meant. Raises AccountError: when there are none."""
    items = open_entries(book, kinds, selection)
    if not items:
        raise AccountError("No open entry is what you asked for: storescp-cfn quarantine list shows what there is.")
    return items


def caller(deployment: Deployment) -> str:
    """Who is at the terminal, as AWS knows them."""
    return str(deployment.connection.call("sts", "get_caller_identity")["Arn"])


def close(deployment: Deployment, kinds: Sequence[str], selection: Selection, note: str) -> Screen:
    """`close`: note who decided it and why; from then on nobody is reminded of these entries."""
    book, who = ledger.of(deployment), caller(deployment)
    items = chosen(book, kinds, selection)
    for item in items:
        moment = _iso_now()
        changes = {"closed_at": moment, "closed_by": who, "close_note": note}
        book.put_new(_action(item, moment, "close", who, note))
        book.update(item, changes, ("open",), ("open",))
    text = f"{were(len(items), 'entry')} closed by {who}. The files stay where they are, as evidence."
    return Screen(f"{counted(len(items), 'entry')} closed.", [Line(Level.OK, text, subject="closed")])


def retry(
    deployment: Deployment, selection: Selection, anyway: bool, wait: Callable[[float], None] = time.sleep
) -> Screen:
    """`retry`: ask the importer to import them once more, and watch for up to a minute how it ends."""
    book, who = ledger.of(deployment), caller(deployment)
    items = chosen(book, [ledger.QUARANTINED], selection)
    hopeless = [item for item in items if item.get("is_permanent")]
    if hopeless and not anyway:
        raise AccountError(
            f"{have(len(hopeless), 'image')} a reason that cannot be fixed by retrying: mend it at the device and send "
            "again, or retry with --anyway after HealthImaging or its settings have changed."
        )
    moment = _iso_now()
    asked = [item for item in items if not ledger.text(item, "retry_requested_at")]
    for item in asked:
        book.put_new(_action(item, moment, "retry", who, ""))
        book.update(
            item,
            {"retry_requested_at": moment, "retry_requested_by": who},
            ("retry_outcome",),
            ("open", "retry_requested_at"),
        )
    return _outcome_screen(items, _watch(book, items, wait))


def _action(item: Item, moment: str, action: str, who: str, note: str) -> Item:
    return {
        "pk": f"ACTION#{ledger.text(item, 'object_key') or image_of(item)}",
        "sk": moment,
        "action": action,
        "by": who,
        "note": note,
        "item_pk": item["pk"],
        "item_sk": item["sk"],
    }


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _watch(book: Ledger, items: Sequence[Item], wait: Callable[[float], None]) -> dict[str, str]:
    """How the retries ended, by `pk sk`, as far as they have ended in time."""
    ended: dict[str, str] = {}
    for _ in range(int(OUTCOMES_SECONDS / POLL_SECONDS)):
        for item in items:
            name = f"{item['pk']} {item['sk']}"
            current = book.get(item["pk"], item["sk"]) if name not in ended else None
            if current and (outcome := ledger.text(current, "retry_outcome")):
                ended[name] = outcome
            elif current and not ledger.text(current, "open"):
                ended[name] = ledger.IMPORTED
        if len(ended) == len(items):
            break
        wait(POLL_SECONDS)
    return ended


def _outcome_screen(items: Sequence[Item], ended: Mapping[str, str]) -> Screen:
    imported = sum(outcome == ledger.IMPORTED for outcome in ended.values())
    refused, waiting = len(ended) - imported, len(items) - len(ended)
    lines = []
    if imported:
        lines.append(Line(Level.OK, f"{are(imported, 'image')} imported now.", subject="imported"))
    if refused:
        text = f"{were(refused, 'image')} refused again and stay in quarantine."
        lines.append(Line(Level.WARNING, text, "storescp-cfn quarantine list", "refused"))
    if waiting:
        text = f"{are(waiting, 'image')} on the way: the importer takes them up with its next job."
        lines.append(Line(Level.OK, text, "storescp-cfn quarantine list in a few minutes", "waiting"))
    return Screen(f"Retry of {counted(len(items), 'image')}.", lines, facts={"outcomes": dict(ended)})


def show(deployment: Deployment, image: str, utc_now: datetime | None = None) -> Screen:
    """`show`: one entry, its history, and the image's header with all that names a patient masked."""
    import io

    import pydicom
    from pydicom.errors import InvalidDicomError

    now, book = utc_now or datetime.now(UTC), ledger.of(deployment)
    item = chosen(book, (*QUARANTINE_KINDS, *WARNING_KINDS), Selection(image=image))[0]
    body = _read(deployment, stored_key(item), HEADER_BYTES)
    try:
        dataset = pydicom.dcmread(io.BytesIO(body), stop_before_pixels=True, force=False)
        rows = [list(row) for row in masking.masked_elements(dataset)]
        broken = ""
    except (InvalidDicomError, AttributeError, EOFError, OSError, ValueError, KeyError, NotImplementedError):
        rows, broken = [], "Its header cannot be read as DICOM."
    reason = masking.masked_reason(ledger.text(item, "reason"))
    text = f"{ledger.text(item, 'kind') or ledger.text(item, 'open')}: {reason} {broken}".strip()
    lines = [Line(Level.WARNING, text, f"storescp-cfn quarantine retry --image {image}", "entry", _facts(item))]
    lines += _history(book, item, now)
    table = Table("Header, values that may name a patient masked", ["Tag", "VR", "Keyword", "Value"], rows)
    return Screen(f"{image}, sent by {device_of(item)} in batch {batch_of(item)}.", lines, [table])


def _history(book: Ledger, item: Item, now: datetime) -> Iterator[Line]:
    for action in book.query(f"ACTION#{ledger.text(item, 'object_key') or image_of(item)}"):
        outcome = ledger.text(action, "outcome")
        text = f"{moments.shown(moments.parse(ledger.text(action, 'sk')), now)}: {ledger.text(action, 'action')}"
        text += f" by {ledger.text(action, 'by')}" + (f", ended {outcome}." if outcome else ".")
        yield Line(Level.OK, text, subject="history")


def stored_key(item: Item) -> str:
    """Where the object lies now."""
    return ledger.text(item, "quarantine_key") or ledger.text(item, "object_key")


def _read(deployment: Deployment, key: str, first_bytes: int = 0) -> bytes:
    place = {"Bucket": deployment.output("LandingBucketName"), "Key": key}
    place |= {"Range": f"bytes=0-{first_bytes - 1}"} if first_bytes else {}
    with deployment.connection.errors("s3"):
        body: bytes = deployment.connection.client("s3").get_object(**place)["Body"].read()
    return body


def export(deployment: Deployment, selection: Selection, folder: Path) -> Screen:
    """`export`: write the originals into a folder. Raises AccountError: when one of the files is there already."""
    items = chosen(ledger.of(deployment), (*QUARANTINE_KINDS, *WARNING_KINDS), selection)
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        path = folder / f"{batch_of(item)}-{image_of(item)}.dcm"
        try:
            with path.open("xb") as file:
                file.write(_read(deployment, stored_key(item)))
        except FileExistsError as error:
            raise AccountError(f"{path} is there already: choose an empty folder.") from error
    text = f"{are(len(items), 'file')} in {folder}. They are whole images: treat them as patient data."
    return Screen(f"{counted(len(items), 'image')} exported.", [Line(Level.OK, text, subject="exported")])
