"""Crash everywhere: the importer is killed before and after each single call it makes, and then woken again.

Covers applying.py.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.testkit.import_scenarios import SCENARIOS, STRIDES, live, problems, wake, wake_every_minute
from tests.testkit.memory_aws import KilledError
from tests.testkit.memory_world import World


@dataclass
class KillAt:
    """Kills the function at one call of its life, counted over all invocations."""

    number: int
    moment: str
    calls: int = 0
    done: bool = False

    def __call__(self, moment: str, number: int, name: str) -> None:
        self.calls += moment == "before"
        if not self.done and self.calls == self.number and moment == self.moment:
            self.done = True
            raise KilledError(f"{moment} call {self.number}, {name}")


def live_through(scenario: str, kill: KillAt) -> tuple[World, list[tuple[str, str]]]:
    build, settings = SCENARIOS[scenario]
    world = World()
    random.seed(1)  # the jitter, so that call n is the same one in every life
    acknowledged = build(world)

    def wake_up() -> None:
        with suppress(KilledError):
            wake(world, settings, kill)

    live(world, wake_up)
    wake_every_minute(world, settings)
    return world, acknowledged


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_lost_whichever_call_is_the_last(scenario: str) -> None:
    whole = KillAt(0, "never")
    world, acknowledged = live_through(scenario, whole)
    assert problems(world, acknowledged) == []
    assert whole.calls > 20
    for number in range(1, whole.calls + 1, STRIDES.get(scenario, 1)):
        for moment in ("before", "after"):
            kill = KillAt(number, moment)
            world, acknowledged = live_through(scenario, kill)
            assert kill.done
            assert problems(world, acknowledged) == [], f"killed {moment} call {number}"
