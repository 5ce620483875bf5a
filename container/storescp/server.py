"""One process of the receiver: its associations, its clock, its start and its stop."""

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Mapping
from typing import Final

from storescp.acceptance import Policy
from storescp.association import Association
from storescp.batch import Batch, Batches, Limits, encode_manifest, utc_now
from storescp.connections import Connections
from storescp.health import HealthServer
from storescp.incoming import StorageService
from storescp.keys import manifest_key
from storescp.log import Log, write_line
from storescp.memory import MemoryBudget
from storescp.metrics import Metrics
from storescp.pdu import AssociateRequest
from storescp.protection import protect
from storescp.settings import MIB, Settings
from storescp.slots import SharedCounts, Slots
from storescp.store import AlreadyExistsError, Store, StoreError, open_store

READ_BYTES: Final = 256 * 1024
_TICK_SECONDS: Final = 0.25
_CHECK_SECONDS: Final = 0.9  # of all connections: this is what a thousand idle ones cost
_METRICS_SECONDS: Final = 60.0
_MAXIMUM_PENDING: Final = 4096  # connections that have not asked for an association
_MAXIMUM_PENDING_BYTES: Final = 32 * MIB
_DESCRIPTORS_APART: Final = 512  # for uploads and ourselves
_LET_THROUGH_SECONDS: Final = 10.0
_MANIFEST_BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_MANIFEST_SECONDS_AT_STOP: Final = 5.0
_STORE_RETRY_SECONDS: Final = 5.0
_FAREWELL_SECONDS: Final = 1.0


class WorkerReport:
    """What a worker tells its supervisor: its number, and how many connections it is rid of."""

    def __init__(self, worker: int, closed: SharedCounts) -> None:
        self.worker = worker
        self._closed = closed

    def connection_closed(self) -> None:
        """A connection is gone."""
        self._closed.add(self.worker, 1)


class Receiver:
    """What the associations of a process share, and who looks after them."""

    def __init__(self, settings: Settings, store: Store, slots: Slots, log: Log, report: WorkerReport) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.policy = Policy(
            ae_title=settings.ae_title,
            require_called_ae_title=settings.require_called_ae_title,
            calling_ae_titles=settings.require_calling_ae_title,
            sop_classes=settings.supported_sop_class_uids,
            maximum_pdu_size=settings.maximum_pdu_size,
        )
        limits = Limits(
            settings.batch_quiet_seconds,
            settings.batch_max_age_seconds,
            settings.batch_max_instances,
            settings.batch_max_bytes,
        )
        self.storage = StorageService(
            store=store,
            batches=Batches(limits, os.urandom(4).hex()),
            memory=MemoryBudget(settings.memory_budget_mib * MIB // settings.workers),
            metrics=Metrics(settings.stack_name),
            log=log,
        )
        self.read_view = memoryview(bytearray(READ_BYTES))
        self.is_stopping = False
        self._store_trouble = "the store has not answered yet"
        self._slots = slots
        self._report = report
        self._log = log
        self._store = store
        self._pending: dict[Association, int] = {}  # oldest first, and the bytes each holds
        self._pending_bytes = 0
        self._maximum_pending = _maximum_pending(settings.maximum_associations)
        self._established: dict[Association, None] = {}
        self._others: set[Association] = set()  # connections whose association has ended
        self._let_through: Association | None = None
        self._let_through_since = 0.0
        self._is_memory_short = False
        self._manifests: set[asyncio.Task[None]] = set()
        self._last_metrics = self._last_check = self.loop.time()

    # What associations tell

    def connected(self, association: Association) -> None:
        """A connection was made; beyond the limit the oldest that has said nothing is closed."""
        self._pending[association] = 0
        if len(self._pending) > self._maximum_pending:
            next(iter(self._pending)).cut("too many connections")

    def pending_changed(self, association: Association, held_bytes: int) -> None:
        """A connection without an association holds so many bytes of a request."""
        if association not in self._pending:
            return
        self._pending_bytes += held_bytes - self._pending[association]
        self._pending[association] = held_bytes
        if self._pending_bytes > _MAXIMUM_PENDING_BYTES:
            next(pending for pending, held in self._pending.items() if held).cut("too many connections")

    def established(self, association: Association) -> None:
        """An association was accepted."""
        self._leave_pending(association)
        self._established[association] = None
        self.storage.metrics.count("AssociationsAccepted")

    def rejected(self, association: Association, request: AssociateRequest, reason: str) -> None:
        """An association was rejected."""
        self._leave_pending(association)
        self._others.add(association)
        self.storage.metrics.rejected(reason)
        self._log.warning(
            "association rejected",
            reason=reason,
            peer=association.peer,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
        )

    def ended(self, association: Association, how: str) -> None:
        """An association is over, though its connection may not be."""
        self._established.pop(association, None)
        self._others.add(association)
        if association is self._let_through:
            self._let_through = None
        if how != "released":
            self.storage.metrics.count("AssociationsAborted")

    def disconnected(self, association: Association) -> None:
        """A connection is gone."""
        self._leave_pending(association)
        self._others.discard(association)
        self._report.connection_closed()
        self.memory_returned()

    def take_slot(self) -> bool:
        """Take one of MAXIMUM_ASSOCIATIONS, if there is one."""
        return self._slots.take()

    def give_slot_back(self) -> None:
        """Give it back."""
        self._slots.give_back()

    def memory_exhausted(self) -> None:
        """Stop reading everywhere, so that no more than what is under way is buffered."""
        self._is_memory_short = True
        for association in self._established:
            association.regulate()

    def memory_returned(self) -> None:
        """Read again, once there is memory."""
        if self._is_memory_short and not self.storage.memory.is_exhausted:
            self._is_memory_short = False
            for association in tuple(self._established):
                association.is_let_through = False
                association.regulate()
            self._let_through = None

    # The clock

    def start_clock(self) -> None:
        """Begin to look after time-outs, batches and metrics."""
        self.loop.call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        if self.is_stopping or now - self._last_check >= _CHECK_SECONDS:
            self._last_check = now
            for association in (*self._pending, *self._established, *self._others):
                association.check(now, self.is_stopping)
        if self._is_memory_short:
            self._relieve(now)
        self._write_manifests(self.storage.batches.close_due(now, utc_now()))
        if now - self._last_metrics >= _METRICS_SECONDS:
            self.write_metrics()
        self.loop.call_later(_TICK_SECONDS, self._tick)

    def _relieve(self, now: float) -> None:
        """Memory is short: if no upload is about to free some, let one object through until it is whole.

        Without this, objects that are all received in part would wait for one another for ever. One that does
        not make it in time is given up: its sender keeps its copy, and the others go on.
        """
        self.memory_returned()
        if not self._is_memory_short or self.storage.frees_memory_soon:
            return
        chosen = self._let_through
        if chosen is not None and chosen.is_let_through:
            if now - self._let_through_since > _LET_THROUGH_SECONDS:
                chosen.cut("memory is short and the sender too slow")
            return
        chosen = next((waiting for waiting in self._established if waiting.is_receiving), None)
        if chosen is not None:
            self._established.pop(chosen)  # to the end of the queue
            self._established[chosen] = None
            self._let_through = chosen
            self._let_through_since = now
            chosen.is_let_through = True
            chosen.regulate()

    def write_metrics(self) -> None:
        """Write what was counted since the last time."""
        now = self.loop.time()
        self._last_metrics = now
        gauges: dict[str, float] = {
            "BatchAgeSeconds": round(self.storage.batches.oldest_age_seconds(now), 3),
            "BytesBuffered": self.storage.memory.bytes_in_use,
        }
        if self._report.worker == 0:  # one worker for all, so that a sum over tasks is right
            gauges["OpenAssociations"] = self._slots.total()
        write_line(self.storage.metrics.take_line(gauges))

    # Batches

    def _write_manifests(self, closed: list[Batch]) -> None:
        for batch in closed:
            task = self.loop.create_task(self._write_manifest(batch))
            self._manifests.add(task)
            task.add_done_callback(self._manifests.discard)

    async def _write_manifest(self, batch: Batch) -> None:
        """Write a manifest once, as often as it takes; an orphan is adopted by the importer by its age."""
        key, manifest = manifest_key(batch.batch_id), encode_manifest(batch)
        attempt = 0
        while True:
            try:
                await self._store.create(key, manifest)
            except AlreadyExistsError:
                break  # by an attempt of ours whose answer was lost: no other process knows this batch
            except StoreError as error:
                self.storage.metrics.count("ManifestFailures")
                self._log.error("manifest not written", batch=batch.batch_id, code=error.code)
                await asyncio.sleep(_MANIFEST_BACKOFF_SECONDS[min(attempt, len(_MANIFEST_BACKOFF_SECONDS) - 1)])
                attempt += 1
            else:
                break
        self.storage.metrics.count("BatchesClosed")
        self._log.info(
            "batch closed",
            batch=batch.batch_id,
            closed_by=batch.closed_by.value if batch.closed_by else "",
            instances=batch.instances_stored,
            bytes=batch.bytes_stored,
            studies=len(batch.studies),
        )

    # Start and stop

    def unready_because(self) -> str:
        """Why no association should come here; empty if it should."""
        return "stopping" if self.is_stopping else self._store_trouble

    async def await_store(self) -> None:
        """Find out whether the store can be written; until it can, we serve, but are not ready.

        Once it could, a failure is answered to the sender: taking us out of service would not mend the store.
        """
        while trouble := await self._store.probe_write():
            self._store_trouble = trouble
            self._log.error("store not reached", detail=trouble)
            await asyncio.sleep(_STORE_RETRY_SECONDS)
        self._store_trouble = ""

    async def stop(self) -> None:
        """Let associations finish, up to STOP_SECONDS; then close the batches and write what is left to write."""
        self.is_stopping = True
        deadline = self.loop.time() + self.settings.stop_seconds
        for pending in tuple(self._pending):
            pending.cut("stopping")
        while self._established and self.loop.time() < deadline:
            await asyncio.sleep(_TICK_SECONDS / 5)
        for association in tuple(self._established):
            association.cut("the receiver stops")
        deadline = max(deadline, self.loop.time() + _MANIFEST_SECONDS_AT_STOP)
        while self.storage.batches.uploads_in_flight and self.loop.time() < deadline:
            await asyncio.sleep(_TICK_SECONDS / 5)
        self._write_manifests(self.storage.batches.close_all(utc_now()))
        if self._manifests:
            await asyncio.wait(self._manifests, timeout=max(0.0, deadline - self.loop.time()))
        for task in self._manifests:
            task.cancel()
        await self._close_connections()
        await self._store.close()
        self.write_metrics()

    async def _close_connections(self) -> None:
        """Leave the peers a moment to read our last words and to close; then close."""
        deadline = self.loop.time() + _FAREWELL_SECONDS
        while self._others and self.loop.time() < deadline:
            await asyncio.sleep(_TICK_SECONDS / 25)
        for association in (*self._pending, *self._others):
            association.cut("stopping")
        await asyncio.sleep(0)

    def _leave_pending(self, association: Association) -> None:
        self._pending_bytes -= self._pending.pop(association, 0)


async def serve(
    settings: Settings,
    environment: Mapping[str, str],
    connections: Connections,
    health_socket: socket.socket,
    slots: Slots,
    report: WorkerReport,
) -> None:
    """Serve in this process until SIGTERM or SIGINT, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    log = Log(settings.log_level)
    receiver = Receiver(settings, open_store(settings, environment), slots, log, report)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    health = HealthServer(receiver.unready_because)
    await health.start(health_socket)
    await connections.start(lambda: Association(receiver), stopping.set)
    receiver.start_clock()
    background = [loop.create_task(receiver.await_store())]
    agent_uri = environment.get("ECS_AGENT_URI", "")  # given to every task of ECS, by the agent
    if agent_uri and report.worker == 0:
        background.append(loop.create_task(protect(agent_uri, slots.total, log)))
    gc.freeze()  # what is there now stays: no need to look at it again
    await stopping.wait()
    log.info("receiver stops", associations=slots.total(), worker=report.worker)
    connections.stop()
    for task in background:
        task.cancel()
    await receiver.stop()
    health.stop()
    await asyncio.sleep(0)  # connections are closed in the next round of the loop
    log.info("receiver stopped", worker=report.worker)


def listen(address: str, port: int) -> socket.socket:
    """Open a listening socket whose connections inherit what a receiver wants of them; raises `OSError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    try:
        listener.bind((address, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _maximum_pending(maximum_associations: int) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAXIMUM_PENDING
    return max(64, min(_MAXIMUM_PENDING, soft - maximum_associations - _DESCRIPTORS_APART))
