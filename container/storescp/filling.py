"""The part of an object that is being filled, and the memory that it asks for, step by step (ADR 9)."""

from collections.abc import Callable
from typing import Final

from storescp.memory import MIB, Request
from storescp.part import AssociationMemory, Part

_ENTRY_BYTES: Final = MIB  # claimed for an object of which only is known that it is larger than a first stage


class PartFiller:
    """Takes an object's bytes as far as there is memory.

    An object begins in its association's first stage, or with a claim of the size that it probably has. A claim grows
    once, to a whole part. What is filled is taken away, and the next part is claimed as a whole. While a request waits,
    nothing of the next step is held; what is held of this one goes back when the object ends, however it ends.
    """

    __slots__ = ("_association", "_expected_size", "_head", "_may_grow", "_on_room", "_part", "_request", "size")

    def __init__(
        self, association: AssociationMemory, head: bytes, expected_size: int, on_room: Callable[[], None]
    ) -> None:
        """`head` precedes the object's own bytes; `expected_size` is that of all of them, 0: not known."""
        self.size = 0
        self._association = association
        self._head = head  # until there is memory for it
        self._expected_size = expected_size
        self._on_room = on_room
        self._part: Part | None = None
        self._request: Request | None = None
        self._may_grow = False
        self._begin()

    @property
    def room(self) -> int:
        """How many bytes may be written now."""
        return self._part.room if self._part is not None else 0

    @property
    def has_begun(self) -> bool:
        """Whether there was memory for the head."""
        return not self._head

    @property
    def is_waiting(self) -> bool:
        """Whether memory was asked for that is not granted yet."""
        return self._request is not None

    @property
    def part(self) -> Part:
        """The part that is being filled."""
        assert self._part is not None
        return self._part

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes, as many as there is room for."""
        self.part.write(data)
        self.size += len(data)

    def grow(self) -> bool:
        """Ask for memory for a part that is not full yet, or not begun; return False if it has all that it can have.

        Afterwards there is `room`, or it `is_waiting` and `on_room` is called later.
        """
        if self._part is None:
            self._request_part()
        elif not self._may_grow:
            return False
        elif self._part.claim is not None:
            self._ask(self._association.memory.request_growth(self._part.claim, self._on_grant))
        else:
            wanted = self._expected_left or _ENTRY_BYTES
            self._ask(self._association.memory.request(self._association.peer, wanted, self._on_grant))
        return True

    def take(self) -> Part | None:
        """Return what was filled, which belongs to the caller now; None if there is nothing."""
        part, self._part = self._part, None
        if part is not None:
            part.close()
        return part

    def drop(self) -> None:
        """Give everything back, and ask for nothing any more."""
        request, self._request = self._request, None
        if request is not None:
            request.cancel()
            if request.claim is not None and (self._part is None or self._part.claim is not request.claim):
                request.claim.release()
        if self._part is not None:
            self._part.release()
            self._part = None

    def _begin(self) -> None:
        """Take the memory that is probably needed, or else the association's first stage, if either is there."""
        first_stage = self._association.first_stage
        if not first_stage.is_free or self._expected_size > first_stage.size_bytes:
            self._request_part()
            if self._request is None or not first_stage.is_free:
                return
            self.drop()
        self._part = Part(self._association.memory.chunks, self._expected_size)
        self._part.add(first_stage.take(), first_stage.size_bytes)
        self._may_grow = True
        self._write_head()

    @property
    def _expected_left(self) -> int:
        return max(0, self._expected_size - self.size)

    def _request_part(self) -> None:
        """Ask for the claim of a new part: of a whole one if the object has shown that it is large."""
        association = self._association
        wanted = self._expected_left
        if not wanted:
            wanted = association.first_stage.size_bytes if self._head else association.memory.plan.part_bytes
        self._ask(association.memory.request(association.peer, wanted, self._on_grant))

    def _ask(self, request: Request) -> None:
        self._request = request
        if request.claim is not None:
            self._take_grant(request)

    def _on_grant(self) -> None:
        if self._request is not None:
            self._take_grant(self._request)
            self._on_room()

    def _take_grant(self, request: Request) -> None:
        self._request = None
        claim = request.claim
        assert claim is not None
        if self._part is None:
            self._part = Part(self._association.memory.chunks, self._expected_left)
        self._part.add(claim, request.size_bytes)
        self._may_grow = claim.size_bytes < self._association.memory.plan.part_bytes
        self._write_head()

    def _write_head(self) -> None:
        head, self._head = self._head, b""
        if head:
            self.write(head)
