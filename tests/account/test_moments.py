"""Moments as people write them, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from storescp_cfn.account import moments
from storescp_cfn.account.errors import AccountError

NOW = datetime(2026, 11, 24, 10, 42, tzinfo=UTC)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("09:30", datetime(2026, 11, 24, 9, 30, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T09:30", datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
        ("2h", datetime(2026, 11, 24, 8, 42, tzinfo=UTC)),
        ("1d", datetime(2026, 11, 23, 10, 42, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read(text: str, moment: datetime) -> None:
    assert moments.since(text, NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "25:00", "", "-3h"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(AccountError, match="write 09:30"):
        moments.since(text, NOW)


def test_moments_and_ages_are_short() -> None:
    assert moments.shown(NOW, NOW) == "10:42"
    assert moments.shown(datetime(2026, 11, 23, 8, 0, tzinfo=UTC), NOW) == "2026-11-23 08:00"
    assert moments.shown(None, NOW) == "never"
    assert [moments.age(seconds) for seconds in (40, 720, 10_800, 172_800)] == ["40 s", "12 min", "3 h", "2 days"]


def test_a_span_is_its_days() -> None:
    assert moments.days(moments.since("2d", NOW), NOW) == ["2026-11-22", "2026-11-23", "2026-11-24"]
