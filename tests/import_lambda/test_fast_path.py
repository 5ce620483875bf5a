"""The fast path (fast_path.py, confirming.py): small batches by StoreDICOM, and the job for all that is not clear.

Covers aws.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from import_lambda.aws import Item
from tests.import_lambda.test_import_crashes import KillAt
from tests.testkit.import_scenarios import (
    Instance,
    at_rest,
    batch_id,
    close_batch,
    family,
    good,
    problems,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_aws import KilledError
from tests.testkit.memory_world import LANDING, RESULTS, SETTINGS, World

FAST = replace(SETTINGS, fast_import="true")


def item_of(world: World, acknowledged: list[Instance]) -> Item:
    (item,) = family(world, acknowledged[0][0])
    return item


def stored_lines(world: World) -> list[Item]:
    """The lines of all stored-<n>.ndjson."""
    bodies = [world.buckets[RESULTS].get(key) for key in world.keys("jobs/", RESULTS) if "/stored-" in key]
    return [json.loads(line) for stored in bodies if stored for line in stored.body.splitlines()]


def test_a_small_batch_is_stored_in_one_run_and_needs_no_job() -> None:
    world = World()
    acknowledged = receive(world, good(3))
    begun = world.time
    wake(world, FAST)
    assert problems(world, acknowledged) == []
    assert (len(world.jobs), len(world.dicomweb.requests), world.time - begun) == (0, 1, 0)
    item = item_of(world, acknowledged)
    assert (item["received"], item["imported"], item["state"]) == (3, 3, "SETTLED")
    assert [line["inputFile"].split("/", 2)[2].removesuffix(".dcm") for line in stored_lines(world)] == [
        rest for _, rest in acknowledged
    ]
    assert all(
        line["importResponse"]["isPrimary"] and line["importResponse"]["imageSetId"] for line in stored_lines(world)
    )


@dataclass
class Trouble:
    """What goes wrong with a batch of six, and what must come of it: jobs, and imports of an instance at most."""

    jobs: int
    script: tuple[str, ...] = ()
    default: str = ""
    lag_seconds: float = 0.0
    imports: int = 1
    bodies: tuple[bytes, ...] = tuple(good(6))
    search_script: tuple[str, ...] = ()
    quarantined: int = 0
    non_primary: int = 0


TROUBLES = {
    "throttled once": Trouble(0, ("throttled",)),
    "throttled twice": Trouble(0, ("throttled", "throttled")),
    "throttled for ever": Trouble(1, default="throttled"),
    "an answer lost after the effect": Trouble(0, ("lost after",)),
    "an answer that nobody can read": Trouble(0, ("garbage",)),
    "a request that never arrived": Trouble(1, ("lost before",)),
    "an internal error": Trouble(1, ("broken",)),
    "no permission": Trouble(1, ("denied",)),
    "half refused": Trouble(1, ("half",)),
    "an index that lags half a minute": Trouble(0, lag_seconds=30),
    "an index that lags half a minute, and a lost answer": Trouble(0, ("lost after",), lag_seconds=30),
    "an index that lags ten minutes": Trouble(1, lag_seconds=600, imports=2),
    "a search that fails before": Trouble(1, search_script=("broken",)),
    "a search that fails afterwards": Trouble(0, search_script=("", "throttled")),
    "no permission to search": Trouble(1, search_script=("denied",) * 9),
    "one warned": Trouble(1, bodies=(*good(5), b"DICM WARN:45330"), imports=2),
    "one with a harmless warning": Trouble(0, bodies=(*good(5), b"DICM WARN:45569")),
    "one that is not primary": Trouble(1, bodies=(*good(5), b"CONFLICT"), imports=2, non_primary=1),
    "one that is no image": Trouble(1, bodies=(*good(5), b"BAD"), quarantined=1),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_whatever_is_not_clear_goes_the_way_of_the_job(name: str) -> None:
    trouble, world = TROUBLES[name], World()
    web = world.dicomweb
    web.script, web.default, web.search_lag_seconds = list(trouble.script), trouble.default, trouble.lag_seconds
    web.search_script = list(trouble.search_script)
    acknowledged = receive(world, trouble.bodies)
    others = receive(world, good(1), number=2, study="1.2.5")  # HealthImaging works: evidence for the jobs
    wake_every_minute(world, FAST)
    assert problems(world, acknowledged + others, trouble.imports) == []
    mine = [job for job in world.jobs.values() if acknowledged[0][0] in job.input_prefix]
    assert len(mine) <= trouble.jobs
    assert bool(mine) == bool(trouble.jobs)
    item = item_of(world, acknowledged)
    assert (item["quarantined"], item["non_primary"]) == (trouble.quarantined, trouble.non_primary)


def test_a_repeat_goes_by_job_since_finding_it_would_prove_nothing() -> None:
    world = World()
    first = receive(world, good(2))
    wake(world, FAST)
    again = [(first[0][0].replace("-0001", "-0002"), rest) for _, rest in first]
    for batch, rest in again:
        world.put(LANDING, f"incoming/{batch}/{rest}.dcm", b"DICM repaired")
    close_batch(world, again[0][0], len(again), world.time)
    world.dicomweb.script = ["lost before"]  # would be told apart by nothing
    wake_every_minute(world, FAST)
    assert len(world.jobs) == 1
    assert world.image_sets[f"incoming/{again[0][0]}/{again[0][1]}.dcm"] == 1


def test_a_twin_on_its_way_makes_a_lost_answer_prove_nothing() -> None:
    """Two batches with the same instance at once, and the second one's request never arrived."""
    world = World()
    first = receive(world, good(1))
    twin = (first[0][0].replace("-0001", "-0002"), first[0][1])
    world.put(LANDING, f"incoming/{twin[0]}/{twin[1]}.dcm", b"DICM another")
    close_batch(world, twin[0], 1, world.time)
    world.dicomweb.script = ["", "lost before"]
    wake_every_minute(world, FAST)
    assert world.image_sets[f"incoming/{twin[0]}/{twin[1]}.dcm"] == 1
    assert world.image_sets[f"incoming/{first[0][0]}/{first[0][1]}.dcm"] == 1


def hashed_study(world: World) -> list[Instance]:
    batch, rest = batch_id(world.time), f"x-{'0' * 32}/1.2/1.2.1"
    world.put(LANDING, f"incoming/{batch}/{rest}.dcm", b"DICM")
    close_batch(world, batch, 1, world.time)
    return [(batch, rest)]


LARGE: dict[str, Callable[[World], list[Instance]]] = {
    "more instances than allowed": lambda world: receive(world, good(11)),
    "no UIDs to search for": hashed_study,
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_not_small_goes_by_job_at_once(name: str) -> None:
    world = World()
    acknowledged = LARGE[name](world)
    wake(world, replace(FAST, fast_max_instances=10))
    assert (len(world.jobs), world.dicomweb.requests) == (1, [])
    wake_every_minute(world, FAST)
    assert problems(world, acknowledged) == []


def test_a_batch_of_more_bytes_than_allowed_goes_by_job() -> None:
    world = World()
    acknowledged = receive(world, good(2))
    wake(world, replace(FAST, fast_max_bytes=5))
    assert (len(world.jobs), world.dicomweb.requests) == (1, [])
    wake_every_minute(world, FAST)
    assert problems(world, acknowledged) == []


def test_while_it_fails_it_steps_aside_and_comes_back() -> None:
    world = World()
    world.dicomweb.default = "broken"
    acknowledged = []
    for number in range(1, 30):
        acknowledged += receive(world, good(1), number=number, study=f"1.2.{number}")
        wake(world, FAST)
        world.time += 20
    tried = world.dicomweb.outcomes["broken"]
    assert tried < 12, "it went on asking a service that fails"
    world.dicomweb.default = ""
    world.time += 900
    acknowledged += receive(world, good(1), number=99, study="1.2.99")
    wake(world, FAST)
    assert len(world.dicomweb.requests) == 1
    wake_every_minute(world, FAST)
    assert problems(world, acknowledged) == []


def test_many_batches_go_at_once_and_jobs_need_not_be_counted() -> None:
    world = World(starts_per_second=0.01, starts_burst=1)
    acknowledged = []
    for number in range(1, 41):
        acknowledged += receive(world, good(2), number=number, study=f"1.2.{number}")
    wake(world, FAST)
    assert problems(world, acknowledged) == []
    assert not world.jobs
    assert 4 < world.dicomweb.largest_round <= 8


def test_one_poisoned_batch_does_not_keep_the_others_from_the_fast_path() -> None:
    world = World()
    bad = receive(world, [b"BAD"], number=1, study="1.2.1")
    fine = receive(world, good(2), number=2, study="1.2.2")
    wake(world, FAST)
    assert item_of(world, fine)["state"] == "SETTLED"
    wake_every_minute(world, FAST)
    assert problems(world, bad + fine) == []


def lost_answer(world: World) -> list[Instance]:
    world.dicomweb.script = ["lost after"]
    return receive(world, good(3))


def half(world: World) -> list[Instance]:
    world.dicomweb.script = ["half"]
    return receive(world, good(4))


LIVES: dict[str, Callable[[World], list[Instance]]] = {
    "plain": lambda world: receive(world, good(3)),
    "two batches": lambda world: receive(world, good(2)) + receive(world, good(2), number=2, study="1.2.4"),
    "lost answer": lost_answer,
    "half refused": half,
    "one bad": lambda world: receive(world, [*good(2), b"BAD"]),
}


@pytest.mark.parametrize("life", LIVES)
def test_killed_at_any_call_nothing_is_lost_and_nothing_sent_twice(life: str) -> None:
    whole = KillAt(0, "never")
    world, acknowledged = live_through(life, whole)
    assert problems(world, acknowledged) == []
    for number in range(1, whole.calls + 1):
        for moment in ("before", "after"):
            kill = KillAt(number, moment)
            world, acknowledged = live_through(life, kill)
            assert kill.done
            assert problems(world, acknowledged) == [], f"killed {moment} call {number}"


def live_through(life: str, kill: KillAt) -> tuple[World, list[Instance]]:
    world = World()
    random.seed(1)
    acknowledged = LIVES[life](world)
    for _ in range(60):
        with suppress(KilledError):
            wake(world, FAST, kill)
        world.time += 60
        if at_rest(world):
            break
    wake_every_minute(world, FAST)
    return world, acknowledged


@pytest.mark.parametrize("seed", range(40))
def test_two_runs_in_each_others_way_at_any_call(seed: int) -> None:
    """Without a lease that holds: another run works through everything in the middle of some calls."""
    chance, world = random.Random(seed), World()
    random.seed(seed)
    acknowledged = receive(world, good(3)) + receive(world, good(2), number=2, study="1.2.4")
    world.dicomweb.script = [chance.choice(["", "lost after", "lost before", "throttled", "half"]) for _ in range(4)]
    world.dicomweb.search_lag_seconds = chance.choice([0.0, 5.0])
    depth = 0

    def interrupt(moment: str, number: int, name: str) -> None:
        nonlocal depth
        if depth == 0 and chance.random() < 0.1:
            depth = 1
            world.time += 91  # the lease is over
            wake(world, FAST, skew=1.0)
            depth = 0

    for _ in range(5):
        wake(world, FAST, interrupt)
        world.time += 60
    wake_every_minute(world, FAST)
    assert problems(world, acknowledged, imports=3) == []
