"""A sender waits for the store so long in all, and not longer; the clock stands still while we wait for him."""

import asyncio
from collections.abc import Callable
from typing import cast

from storescp.patience import Patience


class Clock:
    """A loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> "Clock":
        self.due.append((self.now + delay, call))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def run_until(self, end: float) -> None:
        self.now = end
        for moment, call in tuple(self.due):
            if moment <= end:
                call()


def test_only_the_time_that_the_sender_waits_is_counted() -> None:
    clock, exhausted = Clock(), []
    patience = Patience(cast(asyncio.AbstractEventLoop, clock), 10.0, lambda: exhausted.append(clock.now))
    patience.begin()
    patience.begin()
    assert [moment for moment, _ in clock.due] == [10.0]
    clock.run_until(6.0)
    patience.pause()
    patience.pause()
    clock.run_until(100.0)
    assert exhausted == []
    patience.begin()
    clock.run_until(103.0)
    assert exhausted == []
    clock.run_until(104.0)
    assert exhausted == [104.0]


def test_after_its_end_it_never_runs_again() -> None:
    clock, exhausted = Clock(), []
    patience = Patience(cast(asyncio.AbstractEventLoop, clock), 1.0, lambda: exhausted.append(clock.now))
    patience.begin()
    patience.end()
    patience.begin()
    clock.run_until(50.0)
    assert exhausted == []
