"""Batch manifests (manifests.py): who sent what, what is late, and what is no manifest at all.

Covers import_lambda/manifests.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from import_lambda.errors import Malformed
from import_lambda.manifests import parse_manifest
from tests.testkit.import_scenarios import (
    batch_id,
    batch_item,
    close_batch,
    good,
    problems,
    receive,
    wake_every_minute,
)
from tests.testkit.memory_world import LANDING, SETTINGS, World

BATCH = batch_id(1_795_000_000.0)


def manifest(**more: Any) -> bytes:
    return json.dumps({"schema": 1, "batch": BATCH, "instances": 2, **more}).encode()


def group(title: str, study: str, *sops: str) -> dict[str, Any]:
    above = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPClassUID": "1.2.840", "bytes": 1}
    return {"calling_ae_title": title, **above, "SOPInstanceUIDs": list(sops)}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        manifest(instances=-1),
        manifest(instances=True),
        manifest(instances=10**30),
        manifest(batch="x"),
        manifest(late="incoming/"),
        manifest(elsewhere=[1]),
        manifest(groups={}) + b"x",
        manifest(groups=[{"calling_ae_title": "CT1"}]),
        manifest(groups=7),
    ],
)
def test_what_is_no_manifest_is_refused_without_being_quoted(body: bytes) -> None:
    with pytest.raises(Malformed, match=rf"^batches/{BATCH}\.json[: ]"):
        parse_manifest(body, BATCH)


def test_a_manifest_of_the_version_before_is_read_with_its_defaults() -> None:
    parsed = parse_manifest(manifest(), BATCH)
    assert (parsed.instances, parsed.late, parsed.elsewhere, parsed.senders) == (2, [], [], {})


def test_lists_and_words_are_cut_to_what_a_ledger_item_holds() -> None:
    parsed = parse_manifest(manifest(calling_ae_titles=["x" * 5_000] * 500, closed_by="y" * 500_000), BATCH)
    assert len(json.dumps(parsed)) < 10_000


def test_only_keys_of_earlier_batches_are_elsewhere() -> None:
    keys = [
        f"incoming/{BATCH}/1/1/1.dcm",
        "quarantine/x/1/1/1.dcm",
        "incoming/../1/1/1.dcm/",
        "incoming/other/1/1/1.dcm",
    ]
    assert parse_manifest(manifest(elsewhere=keys), BATCH).elsewhere == ["incoming/other/1/1/1.dcm"]


def test_a_refused_image_and_its_study_name_the_device_that_sent_it() -> None:
    """A good study of CT1 and a bad one of MR1 in one batch: each shows its own title."""
    world = World()
    first = receive(world, good(2), study="1.5", close=False)
    batch = first[0][0]
    bad = (batch, "1.6/1.6.1/1.6.1.1")
    world.put(LANDING, f"incoming/{batch}/{bad[1]}.dcm", b"BAD")
    sops = [rest.rpartition("/")[2] for _, rest in first]
    groups = [group("CT1", "1.5", *sops), group("MR1", "1.6", "1.6.1.1")]
    close_batch(world, batch, 3, world.time, calling_ae_titles=["CT1", "MR1"], groups=groups)
    wake_every_minute(world)
    assert problems(world, [*first, bad]) == []
    titles = {study: world.ledger[f"STUDY#{study}"][f"BATCH#{batch}"]["calling_ae_titles"] for study in ("1.5", "1.6")}
    assert titles == {"1.5": ["CT1"], "1.6": ["MR1"]}
    (record,) = [item for sk, item in world.ledger[f"BATCH#{batch}"].items() if sk.startswith("QUARANTINED#")]
    assert record["calling_ae_title"] == "MR1"


def test_the_parts_of_a_batch_still_know_who_sent_what() -> None:
    world = World(files_per_job=2)
    acknowledged = receive(world, [*good(5), b"BAD"], close=False)
    sops = [rest.rpartition("/")[2] for _, rest in acknowledged]
    groups = [group("CT1", "1.2.3", *sops[:3]), group("MR1", "1.2.3", *sops[3:])]
    close_batch(world, acknowledged[0][0], 6, world.time, calling_ae_titles=["CT1", "MR1"], groups=groups)
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    records = [item for rows in world.ledger.values() for sk, item in rows.items() if sk.startswith("QUARANTINED#")]
    assert [item["calling_ae_title"] for item in records] == ["MR1"]


def test_a_late_object_that_no_manifest_claims_is_its_first_batchs_after_all() -> None:
    world = World()
    first = receive(world, good(2), close=False)
    late = (first[0][0], "1.2.3/1.2.3.1/1.2.3.9.9")
    key = f"incoming/{late[0]}/{late[1]}.dcm"
    close_batch(world, first[0][0], 2, world.time, late=[key])
    world.put(LANDING, key, b"DICM late")
    wake_every_minute(world, minutes=10)
    assert world.keys("incoming/") == [key]
    assert batch_item(world, late)["received"] == 2
    world.time += SETTINGS.orphan_after_seconds
    wake_every_minute(world)
    # The first job read it, too; HealthImaging keeps one version of an instance.
    assert problems(world, [*first, late], imports=2) == []


def test_a_put_that_comes_again_after_its_batch_was_split_is_counted_once() -> None:
    world = World(files_per_job=2)
    acknowledged = receive(world, good(4))
    wake_every_minute(world)
    world.put(LANDING, f"incoming/{acknowledged[0][0]}/{acknowledged[0][1]}.dcm", b"DICM0")
    wake_every_minute(world)
    items = [rows["BATCH"] for pk, rows in world.ledger.items() if pk.startswith("BATCH#2") and "BATCH" in rows]
    assert sum(item["imported"] for item in items) == 4
    assert world.keys("incoming/") == []
