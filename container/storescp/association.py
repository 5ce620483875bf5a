"""One connection of a sender: bytes between the transport and the protocol core, and the ends that it can have."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from storescp.acceptance import LOCAL_LIMIT_EXCEEDED, REJECTION_NAMES, Policy, answer
from storescp.dimse import DimseError
from storescp.established import EstablishedAssociation, OperationTable
from storescp.failures import describe_failure
from storescp.incoming import StorageService
from storescp.memory import READ_BYTES, SMALLEST_CHUNK_BYTES, Memory
from storescp.pace import Pace
from storescp.part import AssociationMemory, FirstStage
from storescp.pdu import AssociateReject, AssociateRequest
from storescp.registry import Registry
from storescp.settings import Settings
from storescp.state_table import State
from storescp.tls import certificate_titles
from storescp.transport import Transport
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
_MAXIMUM_UNSENT_BYTES: Final = 16 * 1024  # of answers that the sender does not read; beyond it no request is read


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What all associations of a process share."""

    settings: Settings
    policy: Policy
    registry: Registry
    memory: Memory
    storage: StorageService
    operations: OperationTable
    loop: asyncio.AbstractEventLoop


class Association:
    """A connection; a slot is taken only by an association that was accepted.

    Whatever calls it (transport, memory, store, clock) comes in through `_run`, so that whatever happens in it ends
    there: everything is given back, and nobody else notices.
    """

    __slots__ = (
        "_acceptor",
        "_ended",
        "_established",
        "_is_stuck",
        "_last_read",
        "_leftover",
        "_pace",
        "_started",
        "_transport",
        "_upper_layer",
        "_waiting_since",
        "host",
        "peer",
    )

    def __init__(self, acceptor: Acceptor, transport: Transport) -> None:
        self._acceptor = acceptor
        self._transport = transport
        self._upper_layer = UpperLayer(acceptor.policy.maximum_pdu_size)
        self._established: EstablishedAssociation | None = None
        self._ended = ""  # how the association ended
        self._is_stuck = False  # for want of room
        self._leftover = b""  # what was read, and not taken yet
        self._pace = Pace()
        self._last_read = self._waiting_since = self._started = acceptor.loop.time()
        self.host, port = transport.peer_address
        self.peer = f"{self.host}:{port}" if self.host else ""

    def start(self) -> None:
        """Begin to wait for an A-ASSOCIATE-RQ (AE-5)."""
        self._acceptor.registry.connected(self)
        self._transport.start(self)

    # What the transport calls

    def read_limit(self) -> int:
        """Return how many bytes may be read now."""
        if self._established is None or self._ended:
            return SMALLEST_CHUNK_BYTES
        if self._acceptor.memory.is_short:
            return min(self._established.read_limit, SMALLEST_CHUNK_BYTES)
        return min(self._established.read_limit, READ_BYTES)

    def received(self, data: memoryview) -> None:
        """Take what was read."""
        self._last_read = self._acceptor.loop.time()
        self._pace.count(len(data))
        self._run(self._take, data)

    def sent(self) -> None:
        """Go on reading: the sender reads our answers."""
        self._run(self._update_flow_control)

    def connection_lost(self) -> None:
        """Clean up, however it ended."""
        self._run(self._upper_layer.connection_closed)
        self._run(self._end, "connection lost")
        self._acceptor.registry.disconnected(self)

    # What the registry and the worker call

    @property
    def is_idle(self) -> bool:
        """Whether it has an association that neither sends an object nor waits for an answer."""
        established = self._established
        return established is not None and not self._ended and established.is_idle and not established.is_receiving

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        """End what takes too long (ARTIM, NETWORK_TIMEOUT); while stopping, what only keeps us waiting."""
        self._run(self._enforce_timeouts, monotonic_now, is_stopping)

    def abort(self, reason: str) -> None:
        """Abort the association, or drop a connection that has none."""
        self._run(self._abort, reason)

    # What the services call

    def send(self, data: bytes) -> None:
        """Send PDUs, unless the connection has gone."""
        self._transport.write(data)

    def go_on(self) -> None:
        """Take what is left over, now that there may be room, and read on."""
        self._last_read = self._acceptor.loop.time()
        self._run(self._take_leftover)

    def operations_changed(self) -> None:
        """Go on, now that an operation is over: with what is left over, a release that waits, the last log line."""
        self._last_read = self._acceptor.loop.time()
        self._run(self._after_operation)

    # Bytes

    def _take(self, data: memoryview) -> None:
        layer = self._upper_layer
        self._is_stuck = False
        for indication in layer.receive(data):
            if type(indication) is not Fragment:
                self._on_indication(indication)
            elif not self._take_fragment(indication):
                self._is_stuck = True
                self._leftover = bytes(data[layer.position :])
                break
        if self._established is None:
            self._acceptor.registry.pending_changed(self, layer.held_bytes)
        else:
            self._update_flow_control()

    def _take_fragment(self, fragment: Fragment) -> bool:
        """Take a fragment as far as there is room for it, the rest comes again; return False if there is none."""
        established = self._established
        assert established is not None
        room = established.room_for(fragment)
        if room < len(fragment.data) or room < 0:
            fragment = self._upper_layer.unread(fragment, max(room, 0))
            if room < 0:
                return False
        established.take(fragment)
        return True

    def _take_leftover(self) -> None:
        if self._is_stuck and not self._ended:
            leftover, self._leftover = self._leftover, b""
            self._take(memoryview(leftover))
        else:
            self._update_flow_control()

    def _update_flow_control(self) -> None:
        """Read from the network, or do not, as window, memory, store and the sender's own reading allow."""
        established = self._established
        if established is None or self._ended:
            is_reading = True
        else:
            is_reading = (
                not self._is_stuck
                and established.takes_more()
                and self._transport.unsent_bytes <= _MAXIMUM_UNSENT_BYTES
            )
        if is_reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

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
            if self._established is None:
                self._acceptor.registry.malformed(self, indication.message)
            self._end(f"aborted: {indication.message}")

    def _on_request(self, request: AssociateRequest) -> None:
        acceptor = self._acceptor
        titles = certificate_titles(self._transport.peer_certificate)
        decision = answer(request, acceptor.policy, titles)
        if not isinstance(decision, AssociateReject) and not self._take_slot(request):
            decision = LOCAL_LIMIT_EXCEEDED
        if isinstance(decision, AssociateReject):
            self._send_final_pdu(self._upper_layer.reject(decision))
            monotonic_now = acceptor.loop.time()
            if not acceptor.registry.rejected(self, request, REJECTION_NAMES[decision], monotonic_now):
                self._transport.abort()
            return
        peer = (self.host, request.calling_ae_title)
        memory = AssociationMemory(acceptor.memory, peer, FirstStage(acceptor.memory))
        self._started = acceptor.loop.time()
        self._established = EstablishedAssociation(acceptor.operations, request, decision, memory, self)
        acceptor.registry.accepted(self)
        self.send(self._upper_layer.accept(decision))

    def _take_slot(self, request: AssociateRequest) -> bool:
        """Take a slot and a first stage of memory, or neither."""
        registry = self._acceptor.registry
        if not registry.take_slot(self, request.calling_ae_title):
            return False
        is_admitted = self._acceptor.memory.admit()
        if not is_admitted:
            registry.return_slot(self)
        return is_admitted

    def _after_operation(self) -> None:
        if self._ended:
            self._log_end()
        elif self._upper_layer.state is State.AWAITING_RELEASE_DECISION:
            self._release_when_idle()
        else:
            self._take_leftover()

    # Ends

    def _run(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; whatever happens in it ends here."""
        try:
            step(*arguments)
        except DimseError as error:
            self._run(self._abort, str(error))
        except Exception as error:  # noqa: BLE001 (a mistake of ours costs one connection, and no other)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Give everything back after a mistake of ours: one line that says where it is, and no words of the error."""
        self._acceptor.storage.log.error("connection failed", peer=self.peer, **describe_failure(error))
        self._transport.abort()
        if self._ended != "failed":
            self._run(self._end, "failed")

    def _enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        settings = self._acceptor.settings
        if self._upper_layer.artim_runs:
            if monotonic_now - self._waiting_since > settings.artim_timeout:
                self._upper_layer.artim_expired()
                self._transport.abort()
            return
        established = self._established
        if established is None:
            return
        least = settings.minimum_bytes_per_second
        if not established.is_receiving:
            self._pace.restart()
        elif self._pace.is_too_slow(monotonic_now, self._transport.is_reading, least):
            self._abort(f"fewer than {least} bytes per second came of an object")
            return
        if established.is_idle:
            self._enforce_silence(monotonic_now - self._last_read, is_stopping and not established.is_receiving)

    def _enforce_silence(self, silent_seconds: float, is_waited_for: bool) -> None:
        """End the association of a sender that says nothing, if it is its turn, or that does not read our answers."""
        timeout = self._acceptor.settings.network_timeout
        is_its_turn = self._transport.is_reading or self._transport.unsent_bytes > _MAXIMUM_UNSENT_BYTES
        if silent_seconds > timeout and is_its_turn:
            self._abort(f"nothing was received for {timeout:g} seconds")
        elif is_waited_for and silent_seconds > _IDLE_SECONDS_AT_STOP:
            self._abort("the receiver stops and the sender was idle")

    def _release_when_idle(self) -> None:
        if self._established is None or self._established.is_idle:
            self.send(self._upper_layer.release())
            self._await_close()
            self._end("released")

    def _abort(self, reason: str) -> None:
        if self._established is None or self._ended:
            self._transport.abort()
            return
        self._send_final_pdu(self._upper_layer.abort())
        self._end(f"aborted: {reason}")

    def _send_final_pdu(self, data: bytes) -> None:
        """Send the last PDU, and say that no more follows; closing outright could destroy it on its way."""
        self.send(data)
        self._transport.shut_down()
        self._await_close()

    def _await_close(self) -> None:
        """Start the ARTIM timer; what still arrives is read and dropped."""
        self._waiting_since = self._acceptor.loop.time()

    def _end(self, how: str) -> None:
        """Take note that the association is over: slot and memory go back, what is whole goes on into the store."""
        if self._ended or self._established is None:
            return
        self._ended = how
        self._established.contributor.ended(how == "released", self._acceptor.loop.time())
        self._is_stuck = False
        self._leftover = b""
        self._acceptor.registry.return_slot(self)
        self._acceptor.registry.ended(self, how == "released")
        self._established.end()
        self._update_flow_control()
        self._log_end()

    def _log_end(self) -> None:
        """Write one line for each association, once its last operation is over."""
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
