"""Quotas, throttling, faults of any call: starting.py, reconcile.py, applying.py, decisions.py, run.py."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from import_lambda.errors import error_of
from import_lambda.reconcile import reconcile
from import_lambda.settings import Settings
from tests.testkit.import_scenarios import (
    SCENARIOS,
    STRIDES,
    Instance,
    Interrupt,
    at_rest,
    good,
    live,
    problems,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_aws import MemoryAws
from tests.testkit.memory_world import SETTINGS, World


def many_batches(world: World, count: int, seconds_between: float = 20.0) -> list[Instance]:
    acknowledged = []
    for number in range(1, count + 1):
        acknowledged += receive(world, good(2), number=number, study=f"1.{number}")
        world.time += seconds_between
    return acknowledged


def wake_and_sum(world: World, settings: Settings = SETTINGS) -> dict[str, float]:
    """The minute's schedule until all is settled; returns the sum of each metric."""
    total: dict[str, float] = {}
    for _ in range(600):
        aws = MemoryAws(world)
        values = reconcile(aws, settings, aws.now() + 870)
        for name, value in (values or {}).items():
            total[name] = total.get(name, 0) + (value if isinstance(value, int | float) else len(value))
        if at_rest(world):
            return total
        world.time += 60
    raise AssertionError("not settled in ten hours")


def test_100_batches_after_an_outage_are_drained_at_the_quotas_rate_oldest_first_without_an_alarm() -> None:
    world = World(job_seconds=30)
    acknowledged = many_batches(world, 100)
    begun = world.time
    metrics = wake_and_sum(world)
    assert problems(world, acknowledged) == []
    assert metrics["ImportErrors"] == 0
    names = [job.job.name for job in world.jobs.values()]
    assert names == sorted(names)
    assert len(names) == 100
    assert world.start_times[-1] - begun <= 100 + 2 * 30  # a start a second, and the passes in between
    assert world.calls["medical-imaging:start"] == 100  # not one was throttled


def test_a_lower_rate_than_documented_is_waited_out() -> None:
    world = World(starts_per_second=0.25, starts_burst=1, tokens=1)
    acknowledged = many_batches(world, 20)
    begun = world.time
    metrics = wake_and_sum(world)
    assert problems(world, acknowledged) == []
    assert metrics["ImportErrors"] == 0
    names = [job.job.name for job in world.jobs.values()]
    assert names == sorted(names)
    assert world.start_times[-1] - begun <= 2 * 20 / 0.25


@pytest.mark.parametrize("believed", [100, 3])
def test_no_more_jobs_run_at_once_than_there_may(believed: int) -> None:
    world = World(concurrent_jobs=3, job_seconds=200)
    acknowledged = many_batches(world, 12)
    metrics = wake_and_sum(world, replace(SETTINGS, max_concurrent_jobs=believed))
    assert problems(world, acknowledged) == []
    assert metrics["ImportErrors"] == 0
    assert world.peak_jobs == 3
    names = [job.job.name for job in world.jobs.values()]
    assert names == sorted(names)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_refused_starts_are_shown_retried_slowly_and_dropped_never(code: str) -> None:
    world = World()
    acknowledged = many_batches(world, 8)
    settings = replace(SETTINGS, max_concurrent_jobs=2)
    errors = 0

    def refuse(moment: str, _: int, name: str) -> None:
        if (moment, name) == ("before", "medical-imaging:start"):
            raise error_of(code, 400)

    for _ in range(240):
        aws = MemoryAws(world, interrupt=refuse)
        errors += int((reconcile(aws, settings, aws.now() + 870) or {})["ImportErrors"])  # type: ignore[arg-type]
        world.time += 60
    assert errors >= 8
    assert world.calls["medical-imaging:start"] <= 8 * (6 + 240 * 60 / 700)
    begun = world.time
    wake_and_sum(world, settings)
    assert problems(world, acknowledged) == []
    assert world.time - begun < 3600


ALARMING = {"never imported", "failing job"}  # by themselves, while nothing proves that HealthImaging works

FAULTS = {
    "throttled": ("ThrottlingException", 429),
    "quota": ("ServiceQuotaExceededException", 402),
    "conflict": ("ConflictException", 409),
    "server error": ("InternalServerException", 500),
    "unknown server error": ("SomethingNew", 503),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_passing_fault_of_any_call_causes_no_alarm(scenario: str, moment: str) -> None:
    """`after`: the call took effect although its answer was an error."""
    build, settings = SCENARIOS[scenario]
    calls, number = 10_000, 0
    while number < calls:
        number += STRIDES.get(scenario, 1)
        world, seen = World(), 0
        random.seed(1)
        acknowledged = build(world)
        fault = list(FAULTS.values())[number % len(FAULTS)]

        def fail(when: str, _: int, name: str, number: int = number, fault: tuple[str, int] = fault) -> None:
            nonlocal seen
            seen += when == moment
            if seen == number and when == moment:
                seen += 1_000_000
                raise error_of(*fault)

        errors = 0

        def wake_up(world: World = world, fail: Interrupt = fail) -> None:
            nonlocal errors
            aws = MemoryAws(world, interrupt=fail)
            values = reconcile(aws, settings, aws.now() + 870) or {}
            errors += int(values.get("ImportErrors", 0))  # type: ignore[arg-type]

        live(world, wake_up)
        wake_every_minute(world, settings)
        if seen < 1_000_000:
            calls = seen
        assert problems(world, acknowledged) == [], f"call {number}"
        assert errors == 0 or scenario in ALARMING, f"call {number}"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_call_that_is_refused_for_a_while_is_made_again(scenario: str) -> None:
    build, settings = SCENARIOS[scenario]
    for name in ["s3:list", "s3:get", "s3:put", "s3:copy", "s3:delete", "dynamodb:put", "medical-imaging:get"]:
        world = World()
        random.seed(1)
        acknowledged = build(world)

        def refuse(moment: str, _: int, call: str, name: str = name) -> None:
            if moment == "before" and call == name:
                raise error_of("AccessDenied", 403)

        for _ in range(10):
            wake(world, settings, refuse)
            world.time += 60
        wake_every_minute(world, settings)
        assert problems(world, acknowledged) == [], name


def test_a_wake_up_that_finds_somebody_at_work_is_heard() -> None:
    """The second batch is closed while the first one's job is being started; its event must not wait for the minute."""
    world = World()
    acknowledged = receive(world, good(2))

    def interrupt(moment: str, _: int, name: str) -> None:
        if (moment, name) == ("after", "medical-imaging:start") and len(acknowledged) == 2:
            acknowledged.extend(receive(world, good(2), number=2, study="1.2.4"))
            wake(world)  # finds the lease taken, and leaves a mark

    wake(world, interrupt=interrupt)
    assert len(world.jobs) == 2
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


def test_a_run_ends_in_time_and_leaves_the_lease_to_the_next() -> None:
    world = World(starts_per_second=0.05, starts_burst=1, tokens=1)
    acknowledged = many_batches(world, 30, seconds_between=0)
    aws = MemoryAws(world)
    deadline = aws.now() + 60
    reconcile(aws, SETTINGS, deadline)
    assert aws.now() <= deadline
    assert world.ledger["LEASE"]["LEASE"]["owner"] == ""
    wake_and_sum(world)
    assert problems(world, acknowledged) == []


def test_a_wake_up_without_work_is_short_and_cheap() -> None:
    world = World()
    wake(world)
    begun, calls = world.time, sum(world.calls.values())
    wake(world)
    assert world.time == begun
    assert sum(world.calls.values()) - calls <= 14  # of them five counts of the index Open, for the gauges


def test_a_batch_that_waits_for_healthimaging_is_not_waited_for() -> None:
    world = World(job_seconds=3600)
    receive(world, good(2))
    wake(world)
    begun = world.time
    wake(world)
    assert world.time == begun


def test_events_lost_for_a_day_are_made_up_by_one_wake_up_after_the_other() -> None:
    world = World()
    acknowledged = many_batches(world, 50, seconds_between=1700)
    assert world.time - 1_795_000_000.0 > 85_000
    metrics = wake_and_sum(world)
    assert problems(world, acknowledged) == []
    assert metrics["ImportErrors"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_doubled_and_reordered_events_change_nothing(seed: int) -> None:
    world, draw = World(manifest_lag_seconds=draw_lag(seed)), random.Random(seed)
    acknowledged = []
    for number in range(1, 16):
        acknowledged += receive(world, [*good(2), b"BAD"], number=number, study=f"1.{number}")
        for _ in range(draw.choice([0, 0, 1, 2, 5])):
            wake(world)
            world.time += draw.choice([0, 0.1, 5, 70])
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    assert len(world.jobs) == 15


def draw_lag(seed: int) -> float:
    return [0.0, 3.0, 45.0][seed % 3]
