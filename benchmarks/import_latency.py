"""From the last image to the image set: one job per batch beside one job per image, on a virtual clock.

    python -m benchmarks.import_latency

HealthImaging is the one of the importer's tests, in memory: StartDICOMImportJob once a second with a burst of two, a
hundred jobs at once (the documented quotas). How long a job takes is documented nowhere, so it is an assumption, the
same for both ways and printed with each row. The batches are made by the receiver's own code with its own defaults.
Seconds are virtual: they say what the quotas allow, and not how fast this machine is.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from import_lambda.errors import TryLater
from import_lambda.reconcile import reconcile
from storescp.batches import Batch, Batches, Contributor, Instance, Limits
from storescp.settings import read_settings
from tests.testkit.import_scenarios import close_batch
from tests.testkit.memory_aws import MemoryAws
from tests.testkit.memory_world import LANDING, SETTINGS, World

WAKE_UP_SECONDS = 1.0  # from an event to the function's first call
CALL_SECONDS = 0.03  # each of its calls
SLICES = 1_000


@dataclass(frozen=True)
class Outcome:
    """What a way of importing needed for one study."""

    jobs: int
    seconds_after_last_image: float


def arrivals(associations: int) -> list[float]:
    """When each slice is stored: 27 a second over one association; 10 associations a second of one image each."""
    return [number / (27.0 if associations == 1 else 10.0) for number in range(SLICES)]


def a_world(job_seconds: float) -> World:
    return World(job_seconds=job_seconds, job_seconds_per_file=0.005, call_seconds=CALL_SECONDS)


def instance_key(batch: str, number: int) -> str:
    return f"incoming/{batch}/1.2.3/1.2.3.1/1.2.3.1.{number}.dcm"


def one_job_per_batch(stored_at: list[float], associations: int, job_seconds: float) -> Outcome:
    """Receiver's batches, wake-ups, importer; each association is released after its last image."""
    world = a_world(job_seconds)
    begun = world.time
    limits = read_settings({}, cores=2)
    batches = Batches(
        Limits(
            limits.batch_quiet_seconds,
            limits.batch_released_seconds,
            limits.batch_max_age_seconds,
            limits.batch_max_instances,
            limits.batch_max_bytes,
        ),
        "9f3a61c2",
    )
    pending = list(enumerate(stored_at))
    only_one = Contributor() if associations == 1 else None
    wake_ups: list[float] = []
    world.on_job_end = lambda job: wake_ups.append(job.ends_at + WAKE_UP_SECONDS)
    while pending or batches.open_batches or world.running or wake_ups:
        receive_due(world, batches, pending, begun, only_one)
        for closed in batches.close_due(world.time - begun, datetime.fromtimestamp(world.time, UTC)):
            put_manifest(world, closed)
            wake_ups.append(world.time + WAKE_UP_SECONDS)
        if wake_ups and min(wake_ups) <= world.time:
            wake_ups = [wake_up for wake_up in wake_ups if wake_up > world.time]
            reconcile(MemoryAws(world), SETTINGS, world.time + 870)
        world.time += 0.05
        world.tick()
    last = max(job.ends_at for job in world.jobs.values())
    assert sum(world.image_sets.values()) == SLICES, "not every slice was imported, or one was twice"
    return Outcome(len(world.jobs), last - begun - stored_at[-1])


def receive_due(
    world: World, batches: Batches, pending: list[tuple[int, float]], begun: float, only_one: Contributor | None
) -> None:
    while pending and begun + pending[0][1] <= world.time:
        number, at = pending.pop(0)
        association = only_one or Contributor()
        stamp = datetime.fromtimestamp(begun + at, UTC)
        instance = Instance("1.2.3", "1.2.3.1", f"1.2.3.1.{number}", "1.2.840.10008.5.1.4.1.1.2", "CT1")
        placement = batches.place(association, instance, 524_288, (memoryview(b"DICM"),), at, stamp)
        world.put(LANDING, instance_key(placement.batch.batch_id, number), b"DICM%d" % number)
        batches.stored(placement, 524_288, "", at, stamp)
        if association is not only_one or not pending:
            association.ended(was_released=True, monotonic_now=at)


def put_manifest(world: World, batch: Batch) -> None:
    close_batch(world, batch.batch_id, batch.instances_stored, world.time)


def one_job_per_image(stored_at: list[float], job_seconds: float) -> Outcome:
    """Every image starts a job as soon as the quotas allow; nothing else costs it any time."""
    world = a_world(job_seconds)
    begun, waiting, number = world.time, list[int](), 0
    while number < SLICES or waiting or world.running:
        while number < SLICES and begun + stored_at[number] <= world.time:
            world.put(LANDING, instance_key(f"one-{number}", number), b"DICM%d" % number)
            waiting.append(number)
            number += 1
        with contextlib.suppress(TryLater):
            while waiting:
                world.start(
                    f"one-{waiting[0]}", f"one-{waiting[0]}", f"incoming/one-{waiting[0]}/", f"jobs/{waiting[0]}/"
                )
                waiting.pop(0)
        world.time += 0.05
        world.tick()
    return Outcome(len(world.jobs), max(job.ends_at for job in world.jobs.values()) - begun - stored_at[-1])


def drain(count: int) -> tuple[float, bool]:
    """Seconds until the last of `count` waiting batches has its job, and whether they were started in order."""
    world = a_world(30.0)
    for number in range(1, count + 1):
        batch = f"20261118T{number:09d}Z-9f3a61c2-{number:04d}"
        world.put(LANDING, instance_key(batch, number), b"DICM%d" % number)
        close_batch(world, batch, 1, world.time)
    begun = world.time
    while len(world.jobs) < count:
        reconcile(MemoryAws(world), SETTINGS, world.time + 870)
        world.time += 1
    names = [job.job.name for job in world.jobs.values()]
    return world.start_times[-1] - begun, names == sorted(names)


def quietly(function: Callable[[], Outcome]) -> Outcome:
    """The importer prints its log; a table is to be read."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function()


def main() -> None:
    """Print the table."""
    print(f"A study of {SLICES} slices; seconds from the last image to the end of the last job (virtual clock).")
    print("HealthImaging as documented: 1 start a second (burst 2), 100 jobs at once.\n")
    print(f"{'associations':>12} {'a job takes':>22} {'one job per batch':>22} {'one job per image':>22} {'ratio':>8}")
    for associations in (1, 1_000):
        for job_seconds in (1.0, 5.0, 10.0, 30.0):
            stored_at = arrivals(associations)
            job_per_batch = quietly(partial(one_job_per_batch, stored_at, associations, job_seconds))
            job_per_image = quietly(partial(one_job_per_image, stored_at, job_seconds))
            ratio = job_per_image.seconds_after_last_image / job_per_batch.seconds_after_last_image
            took = f"{job_seconds:g} s + 5 ms a file"
            columns = [
                f"{each.seconds_after_last_image:8.1f} s {each.jobs:5d} jobs" for each in (job_per_batch, job_per_image)
            ]
            print(f"{associations:>12} {took:>22} {columns[0]:>22} {columns[1]:>22} {ratio:>7.0f}x")
    with contextlib.redirect_stdout(io.StringIO()):
        seconds, in_order = drain(100)
    order = "oldest first" if in_order else "NOT in order"
    print(f"\n100 batches waiting after an outage: all started after {seconds:.0f} s, {order}; the quota allows 98 s.")


if __name__ == "__main__":
    main()
