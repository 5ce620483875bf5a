"""When a batch is closed, which instances share one, and what a single sender can cause.

Covers storescp/keys.py.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from storescp.batches import (
    Batch,
    Batches,
    ClosedBy,
    Contributor,
    Instance,
    Limits,
    Placement,
    TooManyRepeats,
)
from storescp.keys import manifest_key, object_key

START = datetime(2026, 11, 23, 20, 3, 15, 123456, tzinfo=UTC)
LIMITS = Limits(quiet_seconds=5, released_seconds=1, max_age_seconds=60, max_instances=4, max_bytes=1000)
ROOMY = Limits(quiet_seconds=5, released_seconds=1, max_age_seconds=60, max_instances=4000, max_bytes=10**9)


class Clock:
    """Batches, driven by hand."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.batches = Batches(limits, "9f3a61c2")
        self.now = 100.0
        self.association = Contributor()

    @property
    def at(self) -> datetime:
        return START + timedelta(seconds=self.now - 100)

    def begin(self, sop: str, size: int = 10, data: bytes | None = b"data", title: str = "CT1") -> Placement:
        """`data` None: it is streamed."""
        chunks = None if data is None else (memoryview(data),)
        instance = Instance("1.2", "1.2.3", sop, "1.2.840", title)
        return self.batches.place(self.association, instance, 0 if data is None else size, chunks, self.now, self.at)

    def end(self, placement: Placement, size: int = 10, etag: str = "") -> None:
        self.batches.stored(placement, size, etag, self.now, self.at)

    def store(self, sop: str, size: int = 10, data: bytes = b"data", title: str = "CT1", etag: str = "") -> Batch:
        placement = self.begin(sop, size, data, title)
        self.end(placement, size, etag)
        return placement.batch

    def is_stored(self, sop: str, data: bytes, size: int = 10) -> bool:
        return self.batches.is_stored_already(
            Instance("1.2", "1.2.3", sop, "1.2.840", "CT1"), size, (memoryview(data),)
        )

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
    placement = clock.begin("1")
    assert clock.due(30) == []
    clock.end(placement)
    assert clock.due(4.9) == []
    [batch] = clock.due(0.2)
    assert batch.closed_by is ClosedBy.QUIET


def test_age_closes_and_waits_for_puts_while_others_go_to_the_next() -> None:
    clock = Clock()
    slow = clock.begin("1")
    assert clock.due(60) == []
    other = clock.store("2")
    assert other is not slow.batch
    clock.end(slow)
    [batch] = clock.due()
    assert batch is slow.batch
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


def test_all_who_contributed_have_released() -> None:
    clock = Clock()
    first, second = Contributor(), Contributor()
    clock.association = first
    clock.store("1")
    clock.association = second
    clock.store("2")
    first.ended(was_released=True, monotonic_now=clock.now)
    assert clock.due(2) == []
    second.ended(was_released=True, monotonic_now=clock.now)
    assert clock.due(0.9) == []  # it may begin again at once, as devices do for each image
    [batch] = clock.due(0.2)
    assert (batch.closed_by, batch.instances_stored) == (ClosedBy.RELEASED, 2)
    clock.store("3")
    second.ended(was_released=False, monotonic_now=clock.now)  # aborted: it may well come back
    assert clock.due(2) == []
    assert [batch.closed_by for batch in clock.due(3)] == [ClosedBy.QUIET]


def test_a_peer_that_releases_after_each_image_does_not_make_a_job_of_each() -> None:
    clock = Clock(ROOMY)
    closed = []
    for number in range(600):  # ten minutes, an image a second and a little more, so that each could be closed
        clock.association = Contributor()
        clock.store(str(number))
        clock.association.ended(was_released=True, monotonic_now=clock.now)
        closed += clock.due(1.01)
    assert len(closed) <= 10 * (12 + 5)


def test_streamed_objects_share_batches_with_all_others() -> None:
    clock = Clock(ROOMY)
    placements = []
    for number in range(60):  # sixty X-rays, an association each
        clock.association = Contributor()
        placement = clock.begin(str(number), data=None)
        assert clock.due(0.3) == []
        clock.end(placement, 10_000_000)
        placements.append(placement)
        clock.association.ended(was_released=True, monotonic_now=clock.now)
    assert len({placement.batch for placement in placements}) == 1
    [batch] = clock.due(2)
    assert (batch.instances_stored, batch.late, batch.elsewhere) == (60, [], [])


def test_what_is_still_streamed_when_its_batch_closes_is_late_and_counted_by_another() -> None:
    clock = Clock(ROOMY)
    slow = clock.begin("slow", data=None)
    clock.store("1")
    assert clock.due(14) == []  # a sender as fast as that is waited for
    [first] = clock.due(2)
    assert (first.closed_by, first.instances_stored, first.late) == (ClosedBy.QUIET, 1, [slow.key])
    assert clock.batches.uploads_in_flight == 1
    clock.due(600)
    clock.end(slow, 77)
    assert clock.batches.uploads_in_flight == 0
    [second] = clock.due(6)
    assert (second.instances_stored, second.bytes_stored, second.elsewhere) == (1, 77, [slow.key])
    assert first.instances_stored == 1
    assert slow.key.startswith(f"incoming/{first.batch_id}/")


def test_a_slow_sender_delays_nobody_beyond_the_age() -> None:
    clock = Clock(ROOMY)
    for number in range(100):
        clock.begin(f"endless {number}", data=None)
        clock.store(str(number))
        closed = clock.due(0.7)
        if closed:
            break
    assert closed[0].closed_by is ClosedBy.AGE


def test_a_late_object_that_fails_or_comes_to_nothing_is_forgotten() -> None:
    clock = Clock(ROOMY)
    alone = clock.begin("1", data=None)
    assert clock.due(61) == []  # nothing was stored: no manifest
    clock.batches.failed(alone)
    assert clock.batches.uploads_in_flight == 0
    assert clock.due(100) == []


def test_a_streamed_object_that_its_batch_has_no_room_for_is_counted_by_the_next() -> None:
    clock = Clock(LIMITS)
    one, two = clock.begin("1", data=None), clock.begin("2", data=None)
    clock.end(one, 800)
    clock.end(two, 700)
    closed = clock.due(6)
    assert [(batch.bytes_stored, batch.late, batch.elsewhere) for batch in closed] == [
        (800, [two.key], []),
        (700, [], [two.key]),
    ]


def test_an_instance_that_comes_again_does_not_meet_itself() -> None:
    clock = Clock(ROOMY)
    batches = [clock.store("1", data=bytes([number])) for number in range(3)]
    assert len({batch.batch_id for batch in batches}) == 3
    assert clock.store("2") is batches[0]
    failed = clock.begin("3")
    clock.batches.failed(failed)
    assert clock.store("3") is batches[1]  # the failed one may still land in the first


def test_identical_bytes_need_no_new_batch() -> None:
    clock = Clock(ROOMY)
    etag = hashlib.md5(b"data", usedforsecurity=False).hexdigest()
    begun = clock.begin("1")
    assert not clock.is_stored("1", b"data")  # not yet
    clock.end(begun, etag=etag)
    assert clock.is_stored("1", b"data")
    assert not clock.is_stored("1", b"atad")
    assert not clock.is_stored("1", b"data", size=11)
    assert not clock.is_stored("2", b"data")
    clock.due(10)
    assert not clock.is_stored("1", b"data")  # its batch is closed: a new job, as somebody may have asked for


def test_with_an_etag_that_is_no_digest_the_third_copy_is_the_first_to_be_known() -> None:
    clock = Clock(ROOMY)
    for _ in range(2):
        assert not clock.is_stored("1", b"data")
        clock.store("1", etag="an-etag-of-kms")
    assert clock.is_stored("1", b"data")


def test_repeats_of_a_minute_are_bounded_for_a_title_and_for_all() -> None:
    clock = Clock(ROOMY)
    closed: list[Batch] = []
    refused = 0
    for number in range(3000):  # a minute of an instance with other bytes each time
        try:
            clock.store("1", data=number.to_bytes(2, "big"))
        except TooManyRepeats:
            refused += 1
        closed += clock.due(0.02)
    assert refused > 2900
    assert len(closed) <= 20
    assert clock.store("2") is not None  # others go on, and so does the sender's next instance
    for title in range(100):
        for number in range(3):
            try:
                clock.store("1", data=bytes([title, number]), title=f"TITLE{title}")
            except TooManyRepeats:
                refused += 1
    assert len(clock.due(6)) <= 25


def test_tries_that_fail_again_and_again_open_no_batches_and_are_never_refused() -> None:
    clock = Clock(ROOMY)
    clock.store("0")
    for _ in range(500):
        clock.batches.failed(clock.begin("1"))
    assert clock.batches.open_batches <= 2
    clock.store("1")


def test_nothing_stored_means_no_manifest() -> None:
    clock = Clock()
    clock.batches.failed(clock.begin("1"))
    assert clock.due(100) == []
    assert clock.batches.close_all(clock.at) == []
    assert clock.batches.uploads_in_flight == 0
    assert clock.batches.oldest_age_seconds(clock.now) == 0


class AnySender(RuleBasedStateMachine):
    """Whatever comes, each stored object is counted once, in a batch that is closed only once."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(Limits(5, 1, 60, 5, 100))
        self.under_way: list[Placement] = []
        self.stored: dict[str, int] = {}
        self.taken: list[Batch] = []
        self.contributors = [self.clock.association]

    @rule(sop=st.sampled_from("abcdef"), is_streamed=st.booleans(), size=st.integers(1, 60))
    def begin(self, sop: str, is_streamed: bool, size: int) -> None:
        try:
            placement = self.clock.begin(sop, size, None if is_streamed else bytes(size))
        except TooManyRepeats:
            return
        assert placement.key not in self.stored
        assert all(other.key != placement.key for other in self.under_way)
        self.under_way.append(placement)

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 100), size=st.integers(1, 60), fails=st.booleans())
    def end(self, index: int, size: int, fails: bool) -> None:
        placement = self.under_way.pop(index % len(self.under_way))
        if fails:
            self.clock.batches.failed(placement)
        else:
            self.clock.end(placement, size)
            self.stored[placement.key] = size

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 6.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.taken += self.clock.due(seconds)

    @rule(was_released=st.booleans())
    def another_association(self, was_released: bool) -> None:
        self.clock.association.ended(was_released, self.clock.now)
        self.clock.association = Contributor()

    @invariant()
    def what_is_in_flight_is_known(self) -> None:
        assert self.clock.batches.uploads_in_flight == len(self.under_way)

    @invariant()
    def a_batch_is_taken_once_and_does_not_change_afterwards(self) -> None:
        assert len({batch.batch_id for batch in self.taken}) == len(self.taken)
        for batch in self.taken:
            assert batch.instances_stored == sum(len(content.sops) for content in batch.groups.values())
            assert batch.bytes_stored == sum(content.bytes for content in batch.groups.values())

    def teardown(self) -> None:
        for placement in self.under_way:
            self.clock.end(placement, 1)
            self.stored[placement.key] = 1
        self.taken += self.clock.batches.close_all(self.clock.at)
        counted: list[str] = []
        for batch in self.taken:
            claimed = {key.rsplit("/", 1)[1]: key for key in batch.elsewhere}
            for group, content in batch.groups.items():
                for sop in content.sops:
                    own = object_key(batch.batch_id, group.study_instance_uid, group.series_instance_uid, sop)
                    counted.append(claimed.get(f"{sop}.dcm", own))
            assert len({*batch.late} & {*counted}) == len({*batch.late} & {*self.stored} & {*counted})
        assert sorted(counted) == sorted(self.stored)
        super().teardown()


AnySender.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestAnySender = AnySender.TestCase
