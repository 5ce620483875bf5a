"""`storescp-cfn status`: one screen on a stack. Healthy or not, today's numbers, alarms, what is open, each device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from storescp_cfn.account import device_activity, gathering, health, ledger, moments
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.device_activity import Activity, LogExtract
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line, Screen
from storescp_cfn.account.words import are, were


@dataclass
class _Gathered:
    """What is asked for the tables, and not for lines alone."""

    activity: list[Activity] = field(default_factory=list)
    log: LogExtract = field(default_factory=LogExtract)


def overview(deployment: Deployment, utc_now: datetime | None = None) -> Screen:
    """The screen without a question. Raises AccountError: when not even the ledger's name is known."""
    now = utc_now or datetime.now(UTC)
    gathered = _Gathered()
    lines = gathering.lines_of(_questions(deployment, gathered, now))
    lines += _refused_lines(gathered.log)
    return Screen(
        headline(deployment, lines, gathered.activity, now),
        lines,
        [device_activity.table(gathered.activity, gathered.log.refused, now, "Devices, today")],
        facts(deployment, lines, gathered.activity, gathered.log),
    )


def _questions(deployment: Deployment, gathered: _Gathered, now: datetime) -> dict[str, Callable[[], Sequence[Line]]]:
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    book = ledger.of(deployment)

    def of_devices() -> Sequence[Line]:
        gathered.activity = device_activity.of_all(book, midnight, now)
        return []

    def of_log() -> Sequence[Line]:
        gathered.log = device_activity.read_log(deployment, max(midnight, now - timedelta(days=1)))
        return device_activity.rejection_lines(gathered.log, deployment.outputs.get("DICOMAETitle", ""), now)

    return {
        "stack": lambda: health.stack_lines(deployment),
        "receivers": lambda: health.receiver_lines(deployment),
        "alarms": lambda: health.alarm_lines(deployment),
        "importer": lambda: health.importer_lines(book, now),
        "open": lambda: health.open_lines(book),
        "devices": of_devices,
        "log": of_log,
    }


def _refused_lines(log: LogExtract) -> list[Line]:
    return [
        Line(
            Level.WARNING,
            f"{were(number, f'image of {title}')} refused today: the device still has them.",
            f"storescp-cfn status --device {title}",
            "refused",
            {"device": title, "images": number},
        )
        for title, number in log.refused.items()
        if number
    ]


def headline(deployment: Deployment, lines: Sequence[Line], activity: Sequence[Activity], now: datetime) -> str:
    """The answer in a sentence, and today's numbers."""
    worst = max((line.level for line in lines), default=Level.OK)
    state = {
        Level.OK: "all is well",
        Level.UNKNOWN: "not all could be found out",
        Level.WARNING: "works, and there is something to do",
        Level.STOP: "needs you now",
    }[worst]
    numbers = today(activity)
    on_the_way = next((line.details["images"] for line in lines if line.subject == "importer" and line.details), "?")
    return (
        f"{deployment.name} in {deployment.connection.region}, {moments.shown(now, now)}: {state}. Today "
        f"{numbers['received']} received, {numbers['imported']} imported, {numbers['quarantined']} quarantined; "
        f"{on_the_way} on the way."
    )


def today(activity: Sequence[Activity]) -> dict[str, int]:
    """The sum over all devices."""
    return {name: sum(device.counts[name] for device in activity) for name in device_activity.COUNTS}


def facts(
    deployment: Deployment, lines: Sequence[Line], activity: Sequence[Activity], log: LogExtract
) -> dict[str, object]:
    """What the JSON says besides the lines."""
    devices = [one.facts() | {"refused": log.refused[one.title]} for one in activity]
    return {
        "stack": deployment.name,
        "region": deployment.connection.region,
        "today": today(activity),
        "on_the_way": next((dict(line.details) for line in lines if line.subject == "importer" and line.details), None),
        "devices": devices,
    }


def of_device(deployment: Deployment, title: str, since: str | None, utc_now: datetime | None = None) -> Screen:
    """`--device CT1 --since 09:30`: what one device sent, what became of it, why it was turned away."""
    now = utc_now or datetime.now(UTC)
    start = moments.since(since or "00:00", now)
    activity = device_activity.of_device(ledger.of(deployment), title, start, now)
    lines = _device_lines(activity, start, now)
    refused = 0
    try:
        log = device_activity.read_log(deployment, start)
    except AccountError as error:
        lines.append(gathering.unknown("log", error))
    else:
        own = LogExtract([one for one in log.rejections if one.calling == title], log.refused, log.cut)
        lines += device_activity.rejection_lines(own, deployment.outputs.get("DICOMAETitle", ""), now)
        refused = log.refused[title]
        if refused:
            text = f"{were(refused, 'image')} refused: {title} still has them."
            lines.append(Line(Level.WARNING, text, "send them again from the device", "refused"))
    headline = f"{title} since {moments.shown(start, now)}: {_sentence(activity)}"
    return Screen(headline, lines, facts={**activity.facts(), "refused": refused, "since": start.isoformat()})


def _sentence(activity: Activity) -> str:
    counts = activity.counts
    return f"{counts['received']} received, {counts['imported']} imported, {counts['quarantined']} quarantined."


def _device_lines(activity: Activity, start: datetime, now: datetime) -> list[Line]:
    title, counts = activity.title, activity.counts
    lines = [
        Line(
            Level.OK,
            f"Batch {ledger.text(item, 'sk').rpartition('#')[2]}: "
            f"{ledger.count(item, 'received')} received, {ledger.count(item, 'imported')} imported, last image "
            f"{moments.shown(moments.parse(ledger.text(item, 'last_stored_at')), now)}.",
            subject="batch",
        )
        for item in activity.batches
    ]
    if counts["quarantined"]:
        text = f"{were(counts['quarantined'], f'image of {title}')} refused by HealthImaging and quarantined."
        lines.append(Line(Level.WARNING, text, f"storescp-cfn quarantine list --device {title}", "quarantine"))
    if counts["warned"] or counts["non_primary"]:
        warned = counts["warned"] + counts["non_primary"]
        text = f"{were(warned, f'image of {title}')} imported with a warning."
        lines.append(Line(Level.WARNING, text, "storescp-cfn warnings list", "warnings"))
    waiting = counts["received"] - counts["imported"] - counts["quarantined"]
    if waiting > 0:
        lines.append(Line(Level.OK, f"{are(waiting, 'image')} on the way.", "look again in a minute", "importer"))
    if not activity.batches:
        text = f"No image of {title} since {moments.shown(start, now)} is in the ledger, which lags by a minute."
        to_do = "send again, and check host, port and Called AE Title on the device: storescp-cfn devices"
        lines.append(Line(Level.WARNING, text, to_do, "nothing"))
    return lines
