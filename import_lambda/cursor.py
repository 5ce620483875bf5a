"""The cursor: up to where the landing bucket has been looked at, so that no look costs more than what is new."""

from __future__ import annotations

from import_lambda.keys import iso, opened_at
from import_lambda.run import Run

NAMES = ("manifests_seen_until", "objects_seen_until", "scanned_at", "swept_at", "step", "oldest_orphan_at")
MANIFEST_LAG_OF_IDS_SECONDS = 2 * 3600  # by how much a manifest may come after its batch was opened
COARSE_SECONDS = 300  # by how much a mark moves before it is written
LAST_ID = "~"


def start_of_ids(seconds: float) -> str:
    """Return what sorts before every id of a batch that was opened then or later."""
    return iso(max(0.0, seconds)).translate(str.maketrans("", "", "-:.Z"))


class Cursor:
    """The item `LEASE`/`SCAN`; times in epoch seconds. Losing it costs a look at everything, and nothing else."""

    manifests_seen_until: int  # every manifest of a batch that was opened before is in the ledger
    objects_seen_until: int  # every batch that was opened before is in the ledger
    scanned_at: int
    swept_at: int
    step: int  # of the sweep that is under way
    oldest_orphan_at: int  # when the oldest batch was opened that is not in the ledger; 0: there is none

    def __init__(self, run: Run) -> None:
        item = run.aws.get_item("LEASE", "SCAN") or {}
        for name in NAMES:
            value = item.get(name)
            setattr(self, name, value if type(value) is int else 0)
        self.before = self.item()
        self.scanned: set[str] | None = None  # batches that a scan of this pass has found
        self.stopped_at = LAST_ID  # where that scan, and the listing of manifests, had to stop

    def item(self) -> dict[str, int]:
        """Return what is written."""
        return {name: getattr(self, name) for name in NAMES}

    def finish(self, run: Run) -> None:
        """At the end of a pass, move the marks up to what is in the ledger by now; write them if it is worth it."""
        unregistered = [opened_at(name) for name in run.manifests if name not in run.known]
        self.manifests_seen_until = self._mark(run, MANIFEST_LAG_OF_IDS_SECONDS, unregistered)
        if self.scanned is not None:
            waiting = [opened_at(name) for name in self.scanned if name not in run.known]
            self.objects_seen_until = self._mark(run, 2 * run.settings.orphan_after_seconds, waiting)
            self.oldest_orphan_at = int(min(waiting, default=0))
        run.oldest_orphan_at = self.oldest_orphan_at
        moved = self.manifests_seen_until - self.before["manifests_seen_until"]
        if self.scanned is not None or self.step != self.before["step"] or abs(moved) > COARSE_SECONDS:
            run.aws.put_item({**self.item(), "pk": "LEASE", "sk": "SCAN"}, "pk", "=", "LEASE")
            self.before, self.scanned = self.item(), None

    def _mark(self, run: Run, lag: float, open_since: list[float]) -> int:
        stopped = [opened_at(self.stopped_at[: len("20261123T200315123Z-9f3a61c2-0001")])] if self._has_stopped else []
        return int(max(0.0, min([run.aws.now() - lag, *open_since, *stopped])))

    @property
    def _has_stopped(self) -> bool:
        return self.stopped_at != LAST_ID and self.stopped_at[0].isdigit()
