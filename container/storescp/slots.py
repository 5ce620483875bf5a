"""Counts that the workers share: how many associations are open, how many connections were closed."""

import mmap
from struct import Struct
from typing import Final

_COUNT: Final = Struct("=q")


class SharedCounts:
    """One number a worker, in memory that all processes share; no worker writes what another one writes."""

    def __init__(self, workers: int) -> None:
        """To be made before the workers are forked."""
        self._workers = workers
        self._memory = mmap.mmap(-1, _COUNT.size * workers)

    def add(self, worker: int, amount: int) -> None:
        """Add `amount` to the number of a worker."""
        _COUNT.pack_into(self._memory, worker * _COUNT.size, self.of(worker) + amount)

    def clear(self, worker: int) -> None:
        """Begin again at zero, after a worker's death."""
        _COUNT.pack_into(self._memory, worker * _COUNT.size, 0)

    def of(self, worker: int) -> int:
        """A worker's number."""
        count: int = _COUNT.unpack_from(self._memory, worker * _COUNT.size)[0]
        return count

    def total(self) -> int:
        """The sum of all workers' numbers."""
        return sum(map(self.of, range(self._workers)))


class Slots:
    """MAXIMUM_ASSOCIATIONS, over all workers.

    A worker first counts itself in and then adds up; two that do so at the same moment for the last slot may
    both be refused (a transient rejection), but the limit is never exceeded.
    """

    def __init__(self, maximum: int, counts: SharedCounts, worker: int) -> None:
        self._maximum = maximum
        self._counts = counts
        self._worker = worker

    def take(self) -> bool:
        """Take a slot, or return False: the limit is reached."""
        self._counts.add(self._worker, 1)
        if self._counts.total() > self._maximum:
            self._counts.add(self._worker, -1)
            return False
        return True

    def give_back(self) -> None:
        """Give back a slot that `take` took."""
        self._counts.add(self._worker, -1)

    def total(self) -> int:
        """Slots taken by all workers."""
        return self._counts.total()
