"""Bad input ends in quarantine or an alarm, and stops nobody: registering.py, quarantine.py, discovery.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from import_lambda.aws import Item
from tests.testkit.import_scenarios import (
    batch_id,
    batch_item,
    good,
    last_metrics,
    problems,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_world import LANDING, World

# - bad input: each ends in quarantine or in an alarm, and never stops the other batches -

BATCH = batch_id(1_795_000_000.0, 7)


def bad_manifest(body: bytes) -> list[tuple[str, bytes]]:
    return [(f"batches/{BATCH}.json", body), (f"incoming/{BATCH}/1.9/1.9.1/1.9.1.1.dcm", b"DICM9")]


BAD_INPUT = {
    "text file below incoming": [("incoming/readme.txt", b"hello")],
    "folder that is no batch": [("incoming/CT images/1.dcm", b"DICM")],
    "text file in a batch": [(f"incoming/{BATCH}/readme.txt", b"hello")],
    "folder marker": [("incoming/", b"")],
    "key with other than UIDs": [(f"incoming/{BATCH}/DOE/JANE/1.dcm", b"DICM")],
    "batch of a day that does not exist": [("incoming/20261332T250000000Z-9f3a61c2-0001/1/2/3.dcm", b"DICM")],
    "manifest of no batch": [("batches/notes.json", b"{}")],
    "manifest that is not JSON": bad_manifest(b"\x00\xff"),
    "manifest that is a list": bad_manifest(b"[]"),
    "manifest of another batch": bad_manifest(b'{"batch": "x", "instances": 1}'),
    "manifest with a word for a number": bad_manifest(json.dumps({"batch": BATCH, "instances": "one"}).encode()),
    "manifest with a number for a title": bad_manifest(
        json.dumps({"batch": BATCH, "instances": 1, "calling_ae_titles": [7]}).encode()
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_in_quarantine_with_its_reason_and_the_others_go_on(case: str) -> None:
    world = World()
    for key, body in BAD_INPUT[case]:
        world.put(LANDING, key, body)
    acknowledged = receive(world, good(2))
    bad_key = BAD_INPUT[case][0][0]
    if case.startswith("manifest") and len(BAD_INPUT[case]) == 2:
        acknowledged.append((BATCH, "1.9/1.9.1/1.9.1.1"))
    first = last_metrics(world)
    assert int(first["BatchesImporting"]) >= 1
    world.time += 3600
    assert int(first["UnrecognizedObjects"]) + int(last_metrics(world)["UnrecognizedObjects"]) == 1
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
    unrecognized = world.ledger["BATCH#UNRECOGNIZED"].values()
    assert [item["object_key"] for item in unrecognized] == [bad_key]
    reason = world.buckets[LANDING].get(f"{next(iter(unrecognized))['quarantine_key']}.json")
    assert reason is not None
    assert json.loads(reason.body)["reason"]


MALFORMED_ITEMS: dict[str, dict[str, Any]] = {
    "no state": {"revision": 3},
    "unknown state": {"revision": 3, "state": "DONE"},
    "a word for a revision": {"revision": "x", "state": "CLOSED"},
    "a number for a list": {"revision": 3, "state": "CLOSED", "children": 7},
    "another batch's name": {"revision": 3, "state": "CLOSED", "batch": batch_id(1_795_000_000.0, 8)},
}


@pytest.mark.parametrize("case", MALFORMED_ITEMS)
def test_a_malformed_ledger_item_is_alarmed_and_the_others_go_on(case: str) -> None:
    world = World()
    broken = receive(world, good(2), number=7, study="1.2.7")
    pk = f"BATCH#{broken[0][0]}"
    item = {"batch": broken[0][0], "unsettled": "1", **MALFORMED_ITEMS[case], "pk": pk, "sk": "BATCH"}
    world.ledger[pk]["BATCH"] = world.unsettled[pk] = item
    acknowledged = receive(world, good(2), number=8)
    assert last_metrics(world)["ImportErrors"] >= 1
    for _ in range(5):
        world.time += 60
        wake(world)
    assert batch_item(world, acknowledged[0])["state"] == "SETTLED"
    assert len(world.keys(f"incoming/{broken[0][0]}/")) == 2
    del world.ledger[pk], world.unsettled[pk]  # what the manual tells a person to do: the facts are enough
    wake_every_minute(world)
    assert problems(world, broken + acknowledged) == []


@pytest.mark.parametrize("lease", [{}, {"owner": 7, "expires": "x"}, {"owner": "dead", "expires": 1, "revision": "x"}])
def test_a_malformed_lease_is_taken(lease: Item) -> None:
    world = World()
    world.ledger["LEASE"]["LEASE"] = {"pk": "LEASE", "sk": "LEASE", "revision": 0, **lease}
    acknowledged = receive(world, good(2))
    wake_every_minute(world)
    assert problems(world, acknowledged) == []
