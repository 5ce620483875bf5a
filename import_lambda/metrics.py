"""Talking: one JSON line for each event, and CloudWatch's embedded metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from import_lambda.settings import Settings

METRICS = {  # name: (unit, meaning); namespace StoreSCP, dimension StackName
    "BatchesWaiting": ("Count", "closed batches whose job has not been started"),
    "BatchesImporting": ("Count", "batches whose job HealthImaging works on"),
    "BatchesSettled": ("Count", "batches of which every instance is imported or quarantined, since the last run"),
    "OldestUnsettledBatchSeconds": ("Seconds", "age of the oldest batch that is not settled"),
    "SecondsToImageSet": ("Seconds", "from a batch's last image until HealthImaging has it"),
    "InstancesImported": ("Count", "instances that HealthImaging has taken into image sets"),
    "InstancesQuarantined": ("Count", "instances below quarantine/, each with its reason"),
    "InstancesWarned": ("Count", "imported instances that may not come back whole: their originals are kept"),
    "InstancesNonPrimary": ("Count", "imported instances that conflict with their series' primary image set"),
    "InstancesMissing": ("Count", "instances that a receiver counted and that are not in the bucket"),
    "OldestOrphanSeconds": ("Seconds", "age of the oldest batch without manifest that is not in the ledger yet"),
    "UnrecognizedObjects": ("Count", "objects below incoming/ or batches/ that no receiver wrote"),
    "ImportErrors": ("Count", "what cannot be fixed by retrying: refused calls, unreadable facts"),
}
OPEN_METRICS = {  # gauges of what is open in the ledger
    "QuarantinedOpen": ("Count", "quarantined instances that nobody has closed, and no retry has imported"),
    "NonPrimaryOpen": ("Count", "imported instances outside the primary image set that nobody has closed"),
    "WarnedOpen": ("Count", "imported instances with a serious warning that nobody has closed"),
    "UnrecognizedOpen": ("Count", "quarantined objects that no receiver wrote and nobody has closed"),
    "CommitmentResultsOverdue": ("Count", "storage commitment results that wait too long for their delivery"),
}
METRICS |= OPEN_METRICS


def log(level: str, message: str, **values: Any) -> None:
    """Print one JSON line. Ids and codes only; never HealthImaging's messages, which may quote attributes."""
    print(json.dumps({"level": level, "message": message, **values}), flush=True)


def print_metrics(settings: Settings, utc_now: float, values: Mapping[str, float | list[float]]) -> None:
    """Print one line in CloudWatch's embedded metric format; `utc_now` in epoch seconds."""
    units = [{"Name": name, "Unit": METRICS[name][0]} for name in values]
    about = {"Namespace": "StoreSCP", "Dimensions": [["StackName"]], "Metrics": units}
    meta = {"Timestamp": int(utc_now * 1000), "CloudWatchMetrics": [about]}
    print(json.dumps({"_aws": meta, "StackName": settings.stack_name, **values}), flush=True)
