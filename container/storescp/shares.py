"""How much of something one peer has, so that nobody else goes without for what it does not use."""

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
    """How many of something each peer has, and who has more than a share."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._counts: Counter[Hashable] = Counter()

    def add(self, *peers: Hashable) -> None:
        """Count one more for each of these."""
        self._counts.update(peers)

    def remove(self, *peers: Hashable) -> None:
        """Count one less for each of these."""
        for peer in peers:
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]

    def is_exceeded_by(self, peer: Hashable) -> bool:
        """Say whether a peer has more than the share."""
        return self._counts[peer] > self._share


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
