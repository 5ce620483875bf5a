"""Token buckets, one for each operation of the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Throttle:
    """Says whether a request may pass, at the rate and burst of its operation."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def admits(self, operation: str, rates: Mapping[str, tuple[float, float]], now: float) -> bool:
        """Take a token of `operation` at `now` (seconds); an operation without a rate is never throttled."""
        if operation not in rates:
            return True
        per_second, burst = rates[operation]
        bucket = self._buckets.setdefault(operation, _Bucket(burst, now))
        elapsed = max(0.0, now - bucket.filled_at)
        bucket.tokens = min(burst, bucket.tokens + elapsed * per_second)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
