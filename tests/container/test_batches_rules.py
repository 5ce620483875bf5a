"""When a batch is closed, and what its manifest says."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from storescp.batch import Batch, Batches, ClosedBy, Instance, Lane, Limits, encode_manifest
from storescp.keys import manifest_key, object_key

START = datetime(2026, 11, 23, 20, 3, 15, 123456, tzinfo=UTC)
LIMITS = Limits(quiet_seconds=5, max_age_seconds=60, max_instances=4, max_bytes=1000)


class Clock:
    """Batches, driven by hand."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.batches = Batches(limits, "9f3a61c2")
        self.now = 100.0

    @property
    def at(self) -> datetime:
        return START + timedelta(seconds=self.now - 100)

    def begin(self, sop: str, size: int = 10, lane: Lane | None = None) -> tuple[Batch, Instance, int]:
        instance = Instance("1.2", "1.2.3", sop, "CT1")
        batch = self.batches.assign(lane or self.batches.shared, instance, size, self.now, self.at)
        return batch, instance, size

    def end(self, begun: tuple[Batch, Instance, int]) -> None:
        self.batches.stored(*begun, self.now, self.at)

    def store(self, sop: str, size: int = 10) -> Batch:
        begun = self.begin(sop, size)
        self.end(begun)
        return begun[0]

    def due(self, seconds: float = 0) -> list[Batch]:
        self.now += seconds
        return self.batches.close_due(self.now, self.at)


def test_ids_sort_by_time_and_fit_a_client_token() -> None:
    clock = Clock()
    first = clock.store("1").batch_id
    assert first == "20261123T200315123Z-9f3a61c2-0001"
    clock.due(10)
    second = clock.store("2").batch_id
    assert first < second
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", batch_id) for batch_id in (first, second))
    assert object_key(first, "1", "2", "3") == f"incoming/{first}/1/2/3.dcm"
    assert manifest_key(first) == f"batches/{first}.json"


def test_quiet_closes_only_what_has_nothing_in_flight() -> None:
    clock = Clock()
    begun = clock.begin("1")
    assert clock.due(30) == []
    clock.end(begun)
    assert clock.due(4.9) == []
    [batch] = clock.due(0.2)
    assert batch.closed_by is ClosedBy.QUIET


def test_age_closes_and_waits_for_uploads_while_others_go_to_the_next() -> None:
    clock = Clock()
    slow = clock.begin("1")
    assert clock.due(60) == []
    other = clock.store("2")
    assert other is not slow[0]
    clock.end(slow)
    [batch] = clock.due()
    assert batch is slow[0]
    assert batch.closed_by is ClosedBy.AGE


def test_count_and_bytes_close_before_they_exceed() -> None:
    clock = Clock()
    batches = [clock.store(str(number)) for number in range(5)]
    assert batches[0] is batches[3]
    assert batches[4] is not batches[0]
    assert batches[0].closed_by is ClosedBy.INSTANCES
    clock = Clock()
    batches = [clock.store(str(number), 400) for number in range(3)]
    assert batches[0] is batches[1]
    assert batches[2] is not batches[0]
    assert batches[0].closed_by is ClosedBy.BYTES
    assert clock.store("x", 5000).bytes_stored == 5000  # more than any batch may have: alone


def test_an_instance_that_comes_again_does_not_meet_itself() -> None:
    clock = Clock(Limits(5, 60, 4000, 10**9))
    batches = [clock.store("1") for _ in range(3)]
    assert len({batch.batch_id for batch in batches}) == 3
    assert clock.store("2") is batches[0]
    clock.batches.failed(clock.begin("3")[0])
    assert clock.store("3") is batches[1]  # the failed one may still land in the first


def test_a_lane_is_not_the_shared_one() -> None:
    clock = Clock()
    lane = Lane()
    streamed = clock.begin("1", 0, lane)
    clock.store("2")
    [shared] = clock.due(6)
    assert shared is not streamed[0]
    clock.end((streamed[0], streamed[1], 999_999))
    [batch] = clock.due()
    assert (batch.closed_by, batch.bytes_stored) == (ClosedBy.BYTES, 999_999)


def test_nothing_stored_means_no_manifest() -> None:
    clock = Clock()
    clock.batches.failed(clock.begin("1")[0])
    assert clock.due(100) == []
    assert clock.batches.close_all(clock.at) == []
    assert clock.batches.uploads_in_flight == 0
    assert clock.batches.oldest_age_seconds(clock.now) == 0


def test_a_manifest_says_what_was_stored() -> None:
    clock = Clock()
    clock.store("1")
    clock.now += 1.5
    clock.store("2", 30)
    [batch] = clock.batches.close_all(clock.at)
    assert json.loads(encode_manifest(batch)) == {
        "schema": 1,
        "batch": "20261123T200315123Z-9f3a61c2-0001",
        "opened_at": "2026-11-23T20:03:15.123Z",
        "closed_at": "2026-11-23T20:03:16.623Z",
        "last_stored_at": "2026-11-23T20:03:16.623Z",
        "closed_by": "stop",
        "instances": 2,
        "bytes": 40,
        "calling_ae_titles": ["CT1"],
        "studies": [{"StudyInstanceUID": "1.2", "instances": 2, "bytes": 40}],
    }
    with pytest.raises(ValueError, match="not closed"):
        encode_manifest(clock.store("3"))
