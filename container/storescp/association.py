"""One connection of a sender: bytes between the socket and the protocol core, requests to their answers."""

import asyncio
import socket
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from storescp.acceptance import LOCAL_LIMIT_EXCEEDED, REJECTION_NAMES, answer, operations_granted
from storescp.batch import Lane
from storescp.dimse import Command, CommandField, DimseError, MessageReader, Status, encode_response
from storescp.incoming import IncomingObject
from storescp.pdu import AssociateReject, AssociateRequest, ContextResult, encode_command_pdus
from storescp.upper_layer import (
    Aborted,
    AssociateRequested,
    Event,
    Fragment,
    ReleaseRequested,
    State,
    UpperLayer,
    Violation,
)

if TYPE_CHECKING:
    from storescp.server import Receiver

# A sender that says nothing for so long while we stop is not between two images.
_IDLE_SECONDS_AT_STOP: Final = 5.0
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux


class _Agreed:
    """What an established association knows; a connection that never asks for one does without."""

    def __init__(self, request: AssociateRequest, contexts: dict[int, str], began: float) -> None:
        self.request = request
        self.transfer_syntaxes = contexts
        self.messages = MessageReader(frozenset(contexts))
        self.window = operations_granted(request)
        self.began = began
        self.lane = Lane()
        self.size_hint = 0
        self.incoming: IncomingObject | None = None
        self.discarded: tuple[Command, Status, str] | None = None  # answered when its data set has gone by
        self.waiting: deque[IncomingObject] = deque()  # whole, but the window is full
        self.operations = 0
        self.instances = 0
        self.bytes = 0
        self.failures: Counter[str] = Counter()


class Association(asyncio.BufferedProtocol):
    """A connection; a slot is taken only by an association that was accepted."""

    __slots__ = (
        "_agreed",
        "_connected",
        "_ended",
        "_holds_slot",
        "_is_reading",
        "_is_writing_paused",
        "_last_read",
        "_receiver",
        "_socket",
        "_transport",
        "_upper_layer",
        "is_let_through",
        "peer",
    )

    def __init__(self, receiver: "Receiver") -> None:
        self._receiver = receiver
        self._upper_layer = UpperLayer(receiver.policy.maximum_pdu_size)
        self._agreed: _Agreed | None = None
        self._ended = ""  # how the association ended
        self._holds_slot = False
        self._is_reading = True
        self._is_writing_paused = False
        self.is_let_through = False  # although memory is exhausted
        self.peer = ""

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for an A-ASSOCIATE-RQ (AE-5)."""
        self._transport = transport
        self._socket = _socket_of(transport)
        self._connected = self._last_read = self._receiver.loop.time()
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else ""
        self._receiver.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """All connections of a process read into the same buffer: it is emptied before another one reads."""
        return self._receiver.read_view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        receiver = self._receiver
        self._last_read = receiver.loop.time()
        self._acknowledge()
        try:
            for event in self._upper_layer.receive(receiver.read_view[:nbytes]):
                if type(event) is Fragment:
                    self._on_fragment(event)
                else:
                    self._on_event(event)
        except DimseError as error:
            self._abort(str(error))
        if self._agreed is None:
            receiver.pending_changed(self, self._upper_layer.held_bytes)
        elif receiver.storage.memory.is_exhausted:
            receiver.memory_exhausted()
        else:
            self.regulate()

    def eof_received(self) -> bool:
        """Close: no sender of DICOM half-closes its connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up, however it ended."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        self._end("connection lost")
        self._receiver.disconnected(self)

    def pause_writing(self) -> None:
        """The sender does not read our answers: read no more requests."""
        self._is_writing_paused = True
        self.regulate()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_writing_paused = False
        self.regulate()

    # What the receiver calls

    @property
    def is_established(self) -> bool:
        """Whether an association was accepted and has not ended."""
        return self._agreed is not None and not self._ended

    @property
    def is_receiving(self) -> bool:
        """Whether an object has arrived in part."""
        return self._agreed is not None and self._agreed.incoming is not None

    def check(self, now: float, is_stopping: bool) -> None:
        """End what takes too long (ARTIM, NETWORK_TIMEOUT); while stopping, what only keeps us waiting."""
        settings = self._receiver.settings
        if self._upper_layer.artim_runs:
            if now - self._connected > settings.artim_timeout:
                self._transport.abort()
            return
        agreed = self._agreed
        if agreed is None or agreed.operations or agreed.waiting:
            return
        silent = now - self._last_read
        if silent > settings.network_timeout and (self._is_reading or self._is_writing_paused):
            self._abort(f"nothing was received for {settings.network_timeout:g} seconds")
        elif is_stopping and silent > _IDLE_SECONDS_AT_STOP and agreed.incoming is None:
            self._abort("the receiver stops and the sender was idle")

    def cut(self, reason: str) -> None:
        """Abort the association, or drop a connection that has none."""
        if self.is_established:
            self._abort(reason)
        else:
            self._transport.abort()

    def regulate(self) -> None:
        """Read from the network, or do not, as memory, window, store and the sender's own reading allow."""
        agreed = self._agreed
        is_reading = True
        if agreed is not None and not self._ended:
            is_reading = not (
                agreed.waiting
                or self._is_writing_paused
                or (agreed.incoming is not None and agreed.incoming.is_store_behind)
                or (self._receiver.storage.memory.is_exhausted and not self.is_let_through)
            )
        if is_reading is not self._is_reading and not self._transport.is_closing():
            self._is_reading = is_reading
            if is_reading:
                self._last_read = self._receiver.loop.time()
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # Events

    def _on_event(self, event: Event) -> None:
        if isinstance(event, AssociateRequested):
            self._on_request(event.request)
        elif isinstance(event, ReleaseRequested):
            self._release_when_idle()
        elif isinstance(event, Aborted):
            self._end("aborted by the sender")
            self._transport.close()
        elif isinstance(event, Violation):
            self._say_farewell(event.answer)
            self._end(f"aborted: {event.message}")

    def _on_request(self, request: AssociateRequest) -> None:
        decision = answer(request, self._receiver.policy)
        if not isinstance(decision, AssociateReject) and not self._receiver.take_slot():
            decision = LOCAL_LIMIT_EXCEEDED
        if isinstance(decision, AssociateReject):
            self._say_farewell(self._upper_layer.reject(decision))
            self._receiver.rejected(self, request, REJECTION_NAMES[decision])
            return
        self._holds_slot = True
        self._write(self._upper_layer.accept(decision))
        contexts = {
            context.context_id: context.transfer_syntax
            for context in decision.contexts
            if context.result is ContextResult.ACCEPTANCE
        }
        self._agreed = _Agreed(request, contexts, self._receiver.loop.time())
        self._receiver.established(self)

    def _on_fragment(self, fragment: Fragment) -> None:
        agreed = self._agreed
        assert agreed is not None
        message = agreed.messages.take(fragment)
        if message is None:
            return
        if isinstance(message, Command):
            self._on_command(agreed, message)
            return
        if agreed.incoming is not None:
            agreed.incoming.write(message.data)
        if message.is_last:
            self._on_data_set_end(agreed)

    def _on_command(self, agreed: _Agreed, command: Command) -> None:
        if command.field == CommandField.C_STORE_RQ and command.has_data_set:
            refused = self._receiver.policy.sop_classes
            if not refused or command.sop_class_uid in refused:
                agreed.incoming = IncomingObject(
                    self._receiver.storage,
                    command,
                    agreed.transfer_syntaxes[command.context_id],
                    agreed.request.calling_ae_title,
                    agreed.lane,
                    agreed.size_hint,
                    self.regulate,
                    self._on_outcome,
                )
                return
            outcome = (Status.SOP_CLASS_NOT_SUPPORTED, "SOP Class is not among those accepted here")
        elif command.field == CommandField.C_STORE_RQ:
            outcome = (Status.CANNOT_UNDERSTAND, "C-STORE request without a data set")
        elif command.field == CommandField.C_ECHO_RQ:
            outcome = (Status.SUCCESS, "")
        elif command.field == CommandField.C_CANCEL_RQ:
            return
        else:
            outcome = (Status.UNRECOGNIZED_OPERATION, "Only C-STORE and C-ECHO are served here")
        if command.has_data_set:
            agreed.discarded = (command, *outcome)
        else:
            self._respond(command, *outcome)

    def _on_data_set_end(self, agreed: _Agreed) -> None:
        if agreed.incoming is not None:
            agreed.waiting.append(agreed.incoming)
            agreed.incoming = None
            self.is_let_through = False
            self._start_operations(agreed)
        elif agreed.discarded is not None:
            discarded, agreed.discarded = agreed.discarded, None
            self._respond(*discarded)

    def _start_operations(self, agreed: _Agreed) -> None:
        while agreed.waiting and agreed.operations < agreed.window:
            agreed.operations += 1
            agreed.waiting.popleft().finish()

    def _on_outcome(self, incoming: IncomingObject) -> None:
        """Answer a C-STORE request; if the association has ended, its sender will send the instance again."""
        agreed = self._agreed
        assert agreed is not None and incoming.status is not None
        agreed.operations -= 1
        agreed.size_hint = incoming.size
        metrics = self._receiver.storage.metrics
        if not self._ended:
            self._respond(incoming.command, incoming.status, incoming.comment)
            if incoming.status is Status.SUCCESS:
                agreed.instances += 1
                agreed.bytes += incoming.size
                metrics.acknowledged(incoming.size, incoming.put_seconds)
        if incoming.status is not Status.SUCCESS:
            agreed.failures[f"0x{incoming.status:04X} {incoming.comment}"] += 1
            metrics.failed(incoming.status)
        self._receiver.memory_returned()
        self._start_operations(agreed)
        self._last_read = self._receiver.loop.time()
        if not self._ended:
            if self._upper_layer.state is State.AWAITING_RELEASE_DECISION:
                self._release_when_idle()
            else:
                self.regulate()
        else:
            self._log_end()

    # Ends

    def _release_when_idle(self) -> None:
        agreed = self._agreed
        if agreed is not None and (agreed.operations or agreed.waiting):
            return
        self._write(self._upper_layer.release())
        self._await_close()
        self._end("released")

    def _abort(self, reason: str) -> None:
        self._say_farewell(self._upper_layer.abort())
        self._end(f"aborted: {reason}")

    def _say_farewell(self, data: bytes) -> None:
        """Write the last PDU, and say that no more follows; closing outright could destroy it on its way."""
        self._write(data)
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
        self._await_close()

    def _await_close(self) -> None:
        """The ARTIM timer runs from now on; what still arrives is read and dropped."""
        self._connected = self._receiver.loop.time()

    def _end(self, how: str) -> None:
        """The association is over: slot and memory go back, what is whole goes on into the store."""
        if self._ended or self._agreed is None:
            return
        self._ended = how
        agreed = self._agreed
        if agreed.incoming is not None:
            agreed.incoming.abandon()
            agreed.incoming = None
        for incoming in agreed.waiting:
            incoming.abandon()
        agreed.waiting.clear()
        if self._holds_slot:
            self._holds_slot = False
            self._receiver.give_slot_back()
        self._receiver.ended(self, how)
        self.regulate()
        if not agreed.operations:
            self._log_end()

    def _log_end(self) -> None:
        """One line an association, once its last operation is over."""
        agreed = self._agreed
        if agreed is None or agreed.operations:
            return
        self._receiver.storage.log.info(
            "association ended",
            peer=self.peer,
            calling_ae_title=agreed.request.calling_ae_title,
            called_ae_title=agreed.request.called_ae_title,
            contexts=len(agreed.transfer_syntaxes),
            window=agreed.window,
            implementation=agreed.request.implementation_version_name,
            instances=agreed.instances,
            bytes=agreed.bytes,
            failures=dict(agreed.failures),
            seconds=round(self._receiver.loop.time() - agreed.began, 3),
            end=self._ended,
        )

    # Bytes

    def _respond(self, command: Command, status: Status, comment: str) -> None:
        agreed = self._agreed
        assert agreed is not None
        response = encode_response(command, status, comment)
        self._write(encode_command_pdus(command.context_id, response, agreed.request.maximum_length))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

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
