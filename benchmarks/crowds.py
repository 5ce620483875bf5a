"""Many senders at once, of all sizes and paces: who is served, how long C-ECHO takes, and how much memory that costs.

Each scenario sends everything, checks that all of it was acknowledged and stored, and that no association failed. A
figure "of the link's time" compares with what the senders' own pace allows. The rows are `make bench ROWS=memory`.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from benchmarks import machine, peers, stores
from benchmarks.peers import Receiver
from benchmarks.table import Row, Target
from tests.testkit.many_senders import Result, Sender, send_all

_PEAK_EVERY_SECONDS = 0.05
_ECHO_SECONDS = 2.0
_CONTAINER_MB = 512.0


class NotServed(OSError):
    """Somebody was not served; the message has the numbers."""


@dataclass(frozen=True)
class Crowd:
    """`senders` associations with `objects` of `size` bytes each, at a pace (0: as fast as may be)."""

    senders: int
    size: int
    bytes_per_second: float = 0.0
    objects: int = 1
    latency_ms: int = 0
    is_tls: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, folder: Path) -> dict[str, float]:
        """Send, check and measure."""
        with self._receiver() as (receiver, context):
            crowd = [
                Sender(str(number), [self.size] * self.objects, self.bytes_per_second, f"CT{number % 10}")
                for number in range(self.senders)
            ]
            started = time.monotonic()
            with machine.peak_memory(receiver.program.pid, _PEAK_EVERY_SECONDS) as peak:
                result = asyncio.run(send_all(receiver.port, crowd, context))
            seconds = time.monotonic() - started
            self._check(result, receiver)
        measured = {"MB": peak[0] * 2**20 / 1e6, "s of echo": result.longest_echo_seconds, "s": seconds}
        if self.bytes_per_second:
            measured["of the link's time"] = seconds / (self.size * self.objects / self.bytes_per_second)
        return measured

    @contextlib.contextmanager
    def _receiver(self) -> Iterator[tuple[Receiver, ssl.SSLContext | None]]:
        settings, context = dict(self.settings), None
        if self.is_tls:
            authority = trustme.CA()
            identity = authority.issue_cert("127.0.0.1", "localhost")
            settings["TLS_CERTIFICATE"] = identity.cert_chain_pems[0].bytes().decode()
            settings["TLS_PRIVATE_KEY"] = identity.private_key_pem.bytes().decode()
            context = ssl.create_default_context()
            authority.configure_trust(context)
        with stores.sink(self.latency_ms) as store, peers.ours(store, settings=settings) as receiver:
            yield receiver, context

    def _check(self, result: Result, receiver: Receiver) -> None:
        expected = self.senders * self.objects
        stored = receiver.stored()
        if result.failures or result.acknowledged != expected or stored != expected:
            some = ", ".join(list(result.failures.values())[:2])
            raise NotServed(f"{expected} sent, {result.acknowledged} acknowledged, {stored} stored {some}".rstrip())


_ONE_WORKER = {"WORKERS": "1", "MAXIMUM_ASSOCIATIONS": "301"}  # one of them asks C-ECHO
_TWO_WORKERS = {"WORKERS": "2"}
_SMALLEST = {"WORKERS": "1", "MEMORY_BUDGET_MIB": "32"}
CROWDS = {
    "300 × 2 KiB, 20 each": Crowd(300, 2048, objects=20, settings=_ONE_WORKER),
    "300 × 500 KB at 20 KB/s": Crowd(300, 500_000, 20_000, settings=_ONE_WORKER),
    "24 × 20 MB at 2.5 MB/s": Crowd(24, 20_000_000, 2_500_000, settings=_ONE_WORKER),
    "30 × 20 MB at 0.8 MB/s, 2 workers": Crowd(30, 20_000_000, 800_000, settings=_TWO_WORKERS),
    "100 × 7.5 MB at 0.5 MB/s": Crowd(100, 7_500_000, 500_000, settings=_ONE_WORKER),
    "50 × 100 MB, 2 workers": Crowd(50, 100_000_000, settings=_TWO_WORKERS),
    "24 × 20 MB, budget 32 MiB": Crowd(24, 20_000_000, settings=_SMALLEST),
    "60 × 10 MB, store 500 ms away": Crowd(60, 10_000_000, latency_ms=500, settings=_ONE_WORKER),
    "300 × 5 MB over TLS": Crowd(300, 5_000_000, is_tls=True, settings=_ONE_WORKER),
}


def rows() -> list[Row]:
    """Peak memory, the longest wait for C-ECHO and, where the pace is the senders', the time against theirs."""
    found = []
    for name, crowd in CROWDS.items():
        found.append(Row("memory", f"{name}, peak memory", name, "MB", target=Target("<", _CONTAINER_MB)))
        found.append(Row("memory", "the same, longest C-ECHO", name, "s of echo", target=Target("<", _ECHO_SECONDS)))
        if crowd.bytes_per_second:
            found.append(Row("memory", "the same, time", name, "of the link's time"))
        else:
            found.append(Row("memory", "the same, time", name, "s"))
    return found
