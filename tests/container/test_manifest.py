"""A manifest says what was stored, by whom, and what lies elsewhere (ADR 1).

Covers storescp/manifests.py.
"""

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import storescp
from storescp.batches import Batches, Contributor, Instance, Limits
from storescp.manifest import encode_manifest

START = datetime(2026, 11, 23, 20, 3, 15, 123456, tzinfo=UTC)

FIRST = {
    "schema": 1,
    "batch": "20261123T200315123Z-9f3a61c2-0001",
    "receiver": storescp.__version__,
    "opened_at": "2026-11-23T20:03:15.123Z",
    "closed_at": "2026-11-23T20:04:16.123Z",
    "last_stored_at": "2026-11-23T20:03:17.123Z",
    "closed_by": "age",
    "instances": 3,
    "bytes": 80,
    "calling_ae_titles": ["CT1", "MR1"],
    "studies": [
        {"StudyInstanceUID": "1.2", "instances": 2, "bytes": 40},
        {"StudyInstanceUID": "1.5", "instances": 1, "bytes": 40},
    ],
    "groups": [
        {
            "calling_ae_title": "CT1",
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.3",
            "SOPClassUID": "1.2.840.2",
            "bytes": 40,
            "SOPInstanceUIDs": ["1", "2"],
        },
        {
            "calling_ae_title": "MR1",
            "StudyInstanceUID": "1.5",
            "SeriesInstanceUID": "1.2.3",
            "SOPClassUID": "1.2.840.2",
            "bytes": 40,
            "SOPInstanceUIDs": ["0"],
        },
    ],
    "late": ["incoming/20261123T200315123Z-9f3a61c2-0001/1.2/1.2.3/9.dcm"],
    "elsewhere": [],
}


def test_a_manifest_says_what_was_stored_and_what_lies_elsewhere() -> None:
    batches = Batches(Limits(5, 1, 60, 100, 10_000), "9f3a61c2")
    association = Contributor()

    def place(instance: Instance, seconds: float, chunks: tuple[memoryview, ...] | None = ()):  # type: ignore[no-untyped-def]
        return batches.place(association, instance, 10, chunks, seconds, START + timedelta(seconds=seconds))

    late = place(Instance("1.2", "1.2.3", "9", "1.2.840.1", "XR1"), 0, None)
    for number, (title, study, size) in enumerate([("MR1", "1.5", 40), ("CT1", "1.2", 10), ("CT1", "1.2", 30)]):
        placement = place(Instance(study, "1.2.3", str(number), "1.2.840.2", title), 0)
        batches.stored(placement, size, "", 0, START + timedelta(seconds=number))
    [first] = batches.close_due(61, START + timedelta(seconds=61))
    assert json.loads(encode_manifest(first)) == FIRST
    batches.stored(late, 5, "", 100, START + timedelta(seconds=100))
    [second] = batches.close_all(START + timedelta(seconds=101))
    said = json.loads(encode_manifest(second))
    assert (said["instances"], said["late"], said["elsewhere"]) == (1, [], [late.key])
    assert said["groups"][0]["SOPInstanceUIDs"] == ["9"]
    batches.stored(place(Instance("1", "2", "3", "4", "CT1"), 101), 1, "", 101, START)
    with pytest.raises(ValueError, match="not closed"):
        encode_manifest(batches._open[0])


def test_the_version_is_that_of_the_package() -> None:
    package = tomllib.loads(Path("container/pyproject.toml").read_text())
    assert package["project"]["version"] == storescp.__version__
