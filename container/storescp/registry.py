"""Who is connected to a process, and how many may be."""

import resource
from collections.abc import Callable
from typing import Final, Protocol

from storescp.log import Log
from storescp.memory import MemoryBudget
from storescp.metrics import Metrics
from storescp.pdu import AssociateRequest
from storescp.settings import MIB
from storescp.slots import SharedCounts, Slots

_MAXIMUM_PENDING: Final = 4096  # connections that have not asked for an association
_MAXIMUM_PENDING_BYTES: Final = 32 * MIB
_DESCRIPTORS_APART: Final = 512  # for uploads and ourselves
_LET_THROUGH_SECONDS: Final = 10.0


class Connection(Protocol):
    """What the registry knows of a connection."""

    @property
    def peer(self) -> str:
        """Address and port of the peer; empty if it has gone."""

    def abort(self, reason: str) -> None:
        """Abort the association, or drop a connection that has none."""

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        """End what takes too long; while the process stops, what only keeps it waiting."""

    @property
    def is_receiving(self) -> bool:
        """Whether an object has arrived in part."""

    may_exceed_budget: bool

    def update_flow_control(self) -> None:
        """Read from the network, or do not."""


class WorkerReport:
    """What a worker tells its supervisor: its number, and how many connections it is rid of."""

    def __init__(self, worker: int, closed: SharedCounts) -> None:
        self.worker = worker
        self._closed = closed

    def connection_closed(self) -> None:
        """A connection is gone."""
        self._closed.add(self.worker, 1)


class Registry:
    """The connections of a process, by what they are: pending, established, or ended and not closed yet."""

    def __init__(
        self,
        maximum_associations: int,
        memory: MemoryBudget,
        slots: Slots,
        report: WorkerReport,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._memory = memory
        self._slots = slots
        self._report = report
        self._metrics = metrics
        self._log = log
        self._pending: dict[Connection, int] = {}  # oldest first, and the bytes each holds
        self._pending_bytes = 0
        self._maximum_pending = _maximum_pending(maximum_associations)
        self._established: dict[Connection, None] = {}  # oldest first
        self._lingering: set[Connection] = set()  # connections whose association has ended
        self._is_memory_short = False
        self._let_through: Connection | None = None
        self._let_through_since = 0.0

    @property
    def pending(self) -> tuple[Connection, ...]:
        """Connections that have not asked for an association, oldest first."""
        return tuple(self._pending)

    @property
    def established(self) -> tuple[Connection, ...]:
        """Connections with an association, in the order of their turns."""
        return tuple(self._established)

    @property
    def lingering(self) -> tuple[Connection, ...]:
        """Connections whose association has ended, and which the peer has not closed yet."""
        return tuple(self._lingering)

    def connected(self, connection: Connection) -> None:
        """Take note of a new connection; beyond the limit the oldest that has said nothing is closed."""
        self._pending[connection] = 0
        if len(self._pending) > self._maximum_pending:
            next(iter(self._pending)).abort("too many connections")

    def pending_changed(self, connection: Connection, held_bytes: int) -> None:
        """Take note that a connection without an association holds so many bytes of a request."""
        if connection not in self._pending:
            return
        self._pending_bytes += held_bytes - self._pending[connection]
        self._pending[connection] = held_bytes
        if self._pending_bytes > _MAXIMUM_PENDING_BYTES:
            next(pending for pending, held in self._pending.items() if held).abort("too many connections")

    def take_slot(self) -> bool:
        """Take one of MAXIMUM_ASSOCIATIONS; return False if there is none."""
        return self._slots.take()

    def return_slot(self) -> None:
        """Return a slot that `take_slot` gave."""
        self._slots.give_back()

    def accepted(self, connection: Connection) -> None:
        """Take note that an association was accepted."""
        self._leave_pending(connection)
        self._established[connection] = None
        self._metrics.count("AssociationsAccepted")

    def rejected(self, connection: Connection, request: AssociateRequest, reason: str) -> None:
        """Take note that an association was rejected for a reason of `acceptance.REJECTION_NAMES`."""
        self._leave_pending(connection)
        self._lingering.add(connection)
        self._metrics.rejected(reason)
        self._log.warning(
            "association rejected",
            reason=reason,
            peer=connection.peer,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
        )

    def ended(self, connection: Connection, was_released: bool) -> None:
        """Take note that an association is over, though its connection may not be."""
        self._established.pop(connection, None)
        self._lingering.add(connection)
        if connection is self._let_through:
            self._let_through = None
        if not was_released:
            self._metrics.count("AssociationsAborted")

    def disconnected(self, connection: Connection) -> None:
        """Take note that a connection is gone."""
        self._leave_pending(connection)
        self._lingering.discard(connection)
        self._report.connection_closed()

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        """Have every connection end what takes too long."""
        for connection in (*self._pending, *self._established, *self._lingering):
            connection.enforce_timeouts(monotonic_now, is_stopping)

    def memory_exhausted(self) -> None:
        """Stop reading everywhere, so that no more than what is under way is buffered."""
        self._is_memory_short = True
        for connection in self._established:
            connection.update_flow_control()

    def memory_returned(self) -> None:
        """Read again, once there is memory."""
        if self._is_memory_short and not self._memory.is_exhausted:
            self._is_memory_short = False
            for connection in tuple(self._established):
                connection.may_exceed_budget = False
                connection.update_flow_control()
            self._let_through = None

    def relieve_memory(self, monotonic_now: float, frees_memory_soon: Callable[[], bool]) -> None:
        """If memory is short and no upload is about to free some, let one object through until it is whole.

        Without this, objects that are all received in part would wait for one another for ever. One that does
        not make it in time is given up: its sender keeps its copy, and the others go on.
        """
        self.memory_returned()
        if not self._is_memory_short or frees_memory_soon():
            return
        chosen = self._let_through
        if chosen is not None and chosen.may_exceed_budget:
            if monotonic_now - self._let_through_since > _LET_THROUGH_SECONDS:
                chosen.abort("memory is short and the sender too slow")
            return
        chosen = next((waiting for waiting in self._established if waiting.is_receiving), None)
        if chosen is not None:
            self._established.pop(chosen)  # to the end of the queue
            self._established[chosen] = None
            self._let_through = chosen
            self._let_through_since = monotonic_now
            chosen.may_exceed_budget = True
            chosen.update_flow_control()

    def _leave_pending(self, connection: Connection) -> None:
        self._pending_bytes -= self._pending.pop(connection, 0)


def _maximum_pending(maximum_associations: int) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAXIMUM_PENDING
    return max(64, min(_MAXIMUM_PENDING, soft - maximum_associations - _DESCRIPTORS_APART))
