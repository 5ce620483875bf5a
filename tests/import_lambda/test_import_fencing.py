"""Nothing is imported and quarantined, by seeds (quarantine.py, containing.py): stale index, frozen runs, no lease.

SEEDS=10000 in the environment tries as many; each draws its own world.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from import_lambda.reconcile import reconcile
from tests.import_lambda.test_import_two_at_once import Interleaver, NoLeaseAws
from tests.testkit.import_scenarios import (
    QUICK_DOUBTS,
    Instance,
    live,
    origin,
    problems,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_world import SETTINGS, World

SEEDS = int(os.environ.get("SEEDS", "60"))
BODIES = [b"DICM", b"DICM", b"BAD", b"FLAKY:1", b"FLAKY:2", b"WARN:45330", b"CONFLICT", b""]


def imported_and_quarantined(world: World) -> list[Instance]:
    """Instances that HealthImaging has and that a QUARANTINED# item names."""
    imported = {origin(key) for key in world.image_sets}
    items = [item for rows in world.ledger.values() for sk, item in rows.items() if sk.startswith("QUARANTINED#")]
    refused = {origin(item["object_key"]) for item in items if item["batch"] != "UNRECOGNIZED"}
    return sorted(imported & refused)


def draw_world(seed: int) -> tuple[World, list[Instance], random.Random]:
    draw = random.Random(seed)
    random.seed(seed)
    world = World(
        index_lag_seconds=draw.choice([0.5, 3.0, 10.0, 180.0]),
        manifest_lag_seconds=draw.choice([0.0, 20.0]),
        partial_results=draw.random() < 0.5,
        job_shown_after_seconds=draw.choice([0.0, 0.0, 5.0]),
        call_seconds=draw.choice([0.0, 0.05, 0.5]),
    )
    acknowledged: list[Instance] = []
    for number in range(1, draw.randint(2, 5)):
        bodies = [draw.choice(BODIES) for _ in range(draw.randint(1, 6))]
        bodies = [body + b" %d" % count if body.startswith(b"DICM") else body for count, body in enumerate(bodies)]
        acknowledged += receive(world, bodies, number=number, study=f"1.{number}")
    return world, acknowledged, draw


def try_seeds(try_one: Callable[[int], list[object]]) -> None:
    broken = {seed: found for seed in range(SEEDS) if (found := try_one(seed))}
    assert broken == {}


@pytest.mark.timeout(3600)
def test_two_runs_without_a_lease_and_a_stale_index_never_do_both() -> None:
    def try_one(seed: int) -> list[object]:
        world, acknowledged, _ = draw_world(seed)
        interleaver = Interleaver(seed)

        def invoke(name: str) -> None:
            def switch(moment: str, number: int, call: str) -> None:
                if moment == "before":
                    interleaver.switch(name)

            aws = NoLeaseAws(world, {"a": 0.0, "b": 240.0}[name], switch)
            reconcile(aws, SETTINGS, aws.now() + 870)

        live(world, lambda: interleaver.run(invoke, ["a", "b"]))
        wake_every_minute(world)
        return [*imported_and_quarantined(world), *problems(world, acknowledged, imports=3)]

    try_seeds(try_one)


@pytest.mark.timeout(3600)
def test_a_run_that_is_frozen_for_twenty_minutes_at_any_call_does_no_harm() -> None:
    """Frozen before a call or between its effect and its answer; others do all the work meanwhile."""

    def try_one(seed: int) -> list[object]:
        world, acknowledged, draw = draw_world(seed)
        at, moment, seen = draw.randint(1, 80), draw.choice(["before", "after"]), 0

        def freeze(when: str, _: int, name: str) -> None:
            nonlocal seen
            seen += when == moment
            if seen == at and when == moment:
                seen += 1_000_000
                for _ in range(20):
                    world.time += 60
                    wake(world, QUICK_DOUBTS)

        live(world, lambda: wake(world, QUICK_DOUBTS, freeze))
        wake_every_minute(world, QUICK_DOUBTS)
        return [*imported_and_quarantined(world), *problems(world, acknowledged, imports=3)]

    try_seeds(try_one)
