"""Moments as people write and read them: local time, with the date only where it is another day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from storescp_cfn.account.errors import AccountError

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def parse(text: str) -> datetime | None:
    """A time of the ledger or the log; None for what is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def shown(moment: datetime | None, utc_now: datetime) -> str:
    """`10:42`, or `2026-11-23 10:42` on another day, in local time; `never` for None."""
    if moment is None:
        return "never"
    local, today = moment.astimezone(), utc_now.astimezone().date()
    return local.strftime("%H:%M" if local.date() == today else "%Y-%m-%d %H:%M")


def since(text: str, utc_now: datetime) -> datetime:
    """`09:30` (today), `2026-11-23`, `2026-11-23 09:30`, `2h` or `3d` (ago), in local time.

    Raises AccountError: for anything else.
    """
    if match := re.fullmatch(r"(\d{1,4})([mhd])", text):
        return utc_now - int(match[1]) * UNITS[match[2]]
    local_now = utc_now.astimezone()
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            moment = local_now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        else:
            moment = datetime.fromisoformat(text)
    except ValueError:
        raise AccountError(f"{text} is not a moment: write 09:30, 2026-11-23, 2026-11-23T09:30, 2h or 3d.") from None
    return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC)


def days(first: datetime, last: datetime) -> list[str]:
    """The UTC days from `first` to `last`, as `yyyy-mm-dd`: the ledger's days."""
    start, end = first.astimezone(UTC).date(), last.astimezone(UTC).date()
    return [(start + timedelta(days=number)).isoformat() for number in range((end - start).days + 1)]


def age(seconds: float) -> str:
    """A duration in words a reader takes in at a glance: `40 s`, `12 min`, `3 h`, `2 days`."""
    for size, unit in ((172_800, "days"), (7_200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
