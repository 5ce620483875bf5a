"""The memory that image data may take in one process, and the buffers it is made of.

Buffers come in powers of two and are used again: their pages are already mapped, which for a CT slice saves more
time than copying it costs. What is charged is their capacity, so the sum is bounded whatever is sent.
"""

from collections import defaultdict
from typing import Final

SMALLEST_BUFFER: Final = 16 * 1024
LARGEST_BUFFER: Final = 8 * 1024 * 1024
_KEPT_SHARE: Final = 4  # a quarter of the budget may lie idle in buffers kept for use again


class MemoryBudget:
    """Counts the bytes of buffers in use, and keeps some of those given back."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)
        self._free_bytes = 0
        self.bytes_in_use = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether nobody should read more from the network.

        One largest buffer of the budget is held back for the one object that is let through when all wait.
        """
        return self.bytes_in_use > self._limit - 2 * LARGEST_BUFFER

    def take(self, size: int) -> bytearray:
        """Return a buffer of at least `size` bytes (at most `LARGEST_BUFFER`), its content undefined.

        It never fails: bytes that were read have to go somewhere. Who takes asks `is_exhausted` afterwards.
        """
        capacity = max(SMALLEST_BUFFER, 1 << (size - 1).bit_length())
        self.bytes_in_use += capacity
        kept = self._free[capacity]
        if kept:
            self._free_bytes -= capacity
            return kept.pop()
        return bytearray(capacity)

    def give_back(self, buffer: bytearray, is_unused: bool) -> None:
        """Return a buffer; `is_unused`: nobody else holds a view of it, so that it may serve again."""
        capacity = len(buffer)
        self.bytes_in_use -= capacity
        if is_unused and self._free_bytes + capacity <= self._limit // _KEPT_SHARE:
            self._free_bytes += capacity
            self._free[capacity].append(buffer)
