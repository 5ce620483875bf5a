"""Whose turn it is: an order in which no batch, and no device, delays the others for long."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque

from import_lambda.ledger import CLOSED, STARTING, Batch
from import_lambda.run import Run
from import_lambda.settings import MAX_STARTS_PER_PASS, SLOW_RETRY_SECONDS

WAITING = frozenset({CLOSED, STARTING})


def order_of_steps(run: Run, batch_ids: list[str]) -> deque[str]:
    """Return batches, oldest first, those in trouble last: their jobs are judged by what the others' have done.

    If the last run did not come to its end, one of its steps may have been too slow: then chance decides who is first.
    """
    if run.lease.is_inherited:
        random.shuffle(batch_ids)
    return deque(sorted(batch_ids, key=lambda batch_id: is_in_trouble(run, batch_id)))


def is_in_trouble(run: Run, batch_id: str) -> bool:
    """Say whether a batch's last job or call failed."""
    batch = run.known.get(batch_id)
    return run.troubles[batch_id] > 0 or (batch is not None and (batch.is_suspect or batch.consecutive_refusals > 0))


class StartQueue:
    """The batches whose jobs are to be started in a pass: sound ones first, then one of each device in turn, by age."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.heap: list[tuple[bool, int, str]] = []
        self.seen: set[str] = set()
        self.by_device: Counter[str] = Counter()
        self.started = 0
        for batch_id in sorted(run.known):
            self.add(batch_id)

    def add(self, batch_id: str) -> None:
        """Let a batch wait for its turn, once in a pass, if a job of it is to be started now."""
        batch = self.run.known.get(batch_id)
        if batch is None or batch_id in self.seen or batch.state not in WAITING or not self.run.is_due(batch):
            return
        self.seen.add(batch_id)
        device = batch.calling_ae_titles[0] if batch.calling_ae_titles else ""
        self.by_device[device] += 1
        heapq.heappush(self.heap, (is_in_trouble(self.run, batch_id), self.by_device[device], batch_id))

    def next(self, is_early: bool) -> str | None:
        """Return the batch whose turn it is; None if there is none, or if enough jobs are running.

        `is_early`: jobs that have ended are still to be settled, and batches in trouble wait until that is done.
        """
        run = self.run
        if is_early and self.heap and self.heap[0][0]:
            return None
        while self.heap and not run.stop_starting and len(run.importing) < run.settings.max_concurrent_jobs:
            if self.started == MAX_STARTS_PER_PASS:
                run.needs_another_pass = run.stop_starting = True
                return None
            _, _, batch_id = heapq.heappop(self.heap)
            batch = run.known.get(batch_id)
            if batch is not None and not self._waits_for_company(batch):
                self.started += 1
                return batch_id
        return None

    def _waits_for_company(self, batch: Batch) -> bool:
        """Say whether a doubted batch had better wait: only beside another job can its own prove anything."""
        if not batch.is_suspect or self.run.importing:
            return False
        return self.run.seconds_overdue(batch) < SLOW_RETRY_SECONDS
