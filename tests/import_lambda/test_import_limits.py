"""A job's limits, and what a receiver counted and is not there: splitting.py, starting.py, closing.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.testkit.import_scenarios import (
    batch_id,
    batch_item,
    close_batch,
    good,
    key_of,
    last_metrics,
    problems,
    quarantine_reasons,
    receive,
    wake_every_minute,
)
from tests.testkit.memory_world import LANDING, SETTINGS, World

# - limits -


def test_the_5001st_file_is_imported_by_another_job() -> None:
    world = World()
    acknowledged = receive(world, good(5_001))
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    assert sorted(len(job.scanned) for job in world.jobs.values()) == [2_500, 2_501]


def test_a_service_with_a_lower_limit_than_ours_makes_us_split() -> None:
    world = World(files_per_job=4)
    acknowledged = receive(world, good(10))
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    assert {job.job.status for job in world.jobs.values() if len(job.scanned) <= 4} == {"COMPLETED"}


@pytest.mark.parametrize("sizes", [[6_000_000_000] * 3, [10_000_000_001, 5, 5]])
def test_no_job_is_given_more_bytes_than_it_takes(sizes: list[int]) -> None:
    world = World()
    acknowledged = receive(world, good(3), close=False)
    for instance, size in zip(acknowledged, sizes, strict=True):
        world.put(LANDING, key_of(instance), b"DICM" + instance[1].encode(), size)
    close_batch(world, acknowledged[0][0], 3, world.time)
    all_sizes = {instance[1].rpartition("/")[2]: size for instance, size in zip(acknowledged, sizes, strict=True)}
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    for job in world.jobs.values():
        names = [key.rpartition("/")[2].removesuffix(".dcm") for key in job.scanned]
        assert sum(all_sizes[name] for name in names) <= SETTINGS.max_bytes_per_job
    too_large = [size for size in sizes if size > SETTINGS.max_bytes_per_job]
    assert len(quarantine_reasons(world)) == len(too_large)


def test_no_job_is_given_more_folders_than_it_takes() -> None:
    """A study and a series for each of 5,001 instances are 10,002 folders."""
    world = World()
    batch = batch_id(world.time)
    acknowledged = [(batch, f"1.{number}/1.{number}.1/1.{number}.1.1") for number in range(5_001)]
    for instance in acknowledged:
        world.put(LANDING, key_of(instance), b"DICM" + instance[1].encode())
    close_batch(world, batch, len(acknowledged), world.time)
    wake_every_minute(world, replace(SETTINGS, max_files_per_job=6_000))
    assert problems(world, acknowledged) == []
    assert max(len({key.rpartition("/")[0] for key in job.scanned}) for job in world.jobs.values()) < 5_000


# - what a receiver counted and is not there -


def test_a_missing_instance_keeps_its_batch_open_until_it_is_restored() -> None:
    world = World()
    acknowledged = receive(world, good(3))
    stored = world.buckets[LANDING].pop(key_of(acknowledged[1]))
    assert stored is not None
    wake_every_minute(world, minutes=10)
    item = batch_item(world, acknowledged[0])
    assert (item["state"], item["missing"], item["received"]) == ("INCOMPLETE", 1, 2)
    assert last_metrics(world)["InstancesMissing"] == 1
    world.put(LANDING, key_of(acknowledged[1]), stored.body)
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


def test_a_person_can_accept_the_loss_by_correcting_the_manifest() -> None:
    world = World()
    acknowledged = receive(world, good(3))
    world.buckets[LANDING].pop(key_of(acknowledged[1]))
    wake_every_minute(world, minutes=10)
    close_batch(world, acknowledged[0][0], 2, world.time)
    wake_every_minute(world)
    assert problems(world, [acknowledged[0], acknowledged[2]]) == []
