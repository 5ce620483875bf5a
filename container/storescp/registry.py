"""Who is connected to a process, and how many may be."""

import resource
from typing import Final, Protocol

from storescp.log import Log
from storescp.metrics import Metrics
from storescp.pdu import AssociateRequest
from storescp.settings import MIB
from storescp.slots import SharedCounts, Slots

_MAXIMUM_PENDING: Final = 4096  # connections that have not asked for an association
_MAXIMUM_PENDING_BYTES: Final = 32 * MIB
_DESCRIPTORS_APART: Final = 512  # for uploads and ourselves


class Connection(Protocol):
    """What the registry knows of a connection."""

    @property
    def peer(self) -> str:
        """Address and port of the peer; empty if it has gone."""

    def abort(self, reason: str) -> None:
        """Abort the association, or drop a connection that has none."""

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        """End what takes too long; while the process stops, what only keeps it waiting."""


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
        slots: Slots,
        report: WorkerReport,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._slots = slots
        self._report = report
        self._metrics = metrics
        self._log = log
        self._pending: dict[Connection, int] = {}  # oldest first, and the bytes each holds
        self._pending_bytes = 0
        self._maximum_pending = _maximum_pending(maximum_associations)
        self._established: dict[Connection, None] = {}  # oldest first
        self._lingering: set[Connection] = set()  # connections whose association has ended

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

    def _leave_pending(self, connection: Connection) -> None:
        self._pending_bytes -= self._pending.pop(connection, 0)


def _maximum_pending(maximum_associations: int) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAXIMUM_PENDING
    return max(64, min(_MAXIMUM_PENDING, soft - maximum_associations - _DESCRIPTORS_APART))
