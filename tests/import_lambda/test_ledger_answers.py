"""What the ledger answers: entries.py, commitments.py, commitment_requests.py, under_way.py and retries.py."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from import_lambda.aws import Item
from import_lambda.keys import iso
from import_lambda.reconcile import reconcile
from tests.import_lambda.test_import_crashes import KillAt
from tests.testkit.import_scenarios import Instance, batch_id, close_batch, good, problems, wake, wake_every_minute
from tests.testkit.memory_aws import KilledError, MemoryAws
from tests.testkit.memory_world import LANDING, SETTINGS, World

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
FAST = replace(SETTINGS, fast_import="true")


def receive_from(world: World, senders: dict[str, tuple[str, list[bytes]]], number: int = 1) -> list[Instance]:
    """A batch of several devices: calling AE title: SOP class and bodies; each sends a study of its own."""
    batch, opened_at = batch_id(world.time, number), world.time
    acknowledged, groups = [], []
    for place, (title, (sop_class, bodies)) in enumerate(senders.items(), start=1):
        study = f"1.{number}.{place}"
        sops = [f"{study}.1.{count}" for count in range(1, len(bodies) + 1)]
        for sop, body in zip(sops, bodies, strict=True):
            world.put(LANDING, f"incoming/{batch}/{study}/{study}.1/{sop}.dcm", body)
            acknowledged.append((batch, f"{study}/{study}.1/{sop}"))
        group = {"calling_ae_title": title, "SOPClassUID": sop_class, "SOPInstanceUIDs": sops, "bytes": 1}
        groups.append(group | {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1"})
    world.time += 3
    manifest = {"schema": 1, "batch": batch, "opened_at": iso(opened_at), "closed_at": iso(world.time)}
    manifest |= {"last_stored_at": iso(opened_at), "closed_by": "quiet", "instances": len(acknowledged), "bytes": 1}
    manifest |= {"calling_ae_titles": list(senders), "studies": [], "groups": groups}
    world.put(LANDING, f"batches/{batch}.json", json.dumps(manifest).encode())
    return acknowledged


def entry(world: World, instance: Instance) -> Item:
    _, series, sop = instance[1].split("/")
    return world.ledger[f"INSTANCE#{sop}"][f"BATCH#{instance[0]}#{series}"]


@pytest.mark.parametrize("settings", [SETTINGS, FAST], ids=["job", "fast"])
def test_each_instance_has_an_entry_with_its_sender_class_and_place(settings: Any) -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, [*good(2), b"BAD"]), "MR1": (MR, [b"DICM mr", b"CONFLICT"])})
    wake_every_minute(world, settings)
    assert problems(world, mine, imports=2) == []
    entries = [entry(world, instance) for instance in mine]
    assert [one["calling_ae_title"] for one in entries] == ["CT1", "CT1", "CT1", "MR1", "MR1"]
    assert [one["SOPClassUID"] for one in entries] == [CT, CT, CT, MR, MR]
    assert [one["state"] for one in entries] == ["IMPORTED", "IMPORTED", "QUARANTINED", "IMPORTED", "IMPORTED"]
    assert [one.get("open") for one in entries] == [None, None, None, None, "NON_PRIMARY"]
    assert all(one["image_set_id"] for one in entries if one["state"] == "IMPORTED")
    assert entries[2]["object_key"].startswith("quarantine/")


def test_what_each_device_sent_on_a_day_adds_up_and_expires() -> None:
    world = World()
    receive_from(world, {"CT1": (CT, [*good(2), b"BAD"]), "MR1": (MR, good(1))})
    receive_from(world, {"CT1": (CT, good(4))}, number=2)
    wake_every_minute(world)
    rows = sorted(world.ledger["DEVICE#CT1"].items())
    assert [sk[:15] for sk, _ in rows] == ["DAY#2026-11-18#"] * 2
    totals = {name: sum(row[name] for _, row in rows) for name in ("received", "imported", "quarantined")}
    assert totals == {"received": 7, "imported": 6, "quarantined": 1}
    assert all(world.time + 399 * 86_400 < row["expires_at"] < world.time + 400 * 86_400 for _, row in rows)
    contact = world.ledger["DEVICES"]["DEVICE#CT1"]["last_contact_at"]
    assert contact == max(row["last_stored_at"] for _, row in rows)
    assert set(world.ledger["DEVICES"]) == {"DEVICE#CT1", "DEVICE#MR1"}


def test_what_a_person_has_closed_stays_closed_when_the_batch_is_counted_again() -> None:
    world = World()
    mine = receive_from(world, {"MR1": (MR, [b"CONFLICT"])})
    wake_every_minute(world)
    closed = entry(world, mine[0])
    del closed["open"]
    closed |= {"closed_at": iso(world.time), "closed_by": "arn:x", "close_note": "known"}
    world.put(LANDING, f"incoming/{mine[0][0]}/1.1.1/1.1.1.1/1.1.1.1.9.dcm", b"DICM late")
    item = world.ledger[f"BATCH#{mine[0][0]}"]["BATCH"]
    item["expected"] = 2  # so that it is looked at again
    world.put(LANDING, f"batches/{mine[0][0]}.json", b"{}")
    wake_every_minute(world)
    assert "open" not in entry(world, mine[0])
    assert entry(world, mine[0])["close_note"] == "known"


# - Storage commitment -


def ask(world: World, instances: list[tuple[str, str]], name: str = "CT1-1.2.9", hours: float = 1.0) -> None:
    request = {
        "schema": 1,
        "id": name,
        "transaction_uid": "1.2.9",
        "calling_ae_title": "CT1",
        "called_ae_title": "STORESCP",
        "received_at": iso(world.time),
        "timeout_at": iso(world.time + hours * 3600),
        "instances": [list(pair) for pair in instances],
    }
    world.put(LANDING, f"commitments/requests/{name}.json", json.dumps(request).encode())


def result(world: World, name: str = "CT1-1.2.9") -> dict[str, Any] | None:
    stored = world.buckets[LANDING].get(f"commitments/results/{name}.json")
    return None if stored is None else dict(json.loads(stored.body))


def pairs(instances: list[Instance], sop_class: str = CT) -> list[tuple[str, str]]:
    return [(sop_class, rest.rpartition("/")[2]) for _, rest in instances]


def test_what_is_imported_and_readable_is_committed_as_soon_as_all_is_decided() -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, good(3))})
    ask(world, pairs(mine))
    wake(world)
    assert result(world) is None
    assert world.ledger["COMMITMENT#CT1-1.2.9"]["COMMITMENT"]["state"] == "WAITING"
    wake_every_minute(world)
    answer = result(world)
    assert answer is not None
    assert (answer["committed"], answer["failed"]) == ([list(pair) for pair in pairs(mine)], [])
    item = world.ledger["COMMITMENT#CT1-1.2.9"]["COMMITMENT"]
    assert (item["state"], item["committed"], item["failed"]) == ("ANSWERED", 3, 0)


def test_each_reason_of_failure_is_the_standards_own() -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, [*good(2), b"BAD", b"CONFLICT"])})
    asked = pairs(mine)
    asked[1] = (MR, asked[1][1])
    ask(world, [*asked, (CT, "1.2.3.never")])
    wake_every_minute(world)
    assert result(world) is None  # one was never seen: there is time until the time-out
    world.time += 3600
    wake(world)
    answer = result(world)
    assert answer is not None
    assert answer["committed"] == [list(asked[0])]
    assert [row[2] for row in answer["failed"]] == [0x0119, 0x0110, 0x0110, 0x0112]


@pytest.mark.parametrize("has_groups", [True, False], ids=["named by the manifest", "named by its objects only"])
def test_what_is_on_its_way_at_the_time_out_failed_and_is_not_unknown(has_groups: bool) -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, good(2))})
    if not has_groups:  # as a receiver of version 0.1.0 wrote it
        stored = world.buckets[LANDING].get(f"batches/{mine[0][0]}.json")
        assert stored is not None
        manifest = json.loads(stored.body)
        del manifest["groups"]
        world.put(LANDING, f"batches/{mine[0][0]}.json", json.dumps(manifest).encode())
    ask(world, [*pairs(mine), (CT, "1.2.3.never")], hours=0.0)
    wake(world)
    answer = result(world)
    assert answer is not None
    assert [row[2] for row in answer["failed"]] == [0x0110, 0x0110, 0x0112]
    other = receive_from(world, {"CT1": (CT, good(1))}, number=2)
    ask(world, pairs(other, MR), name="CT1-1.2.10", hours=0.0)
    wake(world)
    answer = result(world, "CT1-1.2.10")
    assert answer is not None
    assert [row[2] for row in answer["failed"]] == [0x0119], "the manifest says another class"


def test_what_came_last_counts() -> None:
    world = World()
    first = receive_from(world, {"CT1": (CT, good(1))})
    wake_every_minute(world)
    again = (batch_id(world.time, 2), first[0][1])
    world.put(LANDING, f"incoming/{again[0]}/{again[1]}.dcm", b"CONFLICT")
    close_batch(world, again[0], 1, world.time)
    wake_every_minute(world)
    ask(world, pairs(first))
    wake(world)
    answer = result(world)
    assert answer is not None
    assert [row[2] for row in answer["failed"]] == [0x0110]


def test_too_many_instances_are_refused_by_name() -> None:
    world = World()
    ask(world, [(CT, f"1.2.{number}") for number in range(10_001)])
    wake(world)
    answer = result(world)
    assert answer is not None
    assert {row[2] for row in answer["failed"]} == {0x0213}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"instances": [1]}', b"[" * 100_000, b"x" * 5_000_000])
def test_a_request_that_cannot_be_read_disturbs_nobody(body: bytes) -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, good(1))})
    world.put(LANDING, "commitments/requests/CT0-1.json", body)
    ask(world, pairs(mine))
    wake_every_minute(world, minutes=5)
    answer = result(world)
    assert answer is not None
    assert len(answer["committed"]) == 1
    assert result(world, "CT0-1") is None


def deliver(world: World, name: str = "CT1-1.2.9") -> None:
    world.put(LANDING, f"commitments/attempts/{name}/1.json", b"{}")
    world.put(LANDING, f"commitments/delivered/{name}.json", b'{"status": 0}')


def test_a_delivered_result_is_noted_and_its_files_go() -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, good(1))})
    ask(world, pairs(mine))
    wake_every_minute(world)
    deliver(world)
    wake(world)
    assert world.ledger["COMMITMENT#CT1-1.2.9"]["COMMITMENT"]["state"] == "DELIVERED"
    assert world.keys("commitments/") == []


def test_a_result_that_nobody_takes_is_open_until_it_is_delivered() -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, good(1))})
    ask(world, pairs(mine))
    wake_every_minute(world)
    item = world.ledger["COMMITMENT#CT1-1.2.9"]["COMMITMENT"]
    assert "open" not in item
    world.time += SETTINGS.commitment_alarm_seconds
    wake(world)
    assert world.ledger["COMMITMENT#CT1-1.2.9"]["COMMITMENT"]["open"] == "UNDELIVERED"
    writes = world.calls["dynamodb:put"]
    wake(world)
    assert world.calls["dynamodb:put"] - writes <= 2, "only the lease is written while nothing changes"
    deliver(world)
    wake(world)
    assert "open" not in world.ledger["COMMITMENT#CT1-1.2.9"]["COMMITMENT"]


def test_waiting_requests_cost_one_look_each() -> None:
    world = World()
    for number in range(20):
        ask(world, [(CT, f"1.2.{one}") for one in range(500)], name=f"CT{number}-1.2")
    wake(world)
    before = world.calls["dynamodb:query"]
    wake(world)
    assert world.calls["dynamodb:query"] - before < 20 * 2 + 20


# - Retry -


def quarantined(world: World, instance: Instance) -> Item:
    sop = instance[1].rpartition("/")[2]
    return world.ledger[f"BATCH#{instance[0]}"][f"QUARANTINED#{sop}"]


def ask_for_a_retry(world: World, instance: Instance) -> None:
    """What the operator's command writes."""
    moment, item = iso(world.time), quarantined(world, instance)
    item |= {"open": "QUARANTINED", "open_since": item["quarantined_at"]}
    item |= {"retry_requested_at": moment, "retry_requested_by": "arn:x"}
    action = {"pk": f"ACTION#{item['object_key']}", "sk": moment, "action": "retry", "by": "arn:x", "note": ""}
    world.ledger[action["pk"]][moment] = action | {"item_pk": item["pk"], "item_sk": item["sk"]}


@pytest.mark.parametrize(("mended", "outcome"), [(True, "IMPORTED"), (False, "QUARANTINED")])
def test_a_retry_imports_a_copy_and_says_how_it_ended(mended: bool, outcome: str) -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, [*good(1), b"BAD"])})
    wake_every_minute(world)
    evidence = quarantined(world, mine[1])["quarantine_key"]
    if mended:
        world.put(LANDING, evidence, b"DICM mended")
    ask_for_a_retry(world, mine[1])
    wake_every_minute(world)
    item = quarantined(world, mine[1])
    assert item["retry_outcome"] == outcome
    assert ("open" in item) != mended
    assert ("retry_requested_at" in item) == mended
    assert world.keys(evidence) == [evidence, f"{evidence}.json"], "the evidence stays"
    (action,) = world.ledger[f"ACTION#{item['object_key']}"].values()
    assert (action["outcome"], bool(action["ended_at"])) == (outcome, True)
    assert world.keys("split/") == []


def study_counts(world: World, study: str = "1.1.1") -> dict[str, int]:
    rows = world.ledger[f"STUDY#{study}"].values()
    return {name: sum(row[name] for row in rows) for name in ("received", "imported", "quarantined", "missing")}


@pytest.mark.parametrize("mended", [1, 2, 0])
def test_a_retried_instance_counts_once_in_its_study(mended: int) -> None:
    world = World()
    mine = receive_from(world, {"CT1": (CT, [*good(1), b"BAD", b"BAD"])})
    wake_every_minute(world)
    assert study_counts(world) == {"received": 3, "imported": 1, "quarantined": 2, "missing": 0}
    for number in (1, 2):
        if number <= mended:
            world.put(LANDING, quarantined(world, mine[number])["quarantine_key"], b"DICM mended")
        ask_for_a_retry(world, mine[number])
    wake_every_minute(world)
    expected = {"received": 3, "imported": 1 + mended, "quarantined": 2 - mended, "missing": 0}
    assert study_counts(world) == expected
    world.put(LANDING, f"incoming/{mine[0][0]}/1.1.1/1.1.1.1/1.1.1.1.1.dcm", b"DICM 0")  # a PUT that came again
    world.ledger[f"BATCH#{mine[0][0]}"]["BATCH"]["expected"] = 3
    world.put(LANDING, f"batches/{mine[0][0]}.json", b"{}")
    wake_every_minute(world)
    assert study_counts(world) == expected, "also when its batch is counted again"


def retry_life(world: World) -> None:
    mine = receive_from(world, {"CT1": (CT, [*good(1), b"BAD"])})
    wake_every_minute(world)
    world.put(LANDING, quarantined(world, mine[1])["quarantine_key"], b"DICM mended")
    ask_for_a_retry(world, mine[1])


LIVES: dict[str, Callable[[World], None]] = {
    "commitment": lambda world: ask(world, pairs(receive_from(world, {"CT1": (CT, good(2))}))),
    "retry": retry_life,
}


def live(life: str, kill: KillAt) -> World:
    world = World()
    random.seed(1)
    LIVES[life](world)
    for _ in range(8):
        with suppress(KilledError):
            wake(world, FAST, kill)
        world.time += 60
    wake_every_minute(world, FAST, minutes=20)
    return world


@pytest.mark.parametrize("life", LIVES)
def test_killed_at_any_call_the_answers_are_the_same(life: str) -> None:
    whole = KillAt(0, "never")
    expected = facts(live(life, whole))
    for number in range(1, whole.calls + 1, 2):
        for moment in ("before", "after"):
            assert facts(live(life, KillAt(number, moment))) == expected, f"killed {moment} call {number}"


def facts(world: World) -> Any:
    """What must not depend on the moment of a crash."""
    answer = result(world)
    items = [row for rows in world.ledger.values() for row in rows.values()]
    entries = sorted((str(row["pk"]), str(row["state"])) for row in items if str(row["pk"]).startswith("INSTANCE#"))
    retries = [row.get("retry_outcome") for row in items if row.get("retry_requested_by")]
    counts = study_counts(world)
    return (answer and answer["committed"], entries, retries, counts, world.keys("split/"), world.keys("incoming/"))


def test_gauges_show_what_is_open() -> None:
    world = World()
    receive_from(world, {"MR1": (MR, [b"CONFLICT", *good(1)])})
    wake_every_minute(world)
    aws = MemoryAws(world)
    values = reconcile(aws, SETTINGS, aws.now() + 870)
    assert values is not None
    assert (values["NonPrimaryOpen"], values["WarnedOpen"], values["CommitmentResultsOverdue"]) == (1, 0, 0)
