"""One process of the receiver: its parts wired together, its clock, its start and its stop."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Final

from storescp.acceptance import Policy
from storescp.association import Acceptor, Association
from storescp.batches import Batches, Limits
from storescp.clock import Clock, utc_now
from storescp.commitment_delivery import CommitmentDelivery
from storescp.commitment_service import CommitmentService
from storescp.health import HealthServer
from storescp.incoming import StorageService
from storescp.listeners import Listener
from storescp.log import Log
from storescp.manifests import ManifestWriter
from storescp.memory import READ_BYTES, Memory, MemoryPlan, plan_memory
from storescp.opening import open_store
from storescp.operations import StorageOperations
from storescp.protection import protect
from storescp.registry import Registry, WorkerReport
from storescp.settings import MIB, Settings
from storescp.slots import Slots
from storescp.store import Store
from storescp.tls import device_context
from storescp.traces import PeerLog
from storescp.transport import HangupWatcher, Transport

_LOOK_SECONDS: Final = 0.025  # while stopping, between two looks at what is left
_TIMEOUTS_SECONDS: Final = 0.9  # between two looks at all connections: this is what a thousand idle ones cost
_METRICS_SECONDS: Final = 60.0
_MANIFEST_SECONDS_AT_STOP: Final = 5.0
_STORE_RETRY_SECONDS: Final = 5.0
_FAREWELL_SECONDS: Final = 1.0
_LOG_SECONDS_AT_STOP: Final = 1.0

StoreFactory = Callable[[Settings, Mapping[str, str]], Store]


class Worker:
    """The parts of a process, and the clock that keeps them going."""

    def __init__(
        self, settings: Settings, store: Store, slots: Slots, report: WorkerReport, log: Log, traces: PeerLog
    ) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._slots = slots
        self._report = report
        self._log = log
        self._metrics = traces.metrics_counted
        self._process_id = os.urandom(4).hex()
        self._batches = Batches(_limits(settings), self._process_id)
        self._memory = Memory(_memory_plan(settings), self._loop.call_soon)
        self._manifests = ManifestWriter(store, self._metrics, log)
        self._registry = Registry(settings, self._memory.plan.pending_bytes, slots, report, self._metrics, traces)
        self._storage = StorageService(store, self._batches, self._metrics, traces)
        self._commitments = CommitmentService(
            store, self._metrics, log, self._process_id, settings.commitments.timeout_hours
        )
        policy = _policy(settings)
        self._hangups = HangupWatcher(self._loop)
        self._read_view = memoryview(bytearray(READ_BYTES))
        self._acceptor = Acceptor(
            settings=settings,
            policy=policy,
            registry=self._registry,
            memory=self._memory,
            storage=self._storage,
            operations={**StorageOperations(policy, self._storage).table, **self._commitments.table},
            loop=self._loop,
        )
        self._is_stopping = False
        self._store_failure = "the store has not answered yet"
        self._last_metrics = self._last_timeouts = self._loop.time()

    def serve(self, connection: socket.socket) -> None:
        """Serve a connection, whose handshake is done if it has TLS."""
        Association(self._acceptor, Transport(self._loop, connection, self._read_view, self._hangups)).start()

    def not_ready_reason(self) -> str:
        """Say why no association should come here; empty if it should."""
        if self._is_stopping:
            return "stopping"
        return self._store_failure or self._store.health.not_ready_reason(self._loop.time())

    async def watch_store(self) -> None:
        """Find out whether the store can be written; until it can, we serve, but are not ready.

        Later a failure is answered to its sender, and only a minute of failures without a success takes us out of
        service: then we go on trying ourselves, because no sender may come any more.
        """
        while failure := await self._store.probe_write():
            self._store_failure = failure
            self._log.error("store not reached", detail=failure)
            await asyncio.sleep(_STORE_RETRY_SECONDS)
        self._store_failure = ""
        while True:
            await asyncio.sleep(_STORE_RETRY_SECONDS)
            if self._store.health.needs_probe(self._loop.time()) and (failure := await self._store.probe_write()):
                self._log.error("store not reached", detail=failure)

    async def deliver_commitments(self) -> None:
        """Report storage commitment results to devices that have gone, for ever."""
        settings = self._settings
        devices, tls = settings.commitments.devices, device_context(settings)
        delivery = CommitmentDelivery(self._store, devices, tls, self._metrics, self._log, self._process_id)
        await delivery.run(settings.commitments.poll_seconds)

    # The clock

    def start_clock(self) -> None:
        """Begin to look after time-outs, batches and metrics."""
        Clock(self._loop, self._log, self._enforce_timeouts, self._close_batches, self._report_metrics).start()

    def _enforce_timeouts(self, monotonic_now: float) -> None:
        if self._is_stopping or monotonic_now - self._last_timeouts >= _TIMEOUTS_SECONDS:
            self._last_timeouts = monotonic_now
            self._registry.enforce_timeouts(monotonic_now, self._is_stopping)

    def _close_batches(self, monotonic_now: float) -> None:
        self._manifests.write(self._batches.close_due(monotonic_now, utc_now()))

    def _report_metrics(self, monotonic_now: float) -> None:
        if monotonic_now - self._last_metrics >= _METRICS_SECONDS:
            self._write_metrics()

    def _write_metrics(self) -> None:
        """Write what was counted since the last time."""
        monotonic_now = self._loop.time()
        self._last_metrics = monotonic_now
        gauges: dict[str, float] = {
            "BatchAgeSeconds": round(self._batches.oldest_age_seconds(monotonic_now), 3),
            "BytesBuffered": self._memory.chunks.bytes_in_use,
        }
        if self._report.worker == 0:  # one worker for all, so that a sum over tasks is right
            gauges["OpenAssociations"] = self._slots.total()
        self._metrics.count("LogLinesDropped", self._log.writer.take_dropped())
        for line in self._metrics.take_lines(gauges):
            self._log.metrics(line)

    # The stop

    async def stop(self) -> None:
        """Let associations finish, up to STOP_SECONDS; then close the batches and write what is left to write."""
        self._is_stopping = True
        deadline = self._loop.time() + self._settings.stop_seconds
        for pending in self._registry.pending:
            pending.abort("stopping")
        await self._until(lambda: not self._registry.established, deadline)
        for association in self._registry.established:
            association.abort("the receiver stops")
        deadline = max(deadline, self._loop.time() + _MANIFEST_SECONDS_AT_STOP)
        await self._until(lambda: not self._batches.uploads_in_flight, deadline)
        self._manifests.write(self._batches.close_all(utc_now()))
        await self._manifests.finish(deadline - self._loop.time())
        await self._commitments.stop()
        await self._close_connections()
        self._hangups.close()
        await self._store.close()
        self._write_metrics()

    async def _close_connections(self) -> None:
        """Leave the peers a moment to read our last words and to close; then close."""
        await self._until(lambda: not self._registry.lingering, self._loop.time() + _FAREWELL_SECONDS)
        for connection in (*self._registry.pending, *self._registry.lingering):
            connection.abort("stopping")
        await asyncio.sleep(0)

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition() and self._loop.time() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)


def _policy(settings: Settings) -> Policy:
    return Policy(
        ae_title=settings.ae_title,
        require_called_ae_title=settings.require_called_ae_title,
        calling_ae_titles=settings.require_calling_ae_title,
        sop_classes=settings.supported_sop_class_uids,
        maximum_pdu_size=settings.maximum_pdu_size,
        require_certificate_ae_title=settings.require_certificate_ae_title,
    )


def _memory_plan(settings: Settings) -> MemoryPlan:
    """A worker can have all associations if it is alone, and twice its share of them if it is not."""
    associations = min(settings.maximum_associations, -(-2 * settings.maximum_associations // settings.workers))
    return plan_memory(
        settings.memory_budget_mib * MIB // settings.workers, associations, bool(settings.tls_certificate)
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.batch_quiet_seconds,
        min(settings.batch_released_seconds, settings.batch_quiet_seconds),
        settings.batch_max_age_seconds,
        settings.batch_max_instances,
        settings.batch_max_bytes,
    )


async def serve(
    settings: Settings,
    environment: Mapping[str, str],
    listener: Listener,
    health_socket: socket.socket,
    slots: Slots,
    report: WorkerReport,
    log: Log,
    traces: PeerLog,
    store_factory: StoreFactory = open_store,
) -> None:
    """Serve in this process until SIGTERM or SIGINT, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    log.writer.flush_by(loop.call_later)
    worker = Worker(settings, store_factory(settings, environment), slots, report, log, traces)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    health = HealthServer(worker.not_ready_reason)
    await health.start(health_socket)
    listener.start(worker.serve, stopping.set)
    worker.start_clock()
    background = [loop.create_task(worker.watch_store())]
    if report.worker == 0:
        background.append(loop.create_task(worker.deliver_commitments()))
    agent_uri = environment.get("ECS_AGENT_URI", "")  # given to every task of ECS, by the agent
    if agent_uri and report.worker == 0:
        background.append(loop.create_task(protect(agent_uri, slots.total, log)))
    gc.freeze()  # what is there now stays: no need to look at it again
    await stopping.wait()
    log.info("receiver stops", associations=slots.total(), worker=report.worker)
    listener.stop()
    for task in background:
        task.cancel()
    await worker.stop()
    health.stop()
    await asyncio.sleep(0)  # connections are closed in the next round of the loop
    log.info("receiver stopped", worker=report.worker)
    log.writer.finish(_LOG_SECONDS_AT_STOP)
