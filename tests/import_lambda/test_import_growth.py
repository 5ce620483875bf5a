"""What a wake-up costs depends on what is open, not on what was settled: discovery.py, scanning.py, cursor.py."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from import_lambda.keys import iso
from import_lambda.ledger import CLOSED, IMPORTING, Batch
from tests.testkit.import_scenarios import (
    batch_id,
    batch_item,
    good,
    last_metrics,
    live,
    problems,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_world import LANDING, World

DAY = 86_400.0


def age(world: World, settled: int) -> None:
    """A month of settled batches: delete markers below incoming/ and batches/, and nothing else."""
    for number in range(settled):
        batch = batch_id(world.time - 30 * DAY * (settled - number) / settled - DAY, number)
        world.buckets[LANDING].markers[f"incoming/{batch}/"] += 60
        world.buckets[LANDING].markers[f"batches/{batch}.json"] += 1


def calls_of(world: World, act: Callable[[], None]) -> Counter[str]:
    before = Counter(world.calls)
    act()
    return world.calls - before


@pytest.mark.parametrize("settled", [0, 300_000])
def test_a_wake_up_costs_the_same_after_a_month(settled: int) -> None:
    world = World()
    wake(world)
    age(world, settled)
    world.seconds_per_marker = 1 / 150_000  # 18 million of them: two minutes, as was seen
    world.time += 60
    begun = world.time
    random.seed(1)
    acknowledged = receive(world, good(3))
    calls = calls_of(world, lambda: wake(world))
    assert calls["s3:list"] <= 12
    live(world, lambda: wake(world))
    assert problems(world, acknowledged) == []
    assert world.time - begun <= 200


def test_the_daily_look_at_everything_goes_in_slices_and_finds_what_was_forgotten() -> None:
    world = World()
    wake(world)
    age(world, 500)
    world.seconds_per_marker = 1 / 150_000
    old = batch_id(world.time - 20 * DAY)
    world.put(LANDING, f"incoming/{old}/1.2.3/1.2.3.1/1.2.3.1.1.dcm", b"DICM")
    world.put(LANDING, "incoming/!odd", b"x")
    world.time += 1000
    most = 0

    def wake_up() -> None:
        nonlocal most
        most = max(most, calls_of(world, lambda: wake(world))["s3:list"])

    for _ in range(30 * 60):
        wake_up()
        world.time += 60
    assert world.image_sets[f"incoming/{old}/1.2.3/1.2.3.1/1.2.3.1.1.dcm"] == 1
    assert world.keys("incoming/") == []
    assert most <= 70


def test_an_hour_that_cannot_be_listed_stops_nothing_else() -> None:
    world = World()
    wake(world)
    hour = batch_id(world.time - 2 * 3600)
    world.buckets[LANDING].markers[f"incoming/{hour}/"] = 10**9
    world.seconds_per_marker = 1 / 150_000
    world.time += DAY
    acknowledged = receive(world, good(2))
    wake_every_minute(world, minutes=90)
    assert problems(world, acknowledged) == []


def test_a_manifest_that_waited_for_days_while_nobody_looked_is_found() -> None:
    world = World()
    wake(world)
    acknowledged = receive(world, good(2))
    world.time += 9 * DAY
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


def test_an_orphan_with_an_id_of_the_future_is_adopted_and_one_that_waits_is_shown() -> None:
    world = World()
    future = batch_id(world.time + 5 * DAY)
    world.put(LANDING, f"incoming/{future}/1.2.3/1.2.3.1/1.2.3.1.1.dcm", b"DICM")
    orphan = receive(world, good(1), number=7, close=False)
    for _ in range(10):
        world.time += 60
        wake(world)
    assert 400 <= last_metrics(world)["OldestOrphanSeconds"] <= 700
    wake_every_minute(world)
    assert world.keys("incoming/") == []
    assert batch_item(world, orphan[0])["closed_by"] == "orphan"
    assert last_metrics(world)["OldestOrphanSeconds"] == 0


def test_ten_thousand_unsettled_batches_are_one_query_and_few_other_calls() -> None:
    world = World(concurrent_jobs=1)
    wake(world)
    for number in range(10_000):
        batch = Batch(batch_id(world.time - 10_000 + number, number), state=CLOSED, revision=1, expected=1)
        batch.waiting_since = batch.closed_at = "2026-11-18T11:00:00.000Z"
        batch.next_try_at = iso(world.time + 900) if number else ""
        if not number:
            batch.state, batch.job_id = IMPORTING, "none"
        item = batch.item()
        world.ledger[item["pk"]]["BATCH"] = world.unsettled[item["pk"]] = item
    world.time += 1
    calls = calls_of(world, lambda: wake(world))
    assert sum(calls.values()) <= 60, calls
