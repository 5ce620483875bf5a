"""Import warnings are data (warnings.py, results.py, settling.py): serious ones keep the original, none is dropped."""

from __future__ import annotations

import json

import pytest

from import_lambda.results import Results, key_of, read_results
from import_lambda.warnings import HARMLESS, SERIOUS, WARNING_CODES, ImportWarning, is_serious
from tests.testkit.import_scenarios import batch_item, good, last_metrics, problems, receive, wake, wake_every_minute
from tests.testkit.memory_world import LANDING, World

PREFIX = "incoming/20261123T200315123Z-9f3a61c2-0001/"
KEY = f"{PREFIX}1.2/1.2.3/1.2.3.4.dcm"


@pytest.mark.parametrize("code", [0xB100, 0xB110, 0xB111, 0xB112, 0xB120, 45312, 45328, 45329, 45330, 45344])
def test_what_healthimaging_cannot_give_back_whole_is_serious(code: int) -> None:
    assert WARNING_CODES[code].policy == SERIOUS
    assert is_serious([ImportWarning(code, "")])


@pytest.mark.parametrize("code", [0xB000, 0xB006, 0xB007, 0xB201, 45570, 45571])
def test_what_breaks_a_value_is_harmless(code: int) -> None:
    assert WARNING_CODES[code].policy == HARMLESS
    assert not is_serious([ImportWarning(code, "")])


@pytest.mark.parametrize(
    ("code", "kind", "serious"),
    [
        (0, "", True),
        (47513, "Other", True),
        (99, "SomethingNew", True),
        (99, "InvalidUidFormat", False),
        (0, "INVALID_OFFSET_TABLE", True),
        (45570, "InvalidOffsetTable", True),
    ],
)
def test_what_is_not_known_counts_as_serious(code: int, kind: str, serious: bool) -> None:
    assert is_serious([ImportWarning(code, kind)]) is serious


def test_every_code_says_what_it_means_and_where_that_is_written() -> None:
    for code in WARNING_CODES.values():
        assert code.meaning.endswith(".")
        assert code.source.startswith("https://docs.aws.amazon.com/")


def test_an_original_with_a_serious_warning_is_kept_for_good_and_the_instance_counts_as_imported() -> None:
    world = World()
    acknowledged = receive(world, [*good(1), b"WARN:45330", b"WARN:45570"])
    wake(world)
    world.time += 60
    assert last_metrics(world)["InstancesWarned"] == 1
    wake_every_minute(world)
    item = batch_item(world, acknowledged[0])
    assert (item["imported"], item["warned"], item["quarantined"], item["received"]) == (3, 1, 0, 3)
    kept = [key for key in world.keys("quarantine/") if key.endswith(".dcm")]
    assert kept == [f"quarantine/{acknowledged[1][0]}/{acknowledged[1][1]}.dcm"]
    stored = world.buckets[LANDING].get(f"{kept[0]}.json")
    assert stored is not None
    record = json.loads(stored.body)
    assert record["kind"] == "Warned"
    assert "45330" in record["reason"]
    assert "DOE^JANE" not in record["reason"]
    assert world.ledger["STUDY#1.2.3"][f"BATCH#{item['batch']}"]["warned"] == 1
    assert problems(world, acknowledged) == []


def test_a_success_without_an_image_set_is_none() -> None:
    world = World()
    receive(world, [b"NOSET"])
    for _ in range(60):
        wake(world)
        world.time += 60
    assert len(world.keys("incoming/")) == 1
    assert world.keys("quarantine/") == []


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        f"s3://landing/{KEY}",
        f"/{KEY}",
        KEY.removeprefix(PREFIX),
        f"./{KEY}".removeprefix("./"),
        KEY.replace("/", "%2F"),
        f"s3://landing/{KEY.replace('/', '%2F')}",
    ],
)
def test_input_file_is_understood_however_it_is_written(written: str) -> None:
    assert key_of(written, PREFIX) == KEY


def test_two_lines_of_one_instance_are_one_with_both_warnings() -> None:
    response = {"imageSetId": "1", "isPrimary": True}
    warned = response | {"warnings": [{"warning_reason_code": "45570", "type": "InvalidUIDFormat"}]}
    lines = [json.dumps({"inputFile": KEY, "importResponse": one}).encode() for one in (response, warned)]
    results = Results()
    read_results(results, b"\n".join(lines), PREFIX)
    assert results.imported[KEY].warnings == (ImportWarning(45570, "InvalidUIDFormat"),)


def test_a_line_of_a_thousand_brackets_is_unreadable_and_no_more() -> None:
    results = Results()
    read_results(results, b"[" * 100_000 + b"\n" + json.dumps({"inputFile": KEY}).encode(), PREFIX)
    assert (results.unreadable, results.incomplete) == (1, {KEY})
