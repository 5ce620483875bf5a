"""Metrics in CloudWatch's embedded metric format: lines of the log that CloudWatch turns into metrics.

Source: CloudWatch User Guide, "Specification: embedded metric format". `METRICS` is what the dashboard reads.
"""

import random
import time
from collections import Counter
from typing import Any, Final

NAMESPACE: Final = "StoreSCP"
DIMENSION: Final = "StackName"
# Metric: unit. A line holds at most 100 values of a metric.
METRICS: Final = {
    "InstancesReceived": "Count",
    "InstancesAcknowledged": "Count",
    "InstancesFailed": "Count",
    "InstancesFailedA700": "Count",
    "InstancesFailedA900": "Count",
    "InstancesFailedC000": "Count",
    "InstancesFailedOther": "Count",
    "BytesAcknowledged": "Bytes",
    "PutSeconds": "Seconds",
    "AssociationsAccepted": "Count",
    "AssociationsAborted": "Count",
    "OpenAssociations": "Count",
    "Rejections": "Count",
    "RejectionsLocalLimitExceeded": "Count",
    "RejectionsCalledAETitleNotRecognized": "Count",
    "RejectionsCallingAETitleNotRecognized": "Count",
    "RejectionsOther": "Count",
    "ConnectionsMalformed": "Count",
    "TlsHandshakesFailed": "Count",
    "InstancesRepeated": "Count",
    "BatchesClosed": "Count",
    "ObjectsLate": "Count",
    "BatchAgeSeconds": "Seconds",
    "ManifestFailures": "Count",
    "BytesBuffered": "Bytes",
    "LogLinesDropped": "Count",
    "CommitmentsDelivered": "Count",
    "CommitmentsUndelivered": "Count",
}
# What is so now, rather than what was counted; of those that are not given, as by all workers but one, nothing is said.
GAUGES: Final = frozenset({"OpenAssociations", "BatchAgeSeconds", "BytesBuffered", "PutSeconds"})
_VALUES_PER_LINE: Final = 100
_METRICS_PER_LINE: Final = 20  # so that a line stays below what a pipe takes at once, see log.py


class Metrics:
    """Counts between two lines."""

    def __init__(self, stack_name: str) -> None:
        self._stack_name = stack_name
        self._counts: Counter[str] = Counter()
        self._put_seconds: list[float] = []
        self._puts = 0

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a metric of `METRICS`."""
        self._counts[name] += amount

    def received(self) -> None:
        """Count an instance that arrived, whatever becomes of it."""
        self._counts["InstancesReceived"] += 1

    def acknowledged(self, size: int, seconds: float) -> None:
        """Count an instance that was stored in `seconds` and acknowledged."""
        self._counts["InstancesAcknowledged"] += 1
        self._counts["BytesAcknowledged"] += size
        self._puts += 1
        if len(self._put_seconds) < _VALUES_PER_LINE:
            self._put_seconds.append(seconds)
        else:  # a fair sample of any number (reservoir sampling)
            place = random.randrange(self._puts)
            if place < _VALUES_PER_LINE:
                self._put_seconds[place] = seconds

    def failed(self, status: int) -> None:
        """Count an instance that was answered with a failure status."""
        name = f"InstancesFailed{status:04X}"
        self._counts["InstancesFailed"] += 1
        self._counts[name if name in METRICS else "InstancesFailedOther"] += 1

    def rejected(self, reason: str) -> None:
        """Count a rejected association by the name of its reason."""
        name = f"Rejections{reason}"
        self._counts["Rejections"] += 1
        self._counts[name if name in METRICS else "RejectionsOther"] += 1

    def take_lines(self, gauges: dict[str, float]) -> list[dict[str, Any]]:
        """Return lines with everything counted since the last ones, and with the gauges as they are now."""
        values: dict[str, Any] = {name: self._counts[name] for name in METRICS if name not in GAUGES}
        values |= gauges
        if self._put_seconds:
            values["PutSeconds"] = [round(seconds, 6) for seconds in self._put_seconds]
        self._counts.clear()
        self._put_seconds = []
        self._puts = 0
        names = list(values)
        return [
            self._line({name: values[name] for name in names[place : place + _METRICS_PER_LINE]})
            for place in range(0, len(names), _METRICS_PER_LINE)
        ]

    def _line(self, values: dict[str, Any]) -> dict[str, Any]:
        metrics = [{"Name": name, "Unit": METRICS[name]} for name in values]
        return {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": metrics}],
            },
            DIMENSION: self._stack_name or "local",
            **values,
        }
