"""What connections leave behind that came to nothing: a metric for each, and few lines of the log.

A scanner, a misconfigured device or somebody who guesses AE titles can connect thousands of times a minute. Each
address has a line a minute for each reason, and a line says how many were left out before it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from storescp.log import LEVELS, Log
from storescp.metrics import Metrics

CONNECTION_MALFORMED: Final = "connection sent no valid association request"
HANDSHAKE_FAILED: Final = "TLS handshake failed"
ASSOCIATION_REJECTED: Final = "association rejected"

# Message of the log: metric. A rejection is counted by its reason (`Metrics.rejected`).
METRIC_OF_MESSAGE: Final = {CONNECTION_MALFORMED: "ConnectionsMalformed", HANDSHAKE_FAILED: "TlsHandshakesFailed"}
_SECONDS: Final = 60.0
_LINES_PER_PEER: Final = 8
_MAXIMUM_PEERS: Final = 1024


@dataclass(slots=True)
class _Minute:
    """The reasons that were told of an address since `began`, and how many warnings were not told."""

    began: float
    told: set[str] = field(default_factory=set)
    untold: int = 0


class PeerLog(Log):
    """A log whose warnings and errors are written once per address of a peer, reason and minute; all are counted.

    A sender must not be able to fill the log, whether it breaks the protocol or repeats what the store refuses.
    """

    def __init__(self, log: Log, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(log.level, log.writer)
        self.metrics_counted = metrics
        self._monotonic = monotonic
        self._minutes: dict[tuple[str, str], _Minute] = {}  # by message and address; "" is all without room

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        metric = METRIC_OF_MESSAGE.get(message)
        if metric is not None:
            self.metrics_counted.count(metric)
        if LEVELS[level] < LEVELS["WARNING"]:
            super()._write(level, message, fields)
            return
        address = str(fields.get("peer", "")).rpartition(":")[0]
        reason = str([fields.get(name) for name in ("reason", "code", "error", "place")])
        minute, untold = self._minute_of(message, address, self._monotonic())
        if reason in minute.told or len(minute.told) >= _LINES_PER_PEER:
            minute.untold += 1
            return
        minute.told.add(reason)
        super()._write(level, message, {**fields, **({"not_logged_before": untold} if untold else {})})

    def _minute_of(self, message: str, address: str, monotonic_now: float) -> tuple[_Minute, int]:
        """Return what was told of an address lately; if that begins anew, how much was not told before."""
        key = (message, address)
        if key not in self._minutes and len(self._minutes) >= _MAXIMUM_PEERS:
            self._minutes = {
                known: minute for known, minute in self._minutes.items() if monotonic_now - minute.began < _SECONDS
            }
            if len(self._minutes) >= _MAXIMUM_PEERS:
                key = (message, "")
        minute = self._minutes.get(key)
        if minute is not None and monotonic_now - minute.began < _SECONDS:
            return minute, 0
        self._minutes[key] = _Minute(monotonic_now)
        return self._minutes[key], minute.untold if minute is not None else 0
