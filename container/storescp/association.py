"""One connection of a sender: bytes between the socket and the protocol core, and the ends that it can have."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, Final

from storescp.acceptance import LOCAL_LIMIT_EXCEEDED, REJECTION_NAMES, Policy, answer
from storescp.dimse import DimseError
from storescp.established import EstablishedAssociation, OperationTable
from storescp.incoming import StorageService
from storescp.pdu import AssociateReject, AssociateRequest
from storescp.registry import Registry
from storescp.settings import Settings
from storescp.state_table import State
from storescp.upper_layer import (
    Aborted,
    AssociateRequested,
    Fragment,
    Indication,
    ReleaseRequested,
    UpperLayer,
    Violation,
)

# A sender that says nothing for so long while we stop is not between two images.
_IDLE_SECONDS_AT_STOP: Final = 5.0
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What all associations of a process share."""

    settings: Settings
    policy: Policy
    registry: Registry
    storage: StorageService
    operations: OperationTable
    loop: asyncio.AbstractEventLoop
    read_view: memoryview  # all connections read into it: it is emptied before another one reads


class Association(asyncio.BufferedProtocol):
    """A connection; a slot is taken only by an association that was accepted."""

    __slots__ = (
        "_acceptor",
        "_connected",
        "_ended",
        "_established",
        "_holds_slot",
        "_is_reading",
        "_is_writing_paused",
        "_last_read",
        "_socket",
        "_started",
        "_transport",
        "_upper_layer",
        "may_exceed_budget",
        "peer",
    )

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._upper_layer = UpperLayer(acceptor.policy.maximum_pdu_size)
        self._established: EstablishedAssociation | None = None
        self._ended = ""  # how the association ended
        self._holds_slot = False
        self._is_reading = True
        self._is_writing_paused = False
        self.may_exceed_budget = False  # although memory is exhausted
        self.peer = ""

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for an A-ASSOCIATE-RQ (AE-5)."""
        self._transport = transport
        self._socket = _socket_of(transport)
        self._connected = self._last_read = self._acceptor.loop.time()
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else ""
        self._acceptor.registry.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self._acceptor.read_view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        acceptor = self._acceptor
        self._last_read = acceptor.loop.time()
        self._acknowledge()
        try:
            for indication in self._upper_layer.receive(acceptor.read_view[:nbytes]):
                if type(indication) is Fragment:
                    assert self._established is not None
                    self._established.take(indication)
                else:
                    self._on_indication(indication)
        except DimseError as error:
            self._abort(str(error))
        if self._established is None:
            acceptor.registry.pending_changed(self, self._upper_layer.held_bytes)
        elif acceptor.storage.memory.is_exhausted:
            acceptor.registry.memory_exhausted()
        else:
            self.update_flow_control()

    def eof_received(self) -> bool:
        """Close: no sender of DICOM half-closes its connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up, however it ended."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        self._upper_layer.connection_closed()
        self._end("connection lost")
        self._acceptor.registry.disconnected(self)
        self._acceptor.registry.memory_returned()

    def pause_writing(self) -> None:
        """Read no more requests: the sender does not read our answers."""
        self._is_writing_paused = True
        self.update_flow_control()

    def resume_writing(self) -> None:
        """Read again: the sender reads our answers."""
        self._is_writing_paused = False
        self.update_flow_control()

    # What the registry and the worker call

    @property
    def is_established(self) -> bool:
        """Whether an association was accepted and has not ended."""
        return self._established is not None and not self._ended

    @property
    def is_receiving(self) -> bool:
        """Whether an object has arrived in part."""
        return self._established is not None and self._established.is_receiving

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        """End what takes too long (ARTIM, NETWORK_TIMEOUT); while stopping, what only keeps us waiting."""
        settings = self._acceptor.settings
        if self._upper_layer.artim_runs:
            if monotonic_now - self._connected > settings.artim_timeout:
                self._upper_layer.artim_expired()
                self._transport.abort()
            return
        established = self._established
        if established is None or not established.is_idle:
            return
        silent = monotonic_now - self._last_read
        if silent > settings.network_timeout and (self._is_reading or self._is_writing_paused):
            self._abort(f"nothing was received for {settings.network_timeout:g} seconds")
        elif is_stopping and silent > _IDLE_SECONDS_AT_STOP and not established.is_receiving:
            self._abort("the receiver stops and the sender was idle")

    def abort(self, reason: str) -> None:
        """Abort the association, or drop a connection that has none."""
        if self.is_established:
            self._abort(reason)
        else:
            self._transport.abort()

    def update_flow_control(self) -> None:
        """Read from the network, or do not, as memory, window, store and the sender's own reading allow."""
        established = self._established
        is_reading = True
        if established is not None and not self._ended:
            is_reading = (
                established.takes_more
                and not self._is_writing_paused
                and (self.may_exceed_budget or not self._acceptor.storage.memory.is_exhausted)
            )
        if is_reading is not self._is_reading and not self._transport.is_closing():
            self._is_reading = is_reading
            if is_reading:
                self._last_read = self._acceptor.loop.time()
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # What the services call

    def send(self, data: bytes) -> None:
        """Send PDUs, unless the connection has gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def operations_changed(self) -> None:
        """Go on, now that an operation is over: with reading, with a release that waits, with the last log line."""
        self._acceptor.registry.memory_returned()
        self._last_read = self._acceptor.loop.time()
        if self._ended:
            self._log_end()
        elif self._upper_layer.state is State.AWAITING_RELEASE_DECISION:
            self._release_when_idle()
        else:
            self.update_flow_control()

    # Indications

    def _on_indication(self, indication: Indication) -> None:
        if isinstance(indication, AssociateRequested):
            self._on_request(indication.request)
        elif isinstance(indication, ReleaseRequested):
            self._release_when_idle()
        elif isinstance(indication, Aborted):
            self._end("aborted by the sender")
            self._transport.abort()  # AA-3: there is nobody left to read what we may still have to send
        elif isinstance(indication, Violation):
            self._send_final_pdu(indication.answer)
            self._end(f"aborted: {indication.message}")

    def _on_request(self, request: AssociateRequest) -> None:
        registry = self._acceptor.registry
        decision = answer(request, self._acceptor.policy)
        if not isinstance(decision, AssociateReject) and not registry.take_slot():
            decision = LOCAL_LIMIT_EXCEEDED
        if isinstance(decision, AssociateReject):
            self._send_final_pdu(self._upper_layer.reject(decision))
            registry.rejected(self, request, REJECTION_NAMES[decision])
            return
        self._holds_slot = True
        self.send(self._upper_layer.accept(decision))
        self._started = self._acceptor.loop.time()
        self._established = EstablishedAssociation(self._acceptor.operations, request, decision, self)
        registry.accepted(self)

    # Ends

    def _release_when_idle(self) -> None:
        if self._established is None or self._established.is_idle:
            self.send(self._upper_layer.release())
            self._await_close()
            self._end("released")

    def _abort(self, reason: str) -> None:
        self._send_final_pdu(self._upper_layer.abort())
        self._end(f"aborted: {reason}")

    def _send_final_pdu(self, data: bytes) -> None:
        """Send the last PDU, and say that no more follows; closing outright could destroy it on its way."""
        self.send(data)
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
        self._await_close()

    def _await_close(self) -> None:
        """Start the ARTIM timer; what still arrives is read and dropped."""
        self._connected = self._acceptor.loop.time()

    def _end(self, how: str) -> None:
        """Take note that the association is over: slot and memory go back, what is whole goes on into the store."""
        if self._ended or self._established is None:
            return
        self._ended = how
        self._established.end()
        if self._holds_slot:
            self._holds_slot = False
            self._acceptor.registry.return_slot()
        self._acceptor.registry.ended(self, how == "released")
        self.update_flow_control()
        self._log_end()

    def _log_end(self) -> None:
        """One line for each association, once its last operation is over."""
        established = self._established
        if established is None or established.operations:
            return
        self._acceptor.storage.log.info(
            "association ended",
            peer=self.peer,
            calling_ae_title=established.request.calling_ae_title,
            called_ae_title=established.request.called_ae_title,
            contexts=len(established.transfer_syntaxes),
            window=established.window,
            implementation=established.request.implementation_version_name,
            instances=established.instances,
            bytes=established.bytes,
            failures=dict(established.failures),
            seconds=round(self._acceptor.loop.time() - self._started, 3),
            end=self._ended,
        )

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge at once.

        A sender with Nagle's algorithm on holds its second small segment until the first is acknowledged, and
        the kernel forgets this option after a while, so it is set after every read.
        """
        if self._socket is not None and _QUICKACK is not None:
            try:  # noqa: SIM105 (this runs at every read, and a context manager costs as much as the call)
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:  # the peer has gone; connection_lost follows
                pass


def _socket_of(transport: Any) -> socket.socket | None:
    """A socket object on the transport's descriptor, which stays the transport's: detach, never close it."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return socket.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
