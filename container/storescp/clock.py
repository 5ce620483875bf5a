"""The time of day, and what a process does again and again, whatever becomes of one time."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from storescp.failures import describe_failure
from storescp.log import Log

TICK_SECONDS: Final = 0.25

Step = Callable[[float], None]


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


class Clock:
    """Takes its steps at every tick, with the time of a monotonic clock; one that fails costs no other and no tick."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log, *steps: Step) -> None:
        self._loop = loop
        self._log = log
        self._steps = steps

    def start(self) -> None:
        """Begin to tick, until the loop ends."""
        self._loop.call_later(TICK_SECONDS, self.tick)

    def tick(self) -> None:
        """Take every step once."""
        self.start()  # before anything that could fail
        monotonic_now = self._loop.time()
        for step in self._steps:
            try:
                step(monotonic_now)
            except Exception as error:  # noqa: BLE001 (time-outs and batches must go on, whatever it is)
                self._log.error("clock step failed", **describe_failure(error))
