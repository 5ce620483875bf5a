"""The memory of one part of an object: chunks that are filled in order, below what its holder was granted (ADR 9)."""

from dataclasses import dataclass
from typing import Protocol

from storescp.memory import Chunks, Claim, Memory, Peer, chunk_bytes


class Grant(Protocol):
    """Bytes of the memory that an object may fill."""

    @property
    def size_bytes(self) -> int:
        """How many bytes may be filled."""

    def release(self) -> None:
        """Give the granted bytes back to the memory."""


class FirstStage:
    """The memory that an association has for itself, from its acceptance on: one object at a time fills it."""

    __slots__ = ("_is_closed", "_memory", "is_free", "size_bytes")

    def __init__(self, memory: Memory) -> None:
        """To be made once `Memory.admit` has agreed."""
        self._memory = memory
        self._is_closed = False
        self.size_bytes = memory.plan.first_stage_bytes
        self.is_free = True

    def take(self) -> "FirstStage":
        """Return it, to be filled by an object."""
        self.is_free = False
        return self

    def release(self) -> None:
        """Leave it to the association's next object; or to another association if this one is over."""
        self.is_free = True
        if self._is_closed:
            self._memory.dismiss()

    def close(self) -> None:
        """The association is over: nobody takes it any more."""
        self._is_closed = True
        if self.is_free:
            self._memory.dismiss()


@dataclass(frozen=True, slots=True)
class AssociationMemory:
    """What an association has of the memory, and whom its claims are counted to."""

    memory: Memory
    peer: Peer
    first_stage: FirstStage


class Part:
    """A part that is being filled, or that is being stored: nobody writes to it then.

    `size` is how many bytes it has.
    """

    __slots__ = ("_chunks", "_expected", "_grants", "_pool", "_unallocated", "_used", "_view", "_views", "size")

    def __init__(self, pool: Chunks, expected_bytes: int) -> None:
        """`expected_bytes`: how many it may well have, or 0; chunks are chosen by it."""
        self._pool = pool
        self._expected = expected_bytes
        self._grants: list[Grant] = []
        self._chunks: list[bytearray] = []
        self._views: list[memoryview] = []  # of the chunks that are full
        self._view = memoryview(b"")  # of the last chunk
        self._used = 0  # bytes of the last chunk
        self._unallocated = 0  # bytes that are granted and in no chunk yet
        self.size = 0

    @property
    def room(self) -> int:
        """How many bytes may be written before more has to be granted."""
        return self._unallocated + len(self._view) - self._used

    @property
    def claim(self) -> Claim | None:
        """The claim that it holds, if it has more than a first stage."""
        return next((grant for grant in self._grants if isinstance(grant, Claim)), None)

    def add(self, grant: Grant, size_bytes: int) -> None:
        """Be granted so many bytes (more); `release` gives the grant back."""
        self._unallocated += size_bytes
        if grant not in self._grants:
            self._grants.append(grant)

    def close(self) -> None:
        """Nothing more is written: give back what was granted and not needed."""
        claim = self.claim
        if claim is not None and self._unallocated:
            claim.shrink(claim.size_bytes - self._unallocated)
        self._unallocated = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes, as many as there is room for."""
        end = self._used + len(data)
        if end <= len(self._view):
            self._view[self._used : end] = data
            self._used = end
            self.size += len(data)
            return
        data = memoryview(data)
        while data:
            if self._used == len(self._view):
                self._next_chunk(len(data))
            taken = min(len(data), len(self._view) - self._used)
            self._view[self._used : self._used + taken] = data[:taken]
            self._used += taken
            self.size += taken
            data = data[taken:]

    def views(self) -> list[memoryview]:
        """Return the bytes as they were written, in views of the chunks."""
        return [*self._views, self._view[: self._used]]

    def first_view(self) -> memoryview:
        """Return the bytes of the first chunk."""
        return self.views()[0]

    def whole(self) -> bytearray:
        """Return a copy of all bytes, in one piece."""
        whole = bytearray()
        for view in self.views():
            whole += view
        return whole

    def release(self) -> None:
        """Give all memory back, once; nobody reads the views any more."""
        chunks, self._chunks = self._chunks, []
        grants, self._grants = self._grants, []
        self._views = []
        self._view = memoryview(b"")
        self._used = self._unallocated = 0
        for chunk in chunks:
            self._pool.give_back(chunk)
        for grant in grants:
            grant.release()

    def _next_chunk(self, wanted: int) -> None:
        if self._used:
            self._views.append(self._view)
        expected = max(wanted, self._expected - self.size, self.size)  # without a hint it doubles
        chunk = self._pool.take(chunk_bytes(expected, self._unallocated))
        self._unallocated -= len(chunk)
        self._chunks.append(chunk)
        self._view = memoryview(chunk)
        self._used = 0
