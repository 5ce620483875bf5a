"""What happens later: one list of moments and actions, driven by a thread or by a test's own clock."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

Clock = Callable[[], float]
Action = Callable[[], None]


class Scheduler:
    """Actions in the order of their moments (seconds of `clock`)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._entries: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False

    def after(self, seconds: float, action: Action) -> None:
        """Enter `action`; those of the same moment keep the order in which they were entered."""
        with self._changed:
            heapq.heappush(self._entries, (self.clock() + seconds, next(self._order), action))
            self._changed.notify()

    def next_moment(self) -> float | None:
        """When the next action is due, None when there is none."""
        with self._changed:
            return self._entries[0][0] if self._entries else None

    def run_due(self) -> int:
        """Run everything due by now, in order, with what that enters for now; return how many actions that were."""
        count = 0
        while (action := self._take_due()) is not None:
            action()
            count += 1
        return count

    def serve(self) -> None:
        """Run actions when they are due, until `stop`."""
        while not self._stopped:
            self.run_due()
            with self._changed:
                if self._stopped:
                    return
                wait = max(0.0, self._entries[0][0] - self.clock()) if self._entries else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)

    def stop(self) -> None:
        """End `serve`; what is not due yet never happens."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take_due(self) -> Action | None:
        with self._changed:
            if self._stopped or not self._entries or self._entries[0][0] > self.clock():
                return None
            return heapq.heappop(self._entries)[2]
