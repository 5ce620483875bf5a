"""What each device did: images by day out of the ledger, rejected calls out of the receivers' log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from storescp_cfn.account import gathering, ledger, moments
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.ledger import Ledger
from storescp_cfn.account.screen import Level, Line, Table

COUNTS = ("received", "imported", "quarantined", "non_primary", "warned")
LOG_PAGES = 20  # of the receivers' log: a bound on the time that a command takes
REJECTED, ENDED = "association rejected", "association ended"
WRONG_CALLED_TITLE = "CalledAETitleNotRecognized"
# The receiver's reasons (container/storescp/acceptance.py): what they mean, and what to do about them.
REASONS = {
    "NoPresentationContext": (
        "it offered nothing that this receiver stores",
        "compare what the device sends with the parameter SupportedSOPClassUIDs",
    ),
    "CallingAETitleNotRecognized": (
        "its AE title is not in RequireCallingAETitle",
        "add its title to the parameter RequireCallingAETitle, if the device is one of yours",
    ),
    "TemporaryCongestion": (
        "the receiver was busy or about to stop",
        "nothing, if the device sends again by itself; else send again from the device",
    ),
    "LocalLimitExceeded": (
        "too many associations were open",
        "raise TaskDesiredCount or MaximumAssociations, or let the device close associations that it does not use",
    ),
}


@dataclass(frozen=True)
class Activity:
    """What one calling AE title did since a moment."""

    title: str
    last_contact: datetime | None = None
    counts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    batches: Sequence[ledger.Item] = ()

    def facts(self) -> dict[str, object]:
        """The device in the JSON."""
        counts = {name: self.counts[name] for name in COUNTS}
        last = self.last_contact.isoformat() if self.last_contact else None
        return {"device": self.title, "last_contact": last, **counts, "refused": self.refused}


@dataclass(frozen=True)
class Rejection:
    """Associations that were rejected for one reason, of one device under one called title."""

    calling: str
    called: str
    reason: str
    peer: str
    times: int
    last: datetime | None


@dataclass(frozen=True)
class LogExtract:
    """What the receivers' log says since a moment. cut: whether there was more than was read."""

    rejections: Sequence[Rejection] = ()
    refused: Counter[str] = field(default_factory=Counter)
    cut: bool = False


def of_device(book: Ledger, title: str, since: datetime, utc_now: datetime) -> Activity:
    """The images of one device since a moment; batches are counted whole."""
    counts: Counter[str] = Counter()
    batches, last = [], None
    for day in moments.days(since, utc_now):
        for item in book.query(f"DEVICE#{title}", f"DAY#{day}"):
            stored = moments.parse(ledger.text(item, "last_stored_at"))
            if stored is not None and stored < since:
                continue
            counts.update({name: ledger.count(item, name) for name in COUNTS})
            batches.append(item)
            last = max(filter(None, (last, stored)), default=None)
    return Activity(title, last, counts, batches=batches)


def of_all(book: Ledger, since: datetime, utc_now: datetime) -> list[Activity]:
    """Every device that the ledger has ever seen, the one that was last in touch first."""
    known = {
        ledger.text(item, "sk").removeprefix("DEVICE#"): moments.parse(ledger.text(item, "last_contact_at"))
        for item in book.query("DEVICES", "DEVICE#")
    }
    found = gathering.each(list(known), lambda title: of_device(book, title, since, utc_now))
    devices = [
        Activity(one.title, max(filter(None, (one.last_contact, known[one.title])), default=None), one.counts)
        for one in found
    ]
    return sorted(devices, key=lambda one: (one.last_contact is None, -(one.last_contact or utc_now).timestamp()))


def read_log(deployment: Deployment, since: datetime) -> LogExtract:
    """Rejected associations and refused images since a moment. Raises AccountError: when AWS cannot be asked."""
    arguments = {
        "logGroupName": deployment.output("ReceiverLogGroupName"),
        "startTime": int(since.timestamp() * 1000),
        "filterPattern": f'{{ $.message = "{REJECTED}" || $.message = "{ENDED}" }}',
    }
    records: list[dict[str, object]] = []
    for _ in range(LOG_PAGES):
        page = deployment.connection.call("logs", "filter_log_events", **arguments)
        records += filter(None, (_record(event["message"]) for event in page["events"]))
        if "nextToken" not in page:
            return extract(records)
        arguments["nextToken"] = page["nextToken"]
    return extract(records, cut=True)


def _record(line: str) -> dict[str, object] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def extract(records: Iterable[dict[str, object]], cut: bool = False) -> LogExtract:
    """Sum up the log's lines; of a line that says how often, all of its times."""
    grouped: dict[tuple[str, str, str], list[dict[str, object]]] = {}
    refused: Counter[str] = Counter()
    for record in records:
        calling, called = str(record.get("calling_ae_title", "")), str(record.get("called_ae_title", ""))
        if record.get("message") == REJECTED:
            grouped.setdefault((calling, called, str(record.get("reason", ""))), []).append(record)
        elif record.get("message") == ENDED and isinstance(failures := record.get("failures"), dict):
            refused[calling] += sum(number for number in failures.values() if isinstance(number, int))
    rejections = [
        Rejection(
            *key,
            peer=str(members[-1].get("peer", "")).rpartition(":")[0],
            times=sum(_times(member) for member in members),
            last=moments.parse(str(members[-1].get("time", ""))),
        )
        for key, members in grouped.items()
    ]
    return LogExtract(sorted(rejections, key=lambda one: -one.times), refused, cut)


def _times(record: dict[str, object]) -> int:
    """How many rejections a line stands for: the receiver writes one a minute, and says how many it left out."""
    value = record.get("not_logged_before", 0)
    return 1 + value if isinstance(value, int) else 1


def rejection_lines(log: LogExtract, own_title: str, utc_now: datetime) -> list[Line]:
    """One line for each device that is turned away, with the likely cause."""
    lines = [_rejection_line(one, own_title, utc_now) for one in log.rejections]
    if log.cut:
        lines.append(
            Line(Level.UNKNOWN, "The receivers' log holds more than was read.", "ask for less with --since 1h", "log")
        )
    return lines


def _rejection_line(one: Rejection, own_title: str, utc_now: datetime) -> Line:
    who = one.calling or f"A device at {one.peer} that names no AE title"
    often = f"{one.times} time{'s' if one.times > 1 else ''}, last at {moments.shown(one.last, utc_now)}"
    if one.reason == WRONG_CALLED_TITLE:
        typo = "typo?" if _is_similar(one.called, own_title) else "the title of another system?"
        text = f"{who} calls {one.called}: {typo} This receiver is {own_title}. Turned away {often}."
        to_do = f"set the Called AE Title to {own_title} on {who if one.calling else 'it'}, which sends from {one.peer}"
    else:
        meaning, to_do = REASONS.get(one.reason, (one.reason, "look at the receiver's log"))
        text = f"{who} was turned away {often}: {meaning}."
    facts = {"device": one.calling, "called": one.called, "reason": one.reason, "peer": one.peer, "times": one.times}
    return Line(Level.WARNING, text, to_do, "rejected", facts)


def _is_similar(called: str, own: str) -> bool:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, called.upper(), own.upper()).ratio() > 0.7


def table(devices: Sequence[Activity], refused: Counter[str], utc_now: datetime, title: str) -> Table:
    """A line for each device."""
    rows = [
        [
            one.title,
            moments.shown(one.last_contact, utc_now),
            str(one.counts["received"]),
            str(one.counts["imported"]),
            str(one.counts["quarantined"]),
            str(one.counts["warned"] + one.counts["non_primary"]),
            str(refused[one.title]),
        ]
        for one in devices
    ]
    headings = ["Device", "Last contact", "Received", "Imported", "Quarantine", "Warned", "Refused"]
    return Table(title, headings, rows, frozenset({2, 3, 4, 5, 6}), "No device has sent anything yet.")
