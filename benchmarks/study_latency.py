"""From a study's last image to HealthImaging's search: the fast path beside one job per batch and one job per image.

    python -m benchmarks.study_latency

The receiver's own batches and the importer itself, against the tests' HealthImaging on a virtual clock. What AWS does
not document is assumed, the same for all ways: StoreDICOM answers after 1 s and a body at 50 MB/s, a job takes 60 s and
5 ms a file, a wake-up needs 1 s and a call 30 ms. Jobs are started at the documented quota. Each study comes over one
association, 27 images of 0.5 MB a second, alone: what is measured is the way of one study, and not a crowd.
"""

from __future__ import annotations

import contextlib
import io
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from import_lambda.errors import TryLater
from import_lambda.reconcile import reconcile
from import_lambda.settings import Settings
from storescp.batches import Batches, Contributor, Instance, Limits
from storescp.settings import read_settings
from tests.testkit.import_scenarios import close_batch
from tests.testkit.memory_aws import MemoryAws
from tests.testkit.memory_dicomweb import MemoryDicomWeb
from tests.testkit.memory_world import LANDING, SETTINGS, World

STUDIES, FEWEST, MOST = 60, 1, 500
IMAGE_BYTES, IMAGES_PER_SECOND = 524_288, 27.0
WAKE_UP_SECONDS, CALL_SECONDS, STEP_SECONDS = 1.0, 0.03, 0.05
SERIES = ("1.2.3", "1.2.3.1")
CT = "1.2.840.10008.5.1.4.1.1.2"


def sizes(seed: int = 1) -> list[int]:
    """Images of each study: as many small as large ones, on a logarithmic scale."""
    chance = random.Random(seed)
    return [round(FEWEST * (MOST / FEWEST) ** chance.random()) for _ in range(STUDIES)]


def a_world() -> World:
    web = MemoryDicomWeb(store_seconds=1.0, bytes_per_second=50_000_000)
    return World(job_seconds=60.0, job_seconds_per_file=0.005, call_seconds=CALL_SECONDS, dicomweb=web)


def put(world: World, batch: str, number: int) -> None:
    key = f"incoming/{batch}/{SERIES[0]}/{SERIES[1]}/{SERIES[1]}.{number}.dcm"
    world.put(LANDING, key, b"DICM%d" % number, IMAGE_BYTES)


def found_at(world: World, images: int) -> float | None:
    """When HealthImaging's search knew the last image; None while it does not."""
    known = world.dicomweb.instances[SERIES]
    return max(one.visible_at for one in known.values()) if len(known) == images else None


def by_batch(images: int, settings: Settings) -> tuple[float, int]:
    """The product's way: seconds from the last image to the search, and jobs."""
    world = a_world()
    begun, last = world.time, (images - 1) / IMAGES_PER_SECOND
    defaults = read_settings({}, cores=2)
    limits = Limits(
        defaults.batch_quiet_seconds,
        defaults.batch_released_seconds,
        defaults.batch_max_age_seconds,
        defaults.batch_max_instances,
        defaults.batch_max_bytes,
    )
    batches, association = Batches(limits, "9f3a61c2"), Contributor()
    wake_ups: list[float] = []
    world.on_job_end = lambda job: wake_ups.append(job.ends_at + WAKE_UP_SECONDS)
    sent = 0
    while found_at(world, images) is None:
        while sent < images and begun + sent / IMAGES_PER_SECOND <= world.time:
            at = sent / IMAGES_PER_SECOND
            stamp = datetime.fromtimestamp(begun + at, UTC)
            instance = Instance(*SERIES, f"{SERIES[1]}.{sent}", CT, "CT1")
            placement = batches.place(association, instance, IMAGE_BYTES, (memoryview(b"DICM"),), at, stamp)
            put(world, placement.batch.batch_id, sent)
            batches.stored(placement, IMAGE_BYTES, "", at, stamp)
            sent += 1
            if sent == images:
                association.ended(was_released=True, monotonic_now=at)
        for closed in batches.close_due(world.time - begun, datetime.fromtimestamp(world.time, UTC)):
            close_batch(world, closed.batch_id, closed.instances_stored, world.time)
            wake_ups.append(world.time + WAKE_UP_SECONDS)
        if any(moment <= world.time for moment in wake_ups):
            wake_ups[:] = [moment for moment in wake_ups if moment > world.time]
            reconcile(MemoryAws(world), settings, world.time + 870)
        world.time += STEP_SECONDS
        world.tick()
    return (found_at(world, images) or 0.0) - begun - last, len(world.jobs)


def by_image(images: int) -> tuple[float, int]:
    """A job for each image, started as soon as the quota allows; nothing else costs this way any time."""
    world = a_world()
    begun, waiting, sent = world.time, list[int](), 0
    while found_at(world, images) is None:
        while sent < images and begun + sent / IMAGES_PER_SECOND <= world.time:
            put(world, f"one-{sent}", sent)
            waiting.append(sent)
            sent += 1
        with contextlib.suppress(TryLater):
            while waiting:
                name = f"one-{waiting[0]}"
                world.start(name, name, f"incoming/{name}/", f"jobs/{waiting[0]}/")
                waiting.pop(0)
        world.time += STEP_SECONDS
        world.tick()
    return (found_at(world, images) or 0.0) - begun - (images - 1) / IMAGES_PER_SECOND, len(world.jobs)


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """The 50th and the 95th percentile."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49], cuts[94]


WAYS: dict[str, Callable[[int], tuple[float, int]]] = {
    "fast path": lambda images: by_batch(images, replace(SETTINGS, fast_import="true")),
    "one job per batch": lambda images: by_batch(images, SETTINGS),
    "one job per image": by_image,
}


def measure(way: str, studies: list[int]) -> tuple[float, float, int]:
    """p50 and p95 of the seconds of all studies, and their jobs; the importer's log goes nowhere."""
    with contextlib.redirect_stdout(io.StringIO()):
        outcomes = [WAYS[way](images) for images in studies]
    return *percentiles([seconds for seconds, _ in outcomes]), sum(jobs for _, jobs in outcomes)


def main() -> None:
    """Print the table."""
    studies = sizes()
    print(
        f"{STUDIES} studies of {min(studies)} to {max(studies)} images of 0.5 MB; seconds on a virtual clock from the"
    )
    print("last image to HealthImaging's search. StoreDICOM: 1 s + 50 MB/s; a job: 60 s + 5 ms a file.\n")
    print(f"{'':>18} {'p50':>9} {'p95':>9} {'jobs':>7}")
    for way in WAYS:
        p50, p95, jobs = measure(way, studies)
        print(f"{way:>18} {p50:>7.1f} s {p95:>7.1f} s {jobs:>7}")


if __name__ == "__main__":
    main()
