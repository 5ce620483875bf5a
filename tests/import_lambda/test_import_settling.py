"""What becomes of each object: watching.py, settling.py, splitting.py, closing.py, counting.py, results.py.

Covers import_lambda/ledger.py, import_lambda/quarantine.py.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from import_lambda.keys import iso
from import_lambda.settings import ORPHAN_SCAN_SECONDS
from tests.testkit.import_scenarios import (
    QUICK_DOUBTS,
    SCENARIOS,
    batch_id,
    batch_item,
    close_batch,
    good,
    key_of,
    last_metrics,
    problems,
    quarantine_reasons,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_aws import KilledError
from tests.testkit.memory_world import DATASTORE, LANDING, RESULTS, SETTINGS, MemoryJob, World

# - finding a job again -


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_whose_start_was_not_noted_is_found_and_not_started_again(ended: bool) -> None:
    """Even if HealthImaging has forgotten the clientToken: how long it holds is not documented."""
    world = World(token_seconds=-1)
    acknowledged = receive(world, good(3))

    def kill(moment: str, _: int, name: str) -> None:
        if (moment, name) == ("after", "medical-imaging:start"):
            raise KilledError

    with suppress(KilledError):
        wake(world, interrupt=kill)
    world.time += 3600 if ended else 1
    wake_every_minute(world)
    assert len(world.jobs) == 1
    assert problems(world, acknowledged) == []


def test_a_job_that_healthimaging_does_not_know_any_more_is_shown_and_done_again() -> None:
    world = World()
    acknowledged = receive(world, good(3))
    wake(world)
    world.jobs.clear()
    world.running.clear()
    world.time += 700
    assert last_metrics(world)["ImportErrors"] == 1
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


# - objects that come late, or again -


def test_an_object_stored_again_while_the_job_runs_is_not_deleted_unimported() -> None:
    world = World()
    acknowledged = receive(world, good(2))
    wake(world)
    world.time += 1
    world.put(LANDING, key_of(acknowledged[0]), b"DICM other bytes")
    wake_every_minute(world)
    assert world.image_sets[key_of(acknowledged[0])] == 2
    assert problems(world, acknowledged, imports=2) == []
    assert batch_item(world, acknowledged[0])["received"] == 2


def test_an_object_that_changes_between_listing_and_deletion_survives() -> None:
    world = World()
    acknowledged = receive(world, good(2))
    wake(world)
    world.time += 60

    def overwrite(moment: str, _: int, name: str) -> None:
        if (moment, name) == ("before", "s3:delete") and world.image_sets[key_of(acknowledged[0])] == 1:
            world.put(LANDING, key_of(acknowledged[0]), b"DICM other bytes")

    wake(world, interrupt=overwrite)
    assert world.buckets[LANDING].get(key_of(acknowledged[0])) is not None
    wake_every_minute(world)
    assert world.image_sets[key_of(acknowledged[0])] == 2


def test_an_object_that_comes_after_its_batch_was_settled_is_imported_with_it() -> None:
    world = World()
    acknowledged = receive(world, good(2))
    wake_every_minute(world)
    assert batch_item(world, acknowledged[0])["state"] == "SETTLED"
    late = (acknowledged[0][0], "1.2.3/1.2.3.1/1.2.3.99")
    world.put(LANDING, key_of(late), b"DICM late")
    wake_every_minute(world)
    assert problems(world, [*acknowledged, late]) == []
    assert batch_item(world, late)["received"] == 3


def test_the_halves_of_an_unfinished_split_are_not_taken_for_orphans() -> None:
    build, settings = SCENARIOS["over the limit"]
    world = World()
    acknowledged = build(world)
    copies = 0

    def kill(moment: str, _: int, name: str) -> None:
        nonlocal copies
        copies += (moment, name) == ("after", "s3:copy")
        if copies == 2:
            raise KilledError

    with suppress(KilledError):
        wake(world, settings, kill)
    world.time += 7200
    parent = batch_item(world, acknowledged[0])
    parent["next_try_at"] = iso(world.time + 600)  # its own step cannot mend it yet
    wake(world, settings)
    assert [name for name, rows in world.ledger.items() if name.startswith("BATCH#") and "." in name and rows] == []
    wake_every_minute(world, settings)
    assert problems(world, acknowledged) == []


def test_an_orphan_is_left_alone_while_its_receiver_may_still_write() -> None:
    world = World()
    acknowledged = receive(world, good(2), close=False)
    world.time += SETTINGS.orphan_after_seconds - 60
    world.put(LANDING, key_of((acknowledged[0][0], "1.2.3/1.2.3.1/1.2.3.50")), b"DICM")
    world.time += SETTINGS.orphan_after_seconds - 60
    wake(world)
    assert "BATCH" not in world.ledger[f"BATCH#{acknowledged[0][0]}"]
    world.time += ORPHAN_SCAN_SECONDS
    wake(world)
    assert batch_item(world, acknowledged[0])["closed_by"] == "orphan"


# - results: late, incomplete, in other words -


def test_a_manifest_that_comes_after_the_event_is_awaited() -> None:
    world = World(manifest_lag_seconds=40)
    acknowledged = receive(world, [*good(2), b"BAD"])
    errors = 0
    for _ in range(20):
        errors += int(last_metrics(world)["ImportErrors"])
        world.time += 20
    assert errors == 0
    assert len(world.jobs) == 1
    assert problems(world, acknowledged) == []


def test_a_manifest_that_never_comes_is_alarmed_and_nothing_is_deleted() -> None:
    world = World(manifest_lag_seconds=1e9)
    acknowledged = receive(world, good(2))
    errors = 0
    for _ in range(60):
        errors += int(last_metrics(world)["ImportErrors"])
        world.time += 60
    assert errors > 0
    assert len(world.keys("incoming/")) == 2
    world.late_results = [(0.0, key, body) for _, key, body in world.late_results]
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


def rewrite(world: World, old: str, new: str) -> None:
    """Let the next job's results be found in other places or words."""

    def change(job: MemoryJob) -> None:
        for stored in list(world.buckets[RESULTS].below("jobs/")):
            if old in stored.found.key:
                world.buckets[RESULTS].pop(stored.found.key)
                world.put(RESULTS, stored.found.key.replace(old, new), stored.body)
            else:
                world.put(RESULTS, stored.found.key, stored.body.replace(old.encode(), new.encode()))

    world.on_job_end = change


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"isPrimary": true', '"isPrimary": True'),
        ('"inputFile": "', '"inputFile": "s3://landing/'),
        ("success.ndjson", "part-0001.ndjson"),
        ("SUCCESS/success.ndjson", "WARNING/warning.ndjson"),
        (f"{DATASTORE}-DicomImport-{0:032x}/", ""),
        ('"numberOfImportedFiles": 2', '"numberOfImportedFiles": null'),
        ('{"jobSummary"', '["jobSummary"'),
    ],
    ids=["Python's True", "a URI", "another name", "only a warning", "no job folder", "no number", "not JSON"],
)
def test_results_are_understood_in_other_words(old: str, new: str) -> None:
    world = World()
    rewrite(world, old, new)
    acknowledged = receive(world, [*good(2), b"BAD"])
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    assert len(world.jobs) == 1


def test_a_line_that_cannot_be_read_is_alarmed_and_its_object_imported_again() -> None:
    world = World()

    def spoil(job: MemoryJob) -> None:
        world.on_job_end = None
        key = next(key for key in world.keys("jobs/", RESULTS) if "SUCCESS" in key)
        stored = world.buckets[RESULTS].get(key)
        assert stored is not None
        first, rest = stored.body.split(b"\n", 1)
        world.put(RESULTS, key, first[:-7] + b"\n" + rest)

    world.on_job_end = spoil
    acknowledged = receive(world, good(2))
    wake(world)
    world.time += 60
    assert last_metrics(world)["ImportErrors"] == 1
    wake_every_minute(world)
    assert problems(world, acknowledged, imports=2) == []


# - refusals -


def test_a_conflict_with_the_primary_image_set_is_recorded_and_counted() -> None:
    world = World()
    acknowledged = receive(world, [*good(2), b"CONFLICT"])
    wake(world)
    world.time += 60
    assert last_metrics(world)["InstancesNonPrimary"] == 1
    wake_every_minute(world)
    item = batch_item(world, acknowledged[0])
    assert (item["imported"], item["non_primary"]) == (3, 1)
    assert world.ledger["STUDY#1.2.3"][f"BATCH#{item['batch']}"]["non_primary"] == 1
    assert problems(world, acknowledged) == []


def test_what_healthimaging_says_of_a_patient_is_in_the_reason_and_not_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World()
    random.seed(1)
    world.healthy_every_minutes = 2
    acknowledged = receive(world, [b"BAD", b"POISON"])
    world.put(LANDING, "incoming/DOE^JANE.dcm", b"x")
    wake_every_minute(world, QUICK_DOUBTS)
    assert problems(world, acknowledged) == []
    printed = capsys.readouterr()
    assert "DOE^JANE" not in printed.out + printed.err
    reasons = [json.loads(stored.body)["reason"] for stored in quarantine_reasons(world)]
    assert len(reasons) == 3
    assert sum("DOE^JANE" in reason for reason in reasons) == 2


def test_the_same_sop_instance_uid_in_two_series_has_two_quarantine_items() -> None:
    world = World()
    batch = batch_id(world.time)
    acknowledged = [(batch, f"1.2.3/1.2.3.{series}/1.2.3.9.1") for series in (1, 2)]
    for instance in acknowledged:
        world.put(LANDING, key_of(instance), b"BAD")
    close_batch(world, batch, 2, world.time)
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    assert len([sk for sk in world.ledger[f"BATCH#{batch}"] if sk.startswith("QUARANTINED#1.2.3.9.1")]) == 2


def test_a_role_that_may_not_read_is_shown_and_never_taken_for_the_objects_fault() -> None:
    world = World()
    acknowledged = receive(world, [b"DENIED", b"DENIED"])
    errors = 0
    for _ in range(600):
        errors += int(last_metrics(world)["ImportErrors"])
        world.time += 60
    assert errors >= 5
    assert 5 <= len(world.jobs) <= 60
    assert world.keys("quarantine/") == []
    for instance in acknowledged:  # the role is mended
        world.put(LANDING, key_of(instance), b"DICM" + instance[1].encode())
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


@pytest.mark.parametrize("message", ["Access denied: the role may not be assumed", "KMS.DisabledException"])
def test_a_job_that_fails_for_its_role_is_not_halved(message: str) -> None:
    world = World()

    def fail(job: MemoryJob) -> None:
        job.job = job.job._replace(status="FAILED", message=message)
        for key in world.keys("jobs/", RESULTS):
            world.buckets[RESULTS].pop(key)
        world.image_sets.clear()

    world.on_job_end = fail
    acknowledged = receive(world, good(2))
    for _ in range(120):
        wake(world)
        world.time += 60
    assert len(world.keys("incoming/")) == 2
    world.on_job_end = None
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    assert batch_item(world, acknowledged[0])["children"] == []


def test_while_healthimaging_finishes_no_job_nothing_is_quarantined_and_hardly_anything_halved() -> None:
    """An outage of a day, in which every job fails: the objects are not to blame."""
    world = World()
    judge = world.judge
    acknowledged = receive(world, [*good(8), b"FLAKY:0"]) + receive(world, [b"DICM alone"], number=2, study="1.2.4")

    def fail(job: MemoryJob) -> None:
        job.job = job.job._replace(status="FAILED", message="Internal error. Import job failed")

    world.on_job_end = fail
    world.judge = lambda key, body: None  # type: ignore[method-assign]
    errors = 0
    for _ in range(24 * 60):
        errors += int(last_metrics(world)["ImportErrors"])
        world.time += 60
    assert errors > 0
    assert world.keys("quarantine/") == []
    assert len([name for name in world.ledger if name.startswith("BATCH#") and world.ledger[name]]) <= 4
    world.on_job_end, world.judge = None, judge  # type: ignore[method-assign]
    wake_every_minute(world)
    assert problems(world, acknowledged) == []


def test_a_single_object_that_fails_its_job_waits_for_proof_that_others_do_not() -> None:
    world = World()
    acknowledged = receive(world, [b"POISON"])
    wake_every_minute(world, QUICK_DOUBTS, minutes=60)
    assert world.keys("quarantine/") == []
    world.healthy_every_minutes = 2
    wake_every_minute(world, QUICK_DOUBTS)
    assert problems(world, acknowledged) == []


def test_one_bad_object_among_many_is_found_by_halving() -> None:
    world = World()
    world.healthy_every_minutes = 2
    acknowledged = receive(world, [*good(39), b"POISON"])
    wake_every_minute(world, QUICK_DOUBTS, minutes=3000)
    assert problems(world, acknowledged) == []
    assert batch_item(world, acknowledged[0])["state"] == "SPLIT"
    assert len(world.jobs) - len(world.extra) <= 3 + 2 * 6 + 10
