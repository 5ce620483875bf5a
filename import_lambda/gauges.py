"""What a run has to say in numbers: its counts, and gauges of what is open."""

from __future__ import annotations

from collections import Counter

from import_lambda.keys import epoch, opened_at
from import_lambda.ledger import CLOSED, FINAL_STATES, IMPORTING, INCOMPLETE, STARTING
from import_lambda.metrics import METRICS, OPEN_METRICS
from import_lambda.run import Run


def run_metrics(run: Run) -> dict[str, float | list[float]]:
    """Return the values of METRICS after this run."""
    if not run.is_discovered:  # a run that could not look has no gauges to show
        return {"ImportErrors": run.counts["ImportErrors"]}
    open_batches = [one for one in run.known.values() if one.state not in FINAL_STATES]
    states = Counter(batch.state for batch in open_batches)
    since = [epoch(batch.waiting_since) for batch in open_batches]
    since += [opened_at(name) for name in run.manifests if name not in run.known]
    values: dict[str, float | list[float]] = {name: run.counts[name] for name in METRICS}
    values = {name: value for name, value in values.items() if name not in OPEN_METRICS} | run.open_counts
    values["BatchesWaiting"] = states[CLOSED] + states[STARTING]
    values["BatchesImporting"] = states[IMPORTING]
    values["InstancesMissing"] = sum(batch.missing for batch in open_batches if batch.state == INCOMPLETE)
    values["OldestUnsettledBatchSeconds"] = max(0, round(run.aws.now() - min(since))) if since else 0
    values["OldestOrphanSeconds"] = max(0, round(run.aws.now() - run.oldest_orphan_at)) if run.oldest_orphan_at else 0
    values.pop("SecondsToImageSet")
    if run.seconds_to_image_set:
        values["SecondsToImageSet"] = [round(one, 3) for one in run.seconds_to_image_set[:100]]
    return values
