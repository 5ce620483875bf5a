"""Is it healthy? health.py, device_activity.py, gathering.py, words.py, ledger.py, deployment.py.

Covers account/health.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from storescp_cfn.account import device_activity, status
from storescp_cfn.account.screen import Level, Screen
from tests.account import golden
from tests.account.conftest import Account

NOW = datetime(2026, 11, 24, 10, 42, tzinfo=UTC)
MILLISECONDS = int(NOW.timestamp() * 1000) - 60_000
BATCH = "20261124T100315123Z-9f3a61c2-0001"
JUNK_BATCH = "20261124T101500000Z-9f3a61c2-0002"


def device(title: str, batch: str, stored: str, **counts: int) -> list[dict[str, Any]]:
    return [
        {"pk": f"DEVICE#{title}", "sk": f"DAY#2026-11-24#BATCH#{batch}", "last_stored_at": stored, **counts},
        {"pk": "DEVICES", "sk": f"DEVICE#{title}", "last_contact_at": stored},
    ]


def quarantined(number: int, title: str, kind: str) -> dict[str, Any]:
    return {
        "pk": f"BATCH#{JUNK_BATCH}",
        "sk": f"QUARANTINED#1.2.{number}",
        "open": "QUARANTINED",
        "open_since": "2026-11-24T10:16:00.000Z",
        "calling_ae_title": title,
        "kind": kind,
        "reason": "<attribute StudyDescription is too long>",
    }


def subjects(screen: Screen, level: Level) -> list[str]:
    return [line.subject for line in screen.lines if line.level == level]


@pytest.fixture
def healthy(account: Account) -> Account:
    group = account.deployment.physical_ids("AWS::ElasticLoadBalancingV2::TargetGroup")[0]
    account.stack.client("elbv2").register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.2.5", "Port": 11112}])
    return account


def test_all_is_well(healthy: Account) -> None:
    healthy.put(*device("CT1", BATCH, "2026-11-24T10:40:00.000Z", received=60, imported=60))
    screen = status.overview(healthy.deployment, NOW)
    assert screen.exit_status == 0
    golden.check("status-all-well", screen)


TROUBLED_ITEMS = (
    *device("CT1", BATCH, "2026-11-24T10:03:20.000Z", received=60, imported=60),
    *device("MR1", JUNK_BATCH, "2026-11-24T10:15:10.000Z", received=5, imported=3, quarantined=2, warned=1),
    quarantined(1, "MR1", "ValidationException"),
    quarantined(2, "MR1", "ValidationException"),
    {
        "pk": f"BATCH#{BATCH}",
        "sk": "BATCH",
        "batch": BATCH,
        "unsettled": "1",
        "state": "INCOMPLETE",
        "missing": 4,
        "calling_ae_titles": ["CT1"],
        "studies": ["1.2.3.4"],
    },
    {
        "pk": "BATCH#20261124T083000000Z-9f3a61c2-0000",
        "sk": "BATCH",
        "batch": "20261124T083000000Z-9f3a61c2-0000",
        "unsettled": "1",
        "state": "IMPORTING",
        "received": 12,
        "closed_at": "2026-11-24T08:31:00.000Z",
    },
    {"pk": "INSTANCE#1.2.9", "sk": "BATCH#b#1.2", "open": "WARNED", "open_since": "2026-11-24T10:16:00.000Z"},
)
LOGGED_TROUBLE = (
    {
        "message": "association rejected",
        "time": "2026-11-24T10:30:00.000Z",
        "reason": "CalledAETitleNotRecognized",
        "peer": "10.1.2.3:40112",
        "calling_ae_title": "US3",
        "called_ae_title": "STORSCP",
    },
    {
        "message": "association ended",
        "time": "2026-11-24T10:31:00.000Z",
        "calling_ae_title": "CT1",
        "failures": {"A700": 7},
    },
)


@contextmanager
def ringing(account: Account) -> Iterator[None]:
    """An alarm of the stack rings meanwhile."""
    alarm = account.deployment.physical_ids("AWS::CloudWatch::Alarm")[0]
    cloudwatch = account.stack.client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    yield
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="a test")


def test_each_trouble_is_a_line_and_the_worst_is_first(healthy: Account) -> None:
    healthy.put(*TROUBLED_ITEMS)
    healthy.log(*LOGGED_TROUBLE, milliseconds=MILLISECONDS)
    with ringing(healthy):
        screen = status.overview(healthy.deployment, NOW)

    assert screen.exit_status == 1
    assert subjects(screen, Level.STOP) == ["missing"]
    assert set(subjects(screen, Level.WARNING)) == {"alarm", "importer", "quarantine", "warned", "rejected", "refused"}
    assert screen.sorted_lines[0].subject == "missing"
    golden.check("status-troubles", screen)


def test_no_receiver_is_a_stop(account: Account) -> None:
    group = account.deployment.physical_ids("AWS::ElasticLoadBalancingV2::TargetGroup")[0]
    client = account.stack.client("elbv2")
    targets = [row["Target"] for row in client.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]]
    if targets:
        client.deregister_targets(TargetGroupArn=group, Targets=targets)
    screen = status.overview(account.deployment, NOW)
    assert subjects(screen, Level.STOP) == ["receivers"]


def test_what_one_device_sent_since_a_moment(account: Account) -> None:
    account.put(
        *device("MR1", BATCH, "2026-11-24T08:00:00.000Z", received=9, imported=9),
        *device("MR1", JUNK_BATCH, "2026-11-24T10:15:10.000Z", received=5, imported=3, quarantined=2),
    )
    screen = status.of_device(account.deployment, "MR1", "09:30", NOW)
    assert screen.facts["received"] == 5
    assert screen.exit_status == 1
    golden.check("status-device", screen)


def test_a_device_that_sent_nothing_is_something_to_do(account: Account) -> None:
    screen = status.of_device(account.deployment, "CT9", "2h", NOW)
    assert subjects(screen, Level.WARNING) == ["nothing"]


def test_lines_of_the_log_that_say_how_often_count_so_often() -> None:
    record: dict[str, object] = {"message": "association rejected", "reason": "CallingAETitleNotRecognized"}
    log = device_activity.extract([{**record, "not_logged_before": 40}, record])
    assert [one.times for one in log.rejections] == [42]
