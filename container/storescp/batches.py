"""Batches: which stored instances become one import job, and when there are enough of them (ADR 1, ADR 14).

A batch is a prefix that is frozen once it is closed. All associations of a process share its batches. A batch holds an
instance once; one that comes again goes to another batch, unless its bytes are those that are stored already.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple

from storescp.keys import object_key

# A streamed upload that is older does not hold its batch back any more: it will be late (ADR 1).
_PATIENCE_FACTOR: Final = 3.0  # times quiet_seconds
# Batches a minute that are opened because an instance came again: of a calling AE title, and of a process.
_REPEATS_PER_TITLE: Final = 6
_REPEATS: Final = 24
_RELEASED_PER_MINUTE: Final = 12
_MINUTE: Final = 60.0


class ClosedBy(Enum):
    """Why a batch was closed."""

    QUIET = "quiet"
    RELEASED = "released"
    AGE = "age"
    INSTANCES = "instances"
    BYTES = "bytes"
    STOP = "stop"


class TooManyRepeats(Exception):
    """An instance came again and again, each time with other bytes; the message is for the sender."""

    def __init__(self) -> None:
        super().__init__("Instance was sent too often within a minute; send it again later")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is closed; seconds, instances and bytes."""

    quiet_seconds: float
    released_seconds: float
    max_age_seconds: float
    max_instances: int
    max_bytes: int


class Instance(NamedTuple):
    """What a batch has to know of an instance; the UIDs are safe names (ADR 1)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class: str
    calling_ae_title: str

    @property
    def uids(self) -> tuple[str, str, str]:
        """Study, Series and SOP Instance UID: what an object's key has of them."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid


class Group(NamedTuple):
    """What instances of a manifest's entry have in common."""

    calling_ae_title: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class: str


@dataclass(slots=True)
class GroupContent:
    """The instances of a group, and the bytes of their files."""

    bytes: int = 0
    sops: list[str] = field(default_factory=list)


class Contributor:
    """An association, as far as batches are concerned: whether it is over, and how it ended."""

    __slots__ = ("ended_at", "was_released")

    def __init__(self) -> None:
        self.ended_at: float | None = None
        self.was_released = False

    def ended(self, was_released: bool, monotonic_now: float) -> None:
        """Take note of the association's end."""
        self.was_released = was_released
        self.ended_at = monotonic_now


_Names = tuple[str, str, str]


@dataclass(slots=True)
class _Copy:
    """A copy of an instance in a batch: on its way, stored, or failed (it may still land)."""

    size: int = 0
    etag: str = ""
    digest: bytes = b""  # of its bytes, where it was computed
    is_stored: bool = False
    has_failed: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """One batch; times are seconds of a monotonic clock unless they end in `_at`."""

    batch_id: str
    opened_at: datetime
    opened: float
    last_activity: float
    copies: dict[_Names, _Copy] = field(default_factory=dict)
    contributors: set[Contributor] = field(default_factory=set)
    puts_in_flight: int = 0
    streams: "set[Placement]" = field(default_factory=set)
    bytes_assigned: int = 0
    instances_stored: int = 0
    bytes_stored: int = 0
    last_stored_at: datetime | None = None
    closed_by: ClosedBy | None = None
    closed_at: datetime | None = None
    groups: defaultdict[Group, GroupContent] = field(default_factory=lambda: defaultdict(GroupContent))
    late: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Placement:
    """Where an instance goes: its key is fixed before its upload begins."""

    instance: Instance
    batch: Batch
    key: str
    is_streamed: bool
    began: float
    digest: bytes
    contributor: Contributor


class Batches:
    """All batches of one process that are open, or closed and waiting for uploads."""

    def __init__(self, limits: Limits, process_id: str) -> None:
        """`process_id`: 8 hex digits that no other process uses."""
        self._limits = limits
        self._process_id = process_id
        self._sequence = 0
        self._open: list[Batch] = []  # oldest first; more than one only after an instance came again
        self._closing: list[Batch] = []
        self._late: set[Placement] = set()
        self._minute = float("-inf")
        self._repeats: Counter[str] = Counter()  # of this minute, by calling AE title
        self._released_closings = 0

    # Instances

    def is_stored_already(self, instance: Instance, size: int, chunks: Sequence[memoryview]) -> bool:
        """Say whether these very bytes are stored as this instance, in a batch that is still open.

        They are compared by size and MD5, which is the ETag unless the bucket's key is one of KMS: then the second
        copy is stored, and the third compared with that one's digest.
        """
        names = instance.uids
        copies = [batch.copies[names] for batch in self._open if names in batch.copies]
        candidates = [copy for copy in copies if copy.is_stored and copy.size == size]
        if not candidates:
            return False
        digest = _digest(chunks)
        return any(digest == copy.digest or copy.etag == digest.hex() for copy in candidates)

    def place(
        self,
        contributor: Contributor,
        instance: Instance,
        size: int,
        chunks: Sequence[memoryview] | None,
        monotonic_now: float,
        utc_now: datetime,
    ) -> Placement:
        """Choose the batch of an instance whose upload begins; `chunks` are its bytes, None if it is streamed.

        Raises `TooManyRepeats`.
        """
        names = instance.uids
        earlier = [batch.copies[names] for batch in self._open if names in batch.copies]
        batch = self._choose(names, size, utc_now)
        if batch is None:
            if any(not copy.has_failed for copy in earlier):
                self._charge_repeat(instance.calling_ae_title, monotonic_now)
            batch = self._open_batch(monotonic_now, utc_now)
        key = object_key(batch.batch_id, *names)
        digest = _digest(chunks) if earlier and chunks is not None else b""
        placement = Placement(instance, batch, key, chunks is None, monotonic_now, digest, contributor)
        self._take_in(batch, names, size, monotonic_now, utc_now)
        batch.contributors.add(contributor)
        if placement.is_streamed:
            batch.streams.add(placement)
        else:
            batch.puts_in_flight += 1
        return placement

    def stored(self, placement: Placement, size: int, etag: str, monotonic_now: float, utc_now: datetime) -> None:
        """Count an instance whose upload succeeded; `etag` is "" where it is not known.

        One that is late, or that its batch has no room for, is counted by another batch, which says where it lies.
        """
        self._leave(placement)
        batch = placement.batch
        if placement in self._late:
            self._late.discard(placement)
            batch = self._claim(placement, size, monotonic_now, utc_now)
        elif placement.is_streamed and batch.instances_stored and batch.bytes_stored + size > self._limits.max_bytes:
            batch.late.append(placement.key)
            batch = self._claim(placement, size, monotonic_now, utc_now)
        instance = placement.instance
        copy = batch.copies[instance.uids]
        copy.size, copy.etag, copy.digest, copy.is_stored = size, etag, placement.digest, True
        batch.last_activity = monotonic_now
        batch.last_stored_at = utc_now
        batch.instances_stored += 1
        batch.bytes_stored += size
        batch.bytes_assigned = max(batch.bytes_assigned, batch.bytes_stored)
        group = batch.groups[
            Group(
                instance.calling_ae_title, instance.study_instance_uid, instance.series_instance_uid, instance.sop_class
            )
        ]
        group.bytes += size
        group.sops.append(instance.sop_instance_uid)

    def failed(self, placement: Placement) -> None:
        """Forget an upload that failed.

        Its key stays taken: the object may still land, and the next try shall not meet it. A batch that holds nothing
        else is given up, so that tries which fail again and again do not pile up.
        """
        self._leave(placement)
        self._late.discard(placement)
        batch, instance = placement.batch, placement.instance
        batch.copies[instance.uids].has_failed = True
        if batch in self._open and not (batch.instances_stored or batch.puts_in_flight or batch.streams):
            self._open.remove(batch)

    # Ends

    def close_due(self, monotonic_now: float, utc_now: datetime) -> list[Batch]:
        """Close what is due, and return the closed batches that no upload holds back any more."""
        for batch in tuple(self._open):
            reason = self._due(batch, monotonic_now)
            if reason is not None:
                self._close(batch, reason, utc_now)
        return self._take_settled()

    def close_all(self, utc_now: datetime) -> list[Batch]:
        """Close everything because the process stops; return those that no upload holds back."""
        for batch in tuple(self._open):
            self._close(batch, ClosedBy.STOP, utc_now)
        return self._take_settled()

    @property
    def open_batches(self) -> int:
        """Batches that are not closed yet."""
        return len(self._open)

    @property
    def uploads_in_flight(self) -> int:
        """Uploads that have neither succeeded nor failed."""
        batches = self._open + self._closing
        return len(self._late) + sum(batch.puts_in_flight + len(batch.streams) for batch in batches)

    def oldest_age_seconds(self, monotonic_now: float) -> float:
        """Age of the oldest batch whose manifest is not due yet; 0.0 if there is none."""
        return max((monotonic_now - batch.opened for batch in self._open + self._closing), default=0.0)

    # Choosing

    def _choose(self, names: _Names, size: int, utc_now: datetime) -> Batch | None:
        """Return an open batch that lacks the instance and has room for it, if there is one."""
        for batch in tuple(self._open):
            if names in batch.copies:
                continue
            if batch.bytes_assigned + size > self._limits.max_bytes and batch.copies:
                self._close(batch, ClosedBy.BYTES, utc_now)
                continue
            return batch
        return None

    def _claim(self, placement: Placement, size: int, monotonic_now: float, utc_now: datetime) -> Batch:
        """Have an open batch count an object that lies below another one's prefix."""
        instance = placement.instance
        names = instance.uids
        batch = self._choose(names, size, utc_now) or self._open_batch(monotonic_now, utc_now)
        self._take_in(batch, names, size, monotonic_now, utc_now)
        batch.contributors.add(placement.contributor)
        batch.elsewhere.append(placement.key)
        return batch

    def _take_in(self, batch: Batch, names: _Names, size: int, monotonic_now: float, utc_now: datetime) -> None:
        batch.copies[names] = _Copy()
        batch.bytes_assigned += size
        batch.last_activity = monotonic_now
        if len(batch.copies) >= self._limits.max_instances:
            self._close(batch, ClosedBy.INSTANCES, utc_now)

    def _open_batch(self, monotonic_now: float, utc_now: datetime) -> Batch:
        self._sequence += 1
        stamp = utc_now.strftime("%Y%m%dT%H%M%S") + f"{utc_now.microsecond // 1000:03d}Z"
        batch_id = f"{stamp}-{self._process_id}-{self._sequence:04d}"
        batch = Batch(batch_id, opened_at=utc_now, opened=monotonic_now, last_activity=monotonic_now)
        self._open.append(batch)
        return batch

    def _leave(self, placement: Placement) -> None:
        if placement.is_streamed:
            placement.batch.streams.discard(placement)
        else:
            placement.batch.puts_in_flight -= 1

    # Bounds for a minute

    def _charge_repeat(self, calling_ae_title: str, monotonic_now: float) -> None:
        self._turn_minute(monotonic_now)
        repeats = self._repeats
        if repeats.total() >= _REPEATS or repeats[calling_ae_title] >= _REPEATS_PER_TITLE:
            raise TooManyRepeats
        repeats[calling_ae_title] += 1

    def _turn_minute(self, monotonic_now: float) -> None:
        if monotonic_now - self._minute >= _MINUTE:
            self._minute = monotonic_now
            self._repeats.clear()
            self._released_closings = 0

    # Closing

    def _due(self, batch: Batch, monotonic_now: float) -> ClosedBy | None:
        limits = self._limits
        if batch.bytes_stored >= limits.max_bytes:
            return ClosedBy.BYTES
        if monotonic_now - batch.opened >= limits.max_age_seconds:
            return ClosedBy.AGE
        if batch.puts_in_flight or not batch.instances_stored:
            return None
        patience = limits.quiet_seconds * _PATIENCE_FACTOR
        if any(monotonic_now - stream.began < patience for stream in batch.streams):
            return None
        if monotonic_now - batch.last_activity >= limits.quiet_seconds:
            return ClosedBy.QUIET
        return ClosedBy.RELEASED if self._is_released(batch, monotonic_now) else None

    def _is_released(self, batch: Batch, monotonic_now: float) -> bool:
        """Whether all who contributed have released, some time ago: who sends more has begun again by now."""
        ends = [contributor.ended_at for contributor in batch.contributors if contributor.was_released]
        if len(ends) < len(batch.contributors):
            return False
        last = max([batch.last_activity, *(end for end in ends if end is not None)])
        if monotonic_now - last < self._limits.released_seconds:
            return False
        self._turn_minute(monotonic_now)
        if self._released_closings >= _RELEASED_PER_MINUTE:
            return False
        self._released_closings += 1
        return True

    def _close(self, batch: Batch, reason: ClosedBy, utc_now: datetime) -> None:
        batch.closed_by = reason
        batch.closed_at = utc_now
        self._open.remove(batch)
        self._closing.append(batch)

    def _take_settled(self) -> list[Batch]:
        """Take the closed batches that no put holds back; what is still streamed into them will be late."""
        settled = [batch for batch in self._closing if not batch.puts_in_flight]
        if not settled:
            return settled
        self._closing = [batch for batch in self._closing if batch.puts_in_flight]
        for batch in settled:
            batch.late += sorted(stream.key for stream in batch.streams)
            self._late |= batch.streams
            batch.streams.clear()
        return [batch for batch in settled if batch.instances_stored]


def _digest(chunks: Sequence[memoryview]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
