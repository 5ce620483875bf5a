"""Whether a sender is alive enough to keep what it holds: slow is allowed, endless is not."""

from typing import Final

PERIOD_SECONDS: Final = 120.0


class Pace:
    """Bytes that a sender sends while an object of it arrives and it is its turn; seconds are those of its turns."""

    __slots__ = ("_bytes", "_last_look", "_seconds")

    def __init__(self) -> None:
        self._bytes = 0
        self._seconds = 0.0
        self._last_look: float | None = None

    def count(self, size_bytes: int) -> None:
        """Count bytes that the peer has sent."""
        self._bytes += size_bytes

    def is_too_slow(self, monotonic_now: float, is_its_turn: bool, minimum_bytes_per_second: int) -> bool:
        """Look, now and then: say whether a whole period went by with less than the minimum."""
        if self._last_look is not None and is_its_turn:
            self._seconds += monotonic_now - self._last_look
        self._last_look = monotonic_now
        if self._seconds < PERIOD_SECONDS:
            return False
        is_too_slow = self._bytes < minimum_bytes_per_second * self._seconds
        self.restart()
        return is_too_slow

    def restart(self) -> None:
        """Begin a new period: nothing is arriving, or the last one was fast enough."""
        self._bytes = 0
        self._seconds = 0.0
