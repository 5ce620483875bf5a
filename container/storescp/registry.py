"""Who is connected to a process, and how many may be."""

import resource
from collections.abc import Hashable
from typing import Final, Protocol

from storescp.log import Log
from storescp.metrics import Metrics
from storescp.pdu import AssociateRequest
from storescp.settings import Settings
from storescp.shares import RejectionRate, Shares, share_of
from storescp.slots import SharedCounts, Slots
from storescp.traces import ASSOCIATION_REJECTED, CONNECTION_MALFORMED

_MAXIMUM_CONNECTIONS: Final = 4096  # without an association: not yet, or no longer
_DESCRIPTORS_APART: Final = 512  # for uploads and ourselves


class Connection(Protocol):
    """What the registry knows of a connection."""

    @property
    def peer(self) -> str:
        """Address and port of the peer; empty if it has gone."""

    @property
    def host(self) -> str:
        """Address of the peer; empty if it has gone."""

    @property
    def is_idle(self) -> bool:
        """Whether it has an association that neither sends an object nor waits for an answer."""

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
        self, settings: Settings, pending_bytes: int, slots: Slots, report: WorkerReport, metrics: Metrics, log: Log
    ) -> None:
        """`pending_bytes`: of requests for an association that have not arrived whole, together."""
        self._slots = slots
        self._report = report
        self._metrics = metrics
        self._log = log
        self._pending: dict[Connection, int] = {}  # oldest first, and the bytes each holds
        self._pending_bytes = 0
        self._maximum_pending_bytes = pending_bytes
        self._maximum_connections = _maximum_connections(settings.maximum_associations)
        self._established: dict[Connection, None] = {}  # oldest first
        self._lingering: dict[Connection, None] = {}  # connections whose association has ended, oldest first
        self._holders: dict[Connection, tuple[Hashable, ...]] = {}  # of a slot, and whom it is counted to
        self._slots_by_peer = Shares(share_of(settings.maximum_associations, settings.workers))
        self._rejections = RejectionRate()

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
        """Take note of a new connection.

        Beyond the limit one has to go: the oldest whose association has ended; else the oldest that has said nothing,
        of this peer if it has more than its share.
        """
        self._pending[connection] = 0
        if len(self._pending) + len(self._lingering) > self._maximum_connections:
            self._one_to_close(connection.host).abort("too many connections")

    def _one_to_close(self, host: str) -> Connection:
        if self._lingering:
            return next(iter(self._lingering))
        of_this_peer = [pending for pending in self._pending if pending.host == host]
        if len(of_this_peer) > share_of(self._maximum_connections):
            return of_this_peer[0]
        return next(iter(self._pending))

    def pending_changed(self, connection: Connection, held_bytes: int) -> None:
        """Take note that a connection without an association holds so many bytes of a request."""
        if connection not in self._pending:
            return
        self._pending_bytes += held_bytes - self._pending[connection]
        self._pending[connection] = held_bytes
        if self._pending_bytes > self._maximum_pending_bytes:
            next(pending for pending, held in self._pending.items() if held).abort("too many connections")

    def take_slot(self, connection: Connection, calling_ae_title: str) -> bool:
        """Take one of MAXIMUM_ASSOCIATIONS for a connection; return False if there is none.

        Anybody may have as many as there are. But if none is left, a peer that holds more than its share loses the
        oldest of those that it does not use; a peer is an address, and a calling AE title wherever it comes from.
        """
        counted_to = (("address", connection.host), ("title", calling_ae_title))
        if not self._slots.take() and not (self._end_an_idle_one(counted_to) and self._slots.take()):
            return False
        self._slots_by_peer.add(*counted_to)
        self._holders[connection] = counted_to
        return True

    def _end_an_idle_one(self, asking: tuple[Hashable, ...]) -> bool:
        for connection, counted_to in tuple(self._holders.items()):
            others = [peer for peer in counted_to if peer not in asking]
            if any(map(self._slots_by_peer.is_exceeded_by, others)) and connection.is_idle:
                connection.abort("it was idle, and its peer has more than its share of associations")
                return True
        return False

    def return_slot(self, connection: Connection) -> None:
        """Return the slot of a connection, if it holds one."""
        counted_to = self._holders.pop(connection, None)
        if counted_to is not None:
            self._slots.give_back()
            self._slots_by_peer.remove(*counted_to)

    def accepted(self, connection: Connection) -> None:
        """Take note that an association was accepted."""
        self._leave_pending(connection)
        self._established[connection] = None
        self._metrics.count("AssociationsAccepted")

    def rejected(self, connection: Connection, request: AssociateRequest, reason: str, monotonic_now: float) -> bool:
        """Take note that an association was rejected for a reason of `acceptance.REJECTION_NAMES`.

        Return whether the connection may linger until the peer closes it: not if it is rejected all the time.
        """
        self._leave_pending(connection)
        self._lingering[connection] = None
        self._metrics.rejected(reason)
        self._log.warning(
            ASSOCIATION_REJECTED,
            reason=reason,
            peer=connection.peer,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
        )
        return not self._rejections.is_exceeded(connection.host, monotonic_now)

    def malformed(self, connection: Connection, reason: str) -> None:
        """Take note that a connection began with what is no valid request for an association."""
        self._log.warning(CONNECTION_MALFORMED, peer=connection.peer, reason=reason)

    def ended(self, connection: Connection, was_released: bool) -> None:
        """Take note that an association is over, though its connection may not be."""
        self._established.pop(connection, None)
        self._lingering[connection] = None
        if not was_released:
            self._metrics.count("AssociationsAborted")

    def disconnected(self, connection: Connection) -> None:
        """Take note that a connection is gone."""
        self._leave_pending(connection)
        self._lingering.pop(connection, None)
        self.return_slot(connection)
        self._report.connection_closed()

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        """Have every connection end what takes too long."""
        for connection in (*self._pending, *self._established, *self._lingering):
            connection.enforce_timeouts(monotonic_now, is_stopping)

    def _leave_pending(self, connection: Connection) -> None:
        self._pending_bytes -= self._pending.pop(connection, 0)


def _maximum_connections(maximum_associations: int) -> int:
    """Connections without an association: as many as there are descriptors for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAXIMUM_CONNECTIONS
    return max(64, min(_MAXIMUM_CONNECTIONS, soft - maximum_associations - _DESCRIPTORS_APART))
