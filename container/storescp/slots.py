"""How many associations are open, counted over all workers in memory that they share."""

import mmap
from struct import Struct
from typing import Final

_COUNT: Final = Struct("=q")


class Slots:
    """One count a worker, so that no worker ever writes what another one writes.

    A worker first counts itself in and then adds up; two that do so at the same moment for the last slot may
    both be refused (a transient rejection), but the limit is never exceeded.
    """

    def __init__(self, maximum: int, workers: int) -> None:
        """To be made before the workers are forked."""
        self._maximum = maximum
        self._workers = workers
        self._counts = mmap.mmap(-1, _COUNT.size * workers)

    def take(self, worker: int) -> bool:
        """Take a slot for a worker, or return False: the limit is reached."""
        self._add(worker, 1)
        if self.total() > self._maximum:
            self._add(worker, -1)
            return False
        return True

    def give_back(self, worker: int) -> None:
        """Give a slot back."""
        self._add(worker, -1)

    def clear(self, worker: int) -> None:
        """Give back all slots of a worker that died."""
        _COUNT.pack_into(self._counts, worker * _COUNT.size, 0)

    def of(self, worker: int) -> int:
        """Slots that a worker holds."""
        count: int = _COUNT.unpack_from(self._counts, worker * _COUNT.size)[0]
        return count

    def total(self) -> int:
        """Slots that all workers hold."""
        return sum(map(self.of, range(self._workers)))

    def _add(self, worker: int, amount: int) -> None:
        _COUNT.pack_into(self._counts, worker * _COUNT.size, self.of(worker) + amount)
