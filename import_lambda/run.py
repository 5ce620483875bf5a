"""A run: what one invocation knows and has done, and the only way to the batches' items."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from import_lambda.aws import Aws, ListedObject
from import_lambda.errors import AwsError, OutOfTime
from import_lambda.keys import epoch, iso
from import_lambda.lease import Lease
from import_lambda.ledger import IMPORTING, Batch, batch_in
from import_lambda.metrics import log
from import_lambda.settings import SLOW_RETRY_SECONDS, Settings


class Run:
    """The state of one invocation. Steps read facts through it; nothing here decides anything."""

    def __init__(self, aws: Aws, settings: Settings, lease: Lease, deadline: float) -> None:
        self.aws, self.settings, self.lease, self.deadline = aws, settings, lease, deadline
        self.known: dict[str, Batch] = {}  # newest item of each batch that this run has seen
        self.importing: set[str] = set()  # of them, those whose job runs
        self.distrusted: set[str] = set()  # batches that the index may show as they were
        self.manifests: dict[str, ListedObject] = {}  # below batches/, by batch id
        self.read_manifests: dict[str, Any] = {}  # the last ones that were read, by root batch
        self.prefixes: dict[str, str] = {}  # of batches that were found by their objects
        self.troubles: Counter[str] = Counter()  # calls that failed in this run, by batch
        self.noted_jobs: set[str] = set()  # whose success this run has noted
        self.successes: tuple[list[int], int] | None = None  # doubts.read_successes, as this run has written it
        self.listings: dict[str, list[ListedObject]] = {}  # of batches that are about to be intended
        self.oldest_orphan_at = 0.0
        self.counts: Counter[str] = Counter()
        self.seconds_to_image_set: list[float] = []
        self.emitted_at = aws.now()
        self.saves = 0
        # Jobs whose intent this run has written and whose start it has not tried, with their objects.
        self.intended: dict[str, list[ListedObject]] = {}
        self.needs_another_pass = False  # something could not be done now and can be in a few seconds
        self.stop_starting = False  # this pass starts no more jobs
        self.start_failures = 0  # batches in a row that HealthImaging starts no job for
        self.next_start = 0.0
        self.is_discovered = False
        self.sent: dict[str, Any] = {}  # what the fast path has under way, by batch id (confirming.Sent)
        self.by_job: set[str] = set()  # batches that are not for the fast path
        self.is_refusal_reported = False
        self.lookups_left = 0  # of the ledger, for storage commitment, in this pass
        self.open_counts: dict[str, int] = {}

    def check(self) -> None:
        """Look at clock and lease between two calls.

        Raises OutOfTime, LeaseLost: the time is over, or somebody else works now.
        """
        if self.aws.now() >= self.deadline:
            raise OutOfTime
        self.lease.keep()

    def pause(self, seconds: float) -> None:
        """Wait with jitter, within the time that is left.

        Raises OutOfTime: it is not enough.
        """
        self.wait(seconds * random.uniform(0.5, 1.0))

    def wait(self, seconds: float) -> None:
        """Wait, within the time that is left.

        Raises OutOfTime: it is not enough.
        """
        if self.aws.now() + seconds >= self.deadline:
            raise OutOfTime
        self.aws.sleep(seconds)

    def report_error(self, message: str, **values: Any) -> None:
        """Say loudly what cannot be fixed by retrying."""
        log("ERROR", message, **values)
        self.counts["ImportErrors"] += 1

    def forget(self, batch_id: str) -> None:
        """Drop what this run knows of a batch, half a step or old: the next step reads the item itself."""
        self.known.pop(batch_id, None)
        self.importing.discard(batch_id)
        self.sent.pop(batch_id, None)
        self.distrusted.add(batch_id)

    def remember(self, batch: Batch) -> None:
        """Note the newest item of a batch that this run has seen."""
        self.known[batch.batch] = batch
        (self.importing.add if batch.state == IMPORTING else self.importing.discard)(batch.batch)

    def recall(self, batch_id: str) -> Batch | None:
        """Return the batch as this run knows it, or as the ledger has it; None if it is not in the ledger."""
        if batch_id not in self.known:
            item = self.aws.get_item(f"BATCH#{batch_id}", "BATCH")
            if item is None:
                return None
            self.remember(batch_in(item))
        return self.known[batch_id]

    def save(self, batch: Batch) -> None:
        """Write the item.

        Raises Conflict: it is not the one any more that was read.
        """
        seen, batch.revision = batch.revision, batch.revision + 1
        try:
            self.aws.put_item(batch.item(), *(("revision", "=", seen) if seen else ()))
        except AwsError:
            self.forget(batch.batch)
            raise
        self.remember(batch)
        self.saves += 1

    def delay(self, batch: Batch, seconds: float) -> None:
        """Set when the batch is looked at again, with jitter; the caller saves."""
        batch.next_try_at = iso(self.aws.now() + seconds * random.uniform(0.8, 1.2))

    def is_due(self, batch: Batch) -> bool:
        """Say whether its time has come; a time too far ahead was written by a clock that is wrong."""
        ahead = epoch(batch.next_try_at) - self.aws.now() if batch.next_try_at else 0.0
        return ahead <= 0 or ahead > 2 * SLOW_RETRY_SECONDS

    def seconds_overdue(self, batch: Batch) -> float:
        """Return for how long a batch's time has come."""
        return self.aws.now() - epoch(batch.next_try_at) if batch.next_try_at else SLOW_RETRY_SECONDS

    def list_batch(self, batch: Batch) -> list[ListedObject]:
        """Return what lies below the batch's prefix and is its own.

        A late object belongs to a later batch, which fetches it; if none does in time, it is this batch's after all.
        """
        objects = self.aws.list_objects(self.settings.landing_bucket, batch.prefix)
        if batch.late:
            newest = self.aws.now() - self.settings.orphan_after_seconds
            unclaimed = {listed.key for listed in objects if listed.modified <= newest}
            batch.late = [key for key in batch.late if key not in unclaimed]
        return [listed for listed in objects if listed.key not in batch.late]

    def delete(self, listed: list[ListedObject]) -> None:
        """Delete objects of the landing bucket that still are the ones that were listed."""
        for start in range(0, len(listed), 1000):
            self.check()
            self.aws.delete(self.settings.landing_bucket, listed[start : start + 1000])
