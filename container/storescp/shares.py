"""How much of something one peer has, so that none of it is all of it."""

from collections import Counter
from collections.abc import Hashable
from typing import Final

SHARE: Final = 0.75
MAXIMUM_REJECTIONS_PER_MINUTE: Final = 60


def share_of(maximum: int, workers: int = 1) -> int:
    """Of `maximum` over all workers, how many one peer may have in one of them: three quarters, spread evenly.

    One more than an even spread, because connections are shared out by number, not by peer.
    """
    whole = -int(-maximum * SHARE // 1)
    return whole if workers == 1 else min(whole, -(-whole // workers) + 1)


class Shares:
    """Counts by peer, of which none exceeds a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[Hashable] = Counter()

    def take(self, *peers: Hashable) -> bool:
        """Count one for each of these; return False, and count nothing, if one of them has its share."""
        if any(self._counts[peer] >= self._limit for peer in peers):
            return False
        self._counts.update(peers)
        return True

    def give_back(self, *peers: Hashable) -> None:
        """Count one less for each of these."""
        for peer in peers:
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]


class RejectionRate:
    """Rejections of each peer in the minute that runs."""

    def __init__(self) -> None:
        self._minute = -1
        self._counts: Counter[Hashable] = Counter()

    def is_exceeded(self, peer: Hashable, monotonic_now: float) -> bool:
        """Count a rejection; say whether there were too many of this peer in this minute."""
        minute = int(monotonic_now // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        self._counts[peer] += 1
        return self._counts[peer] > MAXIMUM_REJECTIONS_PER_MINUTE
