"""How long a sender may have to wait for the store, in all, before its request is answered with a failure."""

import asyncio
from collections.abc import Callable


class Patience:
    """A timer that can be paused: it runs while a sender waits for us, and not while we wait for a sender."""

    __slots__ = ("_began", "_has_ended", "_loop", "_on_exhausted", "_seconds_left", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, on_exhausted: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds_left = seconds
        self._on_exhausted = on_exhausted
        self._began = 0.0
        self._has_ended = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Let the timer run, unless it runs already."""
        if self._timer is None and not self._has_ended:
            self._began = self._loop.time()
            self._timer = self._loop.call_later(max(0.0, self._seconds_left), self._on_exhausted)

    def pause(self) -> None:
        """Stand still, until it begins again with what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._seconds_left -= self._loop.time() - self._began

    def end(self) -> None:
        """Stop the timer for good."""
        self.pause()
        self._has_ended = True
