"""No batch stops another (containing.py, queueing.py): sixty studies beside each poison, in their usual time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from import_lambda.errors import error_of
from tests.testkit.import_scenarios import Instance, Interrupt, batch_id, close_batch, good, receive, wake
from tests.testkit.memory_world import LANDING, SETTINGS, MemoryJob, World

HEALTHY = 60


@dataclass
class Poison:
    """What lies in the bucket before the healthy studies come, and what goes wrong with calls about it."""

    prepare: Callable[[World], None]
    interrupt: Callable[[World], Interrupt] | None = None


def one_batch(world: World) -> None:
    receive(world, good(2), number=900, study="1.900")


def poisoned_batch() -> str:
    return batch_id(START, 900)


START = World().time


def call_about(world: World, name: str, effect: Callable[[World], None]) -> Interrupt:
    """Something happens at each call of a kind while the poisoned batch is in its turn."""

    def interrupt(moment: str, _: int, call: str) -> None:
        if (moment, call) == ("before", name) and world.about.startswith(poisoned_batch()):
            effect(world)

    return interrupt


def fail(code: str, status: int) -> Callable[[World], None]:
    def effect(_: World) -> None:
        raise error_of(code, status)

    return effect


def hang(world: World) -> None:
    """Longer than the lease, and then no answer."""
    world.time += 200
    raise error_of("RequestTimeout", 503)


def unrecognized(world: World) -> None:
    for number in range(3_000):
        world.put(LANDING, f"incoming/photos/{number}.jpg", b"x")


def refused(world: World) -> None:
    receive(world, [b"BAD"] * 2_000, number=900, study="1.900")


def bad_manifest(body: bytes, size: int | None = None) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        receive(world, good(2), number=900, study="1.900", close=False)
        world.put(LANDING, f"batches/{poisoned_batch()}.json", body, size)

    return prepare


def odd_status(world: World) -> None:
    def rename(job: MemoryJob) -> None:
        if poisoned_batch() in job.input_prefix:
            job.job = job.job._replace(status="PAUSED", ended_at=0.0)

    one_batch(world)
    world.on_job_end = rename


def one_greedy_device(world: World) -> None:
    for number in range(900, 1_200):
        batch = receive(world, good(1), number=number, study=f"1.{number}", close=False)[0][0]
        close_batch(world, batch, 1, world.time, calling_ae_titles=["GREEDY"])


DEEP = b'{"batch": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
POISONS = {
    "starts that conflict for ever": Poison(
        one_batch, lambda world: call_about(world, "medical-imaging:start", fail("ConflictException", 409))
    ),
    "starts that fail for ever": Poison(
        one_batch, lambda world: call_about(world, "medical-imaging:start", fail("InternalServerException", 500))
    ),
    "starts that are throttled for ever": Poison(
        one_batch, lambda world: call_about(world, "medical-imaging:start", fail("ThrottlingException", 429))
    ),
    "starts that hang": Poison(one_batch, lambda world: call_about(world, "medical-imaging:start", hang)),
    "listings that hang": Poison(one_batch, lambda world: call_about(world, "s3:list", hang)),
    "a manifest that is not JSON": Poison(bad_manifest(b"\x00")),
    "a manifest of a hundred thousand brackets": Poison(bad_manifest(DEEP)),
    "a manifest of ten gigabytes": Poison(bad_manifest(b"{}", 10**10)),
    "a manifest with groups of nonsense": Poison(
        bad_manifest(json.dumps({"batch": batch_id(START, 900), "instances": 2, "groups": [7]}).encode())
    ),
    "thousands of unrecognized objects": Poison(unrecognized),
    "thousands of refused images": Poison(refused),
    "a job status that nobody knows": Poison(odd_status),
    "one device with hundreds of batches": Poison(one_greedy_device),
}


def healthy_batches(world: World) -> list[Instance]:
    acknowledged: list[Instance] = []
    for number in range(1, HEALTHY + 1):
        acknowledged += receive(world, good(2), number=number, study=f"1.{number}")
    return acknowledged


def minutes_until_settled(world: World, acknowledged: list[Instance], interrupt: Interrupt | None) -> int:
    """Wake-ups, a minute from the begin of one to the begin of the next, until all are settled."""
    names = {f"BATCH#{batch}" for batch, _ in acknowledged}
    begun = world.time
    for _ in range(120):
        due = world.time + 60
        wake(world, SETTINGS, interrupt)
        states = {world.ledger[name].get("BATCH", {}).get("state") for name in names}
        if states == {"SETTLED"}:
            return round((world.time - begun) / 60)
        world.time = max(world.time, due)
    return 10_000


@pytest.mark.parametrize("name", POISONS)
def test_sixty_healthy_studies_settle_in_their_usual_time_beside(name: str) -> None:
    random.seed(5)
    usual = World(call_seconds=0.01)
    expected = minutes_until_settled(usual, healthy_batches(usual), None)
    world, poison = World(call_seconds=0.01), POISONS[name]
    poison.prepare(world)
    acknowledged = healthy_batches(world)
    interrupt = poison.interrupt(world) if poison.interrupt else None
    # A call that hangs takes its own time, once or twice: the batch is put off then. Two devices share the starts.
    more = 12 if "hang" in name else expected + 3 if "device" in name else 3
    assert minutes_until_settled(world, acknowledged, interrupt) <= expected + more


def test_healthy_batches_overtake_one_that_is_in_trouble() -> None:
    """Ten old batches that cannot be started, and none of the younger ones waits for them twice."""
    world = World()
    random.seed(6)
    for number in range(900, 910):
        receive(world, good(1), number=number, study=f"1.{number}")

    def refuse(moment: str, _: int, call: str) -> None:
        if (moment, call) == ("before", "medical-imaging:start") and "-09" in world.about:
            raise error_of("ConflictException", 409)

    wake(world, SETTINGS, refuse)
    acknowledged = healthy_batches(world)
    assert minutes_until_settled(world, acknowledged, refuse) <= 6
