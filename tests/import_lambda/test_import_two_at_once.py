"""Two importers at once (lease.py, ledger.py): the lease is lost at any call, or there is none; clocks disagree."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from import_lambda.aws import Item
from import_lambda.reconcile import reconcile
from import_lambda.settings import Settings
from tests.testkit.import_scenarios import SCENARIOS, STRIDES, live, problems, wake, wake_every_minute
from tests.testkit.memory_aws import MemoryAws
from tests.testkit.memory_world import World


class Interleaver:
    """Runs functions in threads of which only one moves at a time; who moves next is drawn at each call."""

    def __init__(self, seed: int) -> None:
        self.draw, self.turn, self.alive = random.Random(seed), "", list[str]()
        self.changed = threading.Condition()
        self.failures: list[BaseException] = []

    def next_turn(self) -> None:
        self.turn = self.draw.choice(self.alive) if self.alive else ""
        self.changed.notify_all()

    def switch(self, name: str) -> None:
        with self.changed:
            self.next_turn()
            self.changed.wait_for(lambda: self.turn == name)

    def live(self, name: str, function: Callable[[str], None]) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.turn == name)
        try:
            function(name)
        except BaseException as error:  # noqa: BLE001 - raised again in run(), by the thread that pytest watches
            self.failures.append(error)
        with self.changed:
            self.alive.remove(name)
            self.next_turn()

    def run(self, function: Callable[[str], None], names: list[str]) -> None:
        self.alive = list(names)
        threads = [threading.Thread(target=self.live, args=(name, function)) for name in names]
        for thread in threads:
            thread.start()
        with self.changed:
            self.next_turn()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


class NoLeaseAws(MemoryAws):
    """Everybody always gets the lease."""

    def get_item(self, pk: str, sk: str) -> Item | None:
        return None if (pk, sk) == ("LEASE", "LEASE") else super().get_item(pk, sk)

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: object = None) -> None:
        if (item["pk"], item["sk"]) != ("LEASE", "LEASE"):
            super().put_item(item, name, operator, value)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_any_lease_two_importers_still_agree(scenario: str) -> None:
    build, settings = SCENARIOS[scenario]
    for seed in range(40):
        world = World()
        random.seed(seed)
        acknowledged = build(world)
        interleaver = Interleaver(seed)

        def invoke(name: str, world: World = world, interleaver: Interleaver = interleaver) -> None:
            def switch(moment: str, number: int, call: str) -> None:
                if moment == "before":
                    interleaver.switch(name)

            aws = NoLeaseAws(world, {"a": 0.0, "b": 240.0}[name], switch)
            reconcile(aws, settings, aws.now() + 870)

        live(world, lambda interleaver=interleaver, invoke=invoke: interleaver.run(invoke, ["a", "b"]))  # type: ignore[misc]
        wake_every_minute(world, settings)
        assert problems(world, acknowledged) == [], f"seed {seed}"


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("token_seconds", [86_400.0, -1.0], ids=["token honoured", "token forgotten"])
def test_whoever_loses_the_lease_at_any_call_does_no_harm(scenario: str, token_seconds: float) -> None:
    """The holder stops for ten minutes at call n; another importer does all the work; then the first goes on."""
    build, settings = SCENARIOS[scenario]
    calls, number = 1_000, 0
    while number < calls:
        number += STRIDES.get(scenario, 1)
        world = World(token_seconds=token_seconds)
        random.seed(1)
        acknowledged = build(world)
        seen = 0

        def pause(moment: str, _: int, name: str, world: World = world, number: int = number) -> None:
            nonlocal seen
            seen += moment == "before"
            if seen == number and moment == "before":
                seen += 1_000_000
                world.time += 600
                wake(world, settings)
                world.time += 60
                wake(world, settings)

        live(world, lambda world=world, pause=pause: wake(world, settings, pause))  # type: ignore[misc]
        wake_every_minute(world, settings)
        if seen < 1_000_000:
            calls = seen
        # A second job of the same batch imports its objects again as versions: never as another instance.
        assert problems(world, acknowledged, imports=1 if token_seconds > 0 else 2) == [], f"call {number}"


@pytest.mark.parametrize("skew", [-900.0, -120.0, 120.0, 900.0])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_clock_that_is_minutes_wrong_changes_nothing_but_delays(scenario: str, skew: float) -> None:
    build, settings = SCENARIOS[scenario]
    world = World()
    acknowledged = build(world)
    wake_every_minute(world, settings, skew=skew)
    assert problems(world, acknowledged) == []


@pytest.mark.parametrize("lag", [2.0, 90.0])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_index_that_lags_behind_changes_nothing(scenario: str, lag: float) -> None:
    build, settings = SCENARIOS[scenario]
    world = World(index_lag_seconds=lag, call_seconds=0.03)
    acknowledged = build(world)
    wake_every_minute(world, settings)
    assert problems(world, acknowledged) == []


def test_an_orphan_is_adopted_by_a_fast_clock_while_its_receiver_still_writes() -> None:
    build, _ = SCENARIOS["orphan"]
    world = World()
    acknowledged = build(world)
    eager = replace(Settings(**vars(SCENARIOS["orphan"][1])), orphan_after_seconds=60)
    world.time += 30
    wake(world, eager, skew=600)
    batch = acknowledged[0][0]
    late = (batch, "1.2.3/1.2.3.1/1.2.3.7")
    world.put("landing", f"incoming/{late[0]}/{late[1]}.dcm", b"DICM late")
    from tests.testkit.import_scenarios import close_batch

    close_batch(world, batch, 4, world.time)
    wake_every_minute(world, eager, skew=600)
    assert problems(world, [*acknowledged, late]) == []
    assert world.ledger[f"BATCH#{batch}"]["BATCH"]["expected"] == 4
