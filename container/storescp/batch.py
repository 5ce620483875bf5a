"""Batches: which stored instances become one import job, and the manifest that says so (ADR 1).

A batch is a prefix that is frozen once it is closed. Instances that came whole before their upload began share
the process's batches. A streamed one is as slow as its sender, so it belongs to a lane of its association: the
shared batches never wait for a sender, only for the store.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Final

_SCHEMA: Final = 1


class ClosedBy(Enum):
    """Why a batch was closed."""

    QUIET = "quiet"
    AGE = "age"
    INSTANCES = "instances"
    BYTES = "bytes"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is closed."""

    quiet_seconds: float
    max_age_seconds: float
    max_instances: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Instance:
    """What a batch remembers of an instance."""

    study: str
    series: str
    sop_instance: str
    calling_ae_title: str


@dataclass(slots=True, eq=False)
class Batch:
    """One batch; times are seconds of a monotonic clock unless they end in `_at`."""

    batch_id: str
    opened_at: datetime
    opened: float
    last_activity: float
    keys: set[tuple[str, str, str]] = field(default_factory=set)
    uploads_in_flight: int = 0
    bytes_assigned: int = 0
    instances_stored: int = 0
    bytes_stored: int = 0
    last_stored_at: datetime | None = None
    closed_by: ClosedBy | None = None
    closed_at: datetime | None = None
    calling_ae_titles: set[str] = field(default_factory=set)
    studies: dict[str, list[int]] = field(default_factory=dict)  # StudyInstanceUID: [instances, bytes]


class Lane:
    """Open batches that the same senders share, oldest first.

    More than one is open only after a SOP instance came twice: each batch holds it once.
    """

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open: list[Batch] = []


class Batches:
    """All batches of one process that are open, or closed and waiting for uploads."""

    def __init__(self, limits: Limits, process_id: str) -> None:
        """`process_id`: 8 hex digits that no other process uses."""
        self._limits = limits
        self._process_id = process_id
        self._sequence = 0
        self._lanes: dict[Lane, None] = {}
        self._closing: list[Batch] = []
        self.shared = Lane()

    def assign(self, lane: Lane, instance: Instance, size: int, now: float, at: datetime) -> Batch:
        """Choose the batch of an instance whose upload of `size` bytes (0: not known yet) begins."""
        key = (instance.study, instance.series, instance.sop_instance)
        for batch in tuple(lane.open):
            if key in batch.keys:
                continue
            if batch.bytes_assigned + size > self._limits.max_bytes and batch.keys:
                self._close(lane, batch, ClosedBy.BYTES, at)
                continue
            break
        else:
            batch = self._open(lane, now, at)
        batch.keys.add(key)
        batch.bytes_assigned += size
        batch.uploads_in_flight += 1
        batch.last_activity = now
        if len(batch.keys) >= self._limits.max_instances:
            self._close(lane, batch, ClosedBy.INSTANCES, at)
        return batch

    def stored(self, batch: Batch, instance: Instance, size: int, now: float, at: datetime) -> None:
        """Count an instance whose upload succeeded."""
        batch.uploads_in_flight -= 1
        batch.last_activity = now
        batch.last_stored_at = at
        batch.instances_stored += 1
        batch.bytes_stored += size
        batch.bytes_assigned = max(batch.bytes_assigned, batch.bytes_stored)
        batch.calling_ae_titles.add(instance.calling_ae_title)
        study = batch.studies.setdefault(instance.study, [0, 0])
        study[0] += 1
        study[1] += size

    def failed(self, batch: Batch) -> None:
        """Forget an upload that failed.

        Its key stays taken: the object may still land, and the next attempt shall not meet it.
        """
        batch.uploads_in_flight -= 1

    def close_due(self, now: float, at: datetime) -> list[Batch]:
        """Close what is due, and return the closed batches that no upload holds back any more."""
        for lane in tuple(self._lanes):
            for batch in tuple(lane.open):
                reason = self._due(batch, now)
                if reason is not None:
                    self._close(lane, batch, reason, at)
        return self._take_settled()

    def close_all(self, at: datetime) -> list[Batch]:
        """Close everything because the process stops; return those that no upload holds back."""
        for lane in tuple(self._lanes):
            for batch in tuple(lane.open):
                self._close(lane, batch, ClosedBy.STOP, at)
        return self._take_settled()

    @property
    def uploads_in_flight(self) -> int:
        """Uploads that have neither succeeded nor failed."""
        batches = [batch for lane in self._lanes for batch in lane.open] + self._closing
        return sum(batch.uploads_in_flight for batch in batches)

    def oldest_age_seconds(self, now: float) -> float:
        """Age of the oldest batch whose manifest is not due yet; 0.0 if there is none."""
        batches = [batch for lane in self._lanes for batch in lane.open] + self._closing
        return max((now - batch.opened for batch in batches), default=0.0)

    def _open(self, lane: Lane, now: float, at: datetime) -> Batch:
        self._sequence += 1
        stamp = at.strftime("%Y%m%dT%H%M%S") + f"{at.microsecond // 1000:03d}Z"
        batch_id = f"{stamp}-{self._process_id}-{self._sequence:04d}"
        batch = Batch(batch_id, opened_at=at, opened=now, last_activity=now)
        lane.open.append(batch)
        self._lanes[lane] = None
        return batch

    def _due(self, batch: Batch, now: float) -> ClosedBy | None:
        if batch.bytes_stored >= self._limits.max_bytes:
            return ClosedBy.BYTES
        if now - batch.opened >= self._limits.max_age_seconds:
            return ClosedBy.AGE
        if not batch.uploads_in_flight and now - batch.last_activity >= self._limits.quiet_seconds:
            return ClosedBy.QUIET
        return None

    def _close(self, lane: Lane, batch: Batch, reason: ClosedBy, at: datetime) -> None:
        batch.closed_by = reason
        batch.closed_at = at
        lane.open.remove(batch)
        if not lane.open:
            self._lanes.pop(lane, None)
        self._closing.append(batch)

    def _take_settled(self) -> list[Batch]:
        settled = [batch for batch in self._closing if not batch.uploads_in_flight]
        if settled:
            self._closing = [batch for batch in self._closing if batch.uploads_in_flight]
        return [batch for batch in settled if batch.instances_stored]


def encode_manifest(batch: Batch) -> bytes:
    """The manifest of a closed batch, JSON (ADR 1)."""
    if batch.closed_by is None or batch.closed_at is None or batch.last_stored_at is None:
        raise ValueError(f"batch {batch.batch_id} is not closed, or empty")
    return json.dumps(
        {
            "schema": _SCHEMA,
            "batch": batch.batch_id,
            "opened_at": _timestamp(batch.opened_at),
            "closed_at": _timestamp(batch.closed_at),
            "last_stored_at": _timestamp(batch.last_stored_at),
            "closed_by": batch.closed_by.value,
            "instances": batch.instances_stored,
            "bytes": batch.bytes_stored,
            "calling_ae_titles": sorted(batch.calling_ae_titles),
            "studies": [
                {"StudyInstanceUID": study, "instances": instances, "bytes": size}
                for study, (instances, size) in sorted(batch.studies.items())
            ],
        },
        separators=(",", ":"),
    ).encode()


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


def _timestamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
