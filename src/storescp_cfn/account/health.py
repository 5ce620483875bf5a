"""Is a stack healthy: its state, receivers, alarms, and what waits for the importer or for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from storescp_cfn.account import ledger, moments
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.ledger import Ledger
from storescp_cfn.account.screen import Level, Line
from storescp_cfn.account.words import are, counted, were

LATE_SECONDS = 3_600  # a batch that is not settled by then deserves a look
GROUPS_SHOWN = 5
REASON_LENGTH = 120


def stack_lines(deployment: Deployment) -> list[Line]:
    """The state of the stack itself."""
    status = deployment.status
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
        return [Line(Level.OK, f"The stack is {status}.", subject="stack")]
    if status == "UPDATE_ROLLBACK_COMPLETE":
        text = "The last update failed and was taken back: the version before it runs."
        return [Line(Level.WARNING, text, f"storescp-cfn doctor --stack {deployment.name}", "stack")]
    if status.endswith("_IN_PROGRESS"):
        return [Line(Level.WARNING, f"The stack is {status}.", "wait until it is complete, then look again", "stack")]
    return [Line(Level.STOP, f"The stack is {status}.", f"storescp-cfn doctor --stack {deployment.name}", "stack")]


def receiver_lines(deployment: Deployment) -> list[Line]:
    """How many receivers the load balancer sends devices to."""
    states: Counter[str] = Counter()
    for target_group in deployment.physical_ids("AWS::ElasticLoadBalancingV2::TargetGroup"):
        answer = deployment.connection.call("elbv2", "describe_target_health", TargetGroupArn=target_group)
        states.update(row["TargetHealth"]["State"] for row in answer["TargetHealthDescriptions"])
    wanted = _whole(deployment.parameters.get("TaskDesiredCount"), 1)
    healthy = states["healthy"]
    facts = {"healthy": healthy, "desired": wanted}
    if healthy == 0:
        return [
            Line(
                Level.STOP,
                "No receiver is healthy: devices cannot send, and keep their images.",
                f"storescp-cfn doctor --stack {deployment.name}",
                "receivers",
                facts,
            )
        ]
    if healthy < wanted:
        text = f"{healthy} of {wanted} receivers are healthy: devices can send, with less capacity."
        to_do = f"wait five minutes; if it stays so: storescp-cfn doctor --stack {deployment.name}"
        return [Line(Level.WARNING, text, to_do, "receivers", facts)]
    return [Line(Level.OK, f"{healthy} of {wanted} receivers are healthy.", subject="receivers", details=facts)]


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdigit() else otherwise


def alarm_lines(deployment: Deployment) -> list[Line]:
    """One line for each alarm that rings; its own description says what to do."""
    names = deployment.physical_ids("AWS::CloudWatch::Alarm")
    rows: list[Mapping[str, Any]] = []
    for start in range(0, len(names), 100):  # DescribeAlarms takes 100 names
        answer = deployment.connection.call("cloudwatch", "describe_alarms", AlarmNames=names[start : start + 100])
        rows += answer.get("MetricAlarms", [])
    ringing = [row for row in rows if row.get("StateValue") == "ALARM"]
    logical = {physical_id: name for name, (_, physical_id) in deployment.resources.items()}
    if not ringing:
        return [Line(Level.OK, f"No alarm rings ({len(names)} watch).", subject="alarms")]
    return [
        Line(
            Level.WARNING,
            f"Alarm {logical.get(row['AlarmName'], row['AlarmName'])}.",
            " ".join(row.get("AlarmDescription", "").split()) or "look at the alarm in CloudWatch",
            "alarm",
            {"alarm": row["AlarmName"]},
        )
        for row in ringing
    ]


def importer_lines(book: Ledger, utc_now: datetime) -> list[Line]:
    """What has arrived and is not settled yet."""
    batches = book.unsettled()
    incomplete = [batch for batch in batches if ledger.text(batch, "state") == "INCOMPLETE"]
    moving = [batch for batch in batches if batch not in incomplete]
    lines = [_missing_line(incomplete)] if incomplete else []
    on_the_way = sum(_on_the_way(batch) for batch in moving)
    facts = {"batches": len(moving), "images": on_the_way}
    if not moving:
        return [*lines, Line(Level.OK, "Nothing waits for import.", subject="importer", details=facts)]
    began = [moment for batch in moving if (moment := _waiting_since(batch)) is not None]
    waited = (utc_now - min(began)).total_seconds() if began else 0.0
    text = f"{are(on_the_way, 'image')} on the way in {counted(len(moving), 'batch')}"
    text += f", the oldest for {moments.age(waited)}."
    if waited < LATE_SECONDS:
        return [*lines, Line(Level.OK, text, subject="importer", details=facts)]
    oldest = min(moving, key=lambda batch: _waiting_since(batch) or utc_now)
    to_do = f"storescp-cfn status --batch {ledger.text(oldest, 'batch')}"
    return [*lines, Line(Level.WARNING, text, to_do, "importer", facts)]


def _on_the_way(batch: ledger.Item) -> int:
    known = max(ledger.count(batch, "received"), ledger.count(batch, "expected"))
    return max(known - ledger.count(batch, "imported") - ledger.count(batch, "quarantined"), 0)


def _waiting_since(batch: ledger.Item) -> datetime | None:
    return moments.parse(ledger.text(batch, "waiting_since") or ledger.text(batch, "closed_at"))


def _missing_line(batches: Sequence[ledger.Item]) -> Line:
    missing = sum(ledger.count(batch, "missing") for batch in batches)
    titles = sorted({title for batch in batches for title in batch.get("calling_ae_titles", [])})
    studies = [study for batch in batches for study in batch.get("studies", [])][:GROUPS_SHOWN]
    return Line(
        Level.STOP,
        f"{were(missing, 'image')} received and are not in the landing bucket any more, "
        f"from {', '.join(titles) or '?'}; studies: {', '.join(studies) or 'not known'}.",
        "send these studies again from the device, and find out from the access logs who removed them",
        "missing",
        {"missing": missing, "batches": [ledger.text(batch, "batch") for batch in batches]},
    )


def open_lines(book: Ledger) -> list[Line]:
    """What waits for a person: quarantined, warned, non-primary, unrecognized, commitments not delivered."""
    kinds = {kind: book.open_items(kind) for kind in OPEN_KINDS}
    lines = quarantine_lines(kinds[ledger.QUARANTINED])
    for kind in (ledger.WARNED, ledger.NON_PRIMARY, ledger.UNRECOGNIZED, ledger.UNDELIVERED):
        if kinds[kind]:
            thing, text, to_do = OPEN_KINDS[kind]
            count = len(kinds[kind])
            lines.append(Line(Level.WARNING, f"{are(count, thing)} {text}", to_do, kind.lower(), {"open": count}))
    if not lines:
        lines.append(Line(Level.OK, "Nothing is in quarantine, and no warning is open.", subject="open"))
    return lines


OPEN_KINDS = {
    ledger.QUARANTINED: ("image", "in quarantine.", "storescp-cfn quarantine list"),
    ledger.WARNED: (
        "image",
        "imported, but HealthImaging cannot give it all back; originals are kept.",
        "storescp-cfn warnings list",
    ),
    ledger.NON_PRIMARY: (
        "image",
        "imported where viewers do not look: they contradict their series, for example in the patient's id.",
        "storescp-cfn warnings list",
    ),
    ledger.UNRECOGNIZED: (
        "file",
        "set aside that the receiver did not write into the landing bucket.",
        "storescp-cfn quarantine list",
    ),
    ledger.UNDELIVERED: (
        "answer",
        "waiting to be delivered to a device that has asked for storage commitment.",
        "check the address of the device in the parameter CommitmentDevices, and that the device is switched on",
    ),
}


def quarantine_lines(items: Sequence[ledger.Item]) -> list[Line]:
    """One line for each device and kind of refusal, the largest group first."""
    groups: dict[tuple[str, str], list[ledger.Item]] = {}
    for item in items:
        title = ledger.text(item, "calling_ae_title") or "an unknown device"
        groups.setdefault((title, ledger.text(item, "kind") or "refused"), []).append(item)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = []
    for (title, kind), members in ordered[:GROUPS_SHOWN]:
        lines.append(
            Line(
                Level.WARNING,
                f"{are(len(members), f'image of {title}')} in quarantine: {kind}.",
                f"storescp-cfn quarantine list --device {title}",
                "quarantine",
                {"device": title, "kind": kind, "images": len(members)},
            )
        )
    if rest := sum(len(members) for _, members in ordered[GROUPS_SHOWN:]):
        text = f"Of other devices and kinds, {are(rest, 'image')} in quarantine."
        lines.append(Line(Level.WARNING, text, "storescp-cfn quarantine list", "quarantine"))
    return lines
