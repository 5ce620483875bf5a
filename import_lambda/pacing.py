"""How many StoreDICOM requests go out at once: one more while all goes well, half when throttled, none while it fails.

StoreDICOM's rate is documented nowhere, so it is found out (additive increase, multiplicative decrease).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass

from import_lambda.errors import MALFORMED_DATA_ERRORS, AwsError, Conflict, TryLater
from import_lambda.run import Run
from import_lambda.settings import backoff

FIRST_WINDOW, LARGEST_WINDOW = 4, 8
THROTTLES = frozenset({"ThrottlingException", "TooManyRequestsException", "HTTP429", "HTTP503", "SlowDown"})


@dataclass
class Pace:
    """Requests at once, rounds in a row without a success, and until when the fast path steps aside (epoch seconds)."""

    window: int = FIRST_WINDOW
    failed_rounds: int = 0
    aside_until: float = 0.0

    def is_aside(self, utc_now: float) -> bool:
        """Say whether batches go the way of the job for now."""
        return utc_now < self.aside_until

    def learn(self, errors: Iterable[AwsError | None], utc_now: float) -> None:
        """Adapt to a round of requests: None for each that was answered, else its error."""
        outcomes = list(errors)
        failed = [error for error in outcomes if error is not None]
        if not failed:
            self.window, self.failed_rounds = min(LARGEST_WINDOW, self.window + 1), 0
            return
        if any(error.code in THROTTLES for error in failed):
            self.window = max(1, self.window // 2)
        if len(failed) < len(outcomes):
            self.failed_rounds = 0
            return
        self.failed_rounds += 1
        lasting = any(not isinstance(error, TryLater) for error in failed)  # a permission, rather than a bad moment
        if lasting or self.failed_rounds > 1:
            self.aside_until = utc_now + backoff(10 if lasting else self.failed_rounds)


def read_pace(run: Run) -> Pace:
    """Return the pace that the runs before have found; a new one if the item is missing or cannot be read."""
    item = run.aws.get_item("LEASE", "FAST_PATH") or {}
    try:
        pace = Pace(int(item["window"]), int(item["failed_rounds"]), float(item["aside_until"]))
        return pace if 1 <= pace.window <= LARGEST_WINDOW else Pace()
    except MALFORMED_DATA_ERRORS:
        return Pace()


def write_pace(run: Run, pace: Pace) -> None:
    """Keep the pace for the runs to come."""
    now = int(run.aws.now())
    item = {"pk": "LEASE", "sk": "FAST_PATH", "written_at": now, **asdict(pace), "aside_until": int(pace.aside_until)}
    with suppress(Conflict):  # another run has learned later
        run.aws.put_item(item, "written_at", "<=", now)
