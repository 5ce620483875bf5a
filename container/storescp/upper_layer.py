"""The upper layer of an association acceptor, without I/O (PS3.8 section 9.2).

Bytes go in, events come out; decisions go in, bytes come out. Nothing here knows of sockets, clocks or other
associations: whoever owns the connection moves the bytes and, while `artim_runs`, keeps the ARTIM timer.

P-DATA is never collected: a fragment is handed on as it arrives, as a view of the caller's bytes, so that the
memory an association takes does not depend on the size of PDUs that the peer chooses.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from storescp.pdu import (
    PDU_HEADER,
    AbortReason,
    AbortSource,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    PduError,
    PduType,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_release_response,
)
from storescp.state_table import ARTIM_STATES, EVENT_OF_PDU, TRANSITIONS, VIOLATIONS, Action, Event, State

# 128 contexts with every transfer syntax of PS3.6 fit in.
MAXIMUM_ASSOCIATE_REQUEST_LENGTH: Final = 512 * 1024
# Four reserved bytes (PS3.8 9.3.6); there are devices that send none, or eight.
MAXIMUM_RELEASE_REQUEST_LENGTH: Final = 16
_PDV_HEADER: Final = Struct(">IBB")
_DATA_HEADER: Final = Struct(">BxIIBB")  # of a PDU and of its first value
_ESTABLISHED: Final = State.ESTABLISHED
_AWAITING_CLOSE: Final = State.AWAITING_CLOSE
_IDLE: Final = State.IDLE
_P_DATA_TF: Final = int(PduType.P_DATA_TF)


class AssociateRequested(NamedTuple):
    """An A-ASSOCIATE-RQ arrived whole: answer with `accept` or `reject`."""

    request: AssociateRequest


class Fragment(NamedTuple):
    """Bytes of a presentation data value; `is_last` is true for the end of the last fragment (PS3.8 E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class ReleaseRequested(NamedTuple):
    """An A-RELEASE-RQ arrived: answer with `release`."""


class Aborted(NamedTuple):
    """The peer aborted; nothing is to be answered."""

    source: int
    reason: int


class Violation(NamedTuple):
    """The peer broke the protocol: send `answer`, an A-ABORT, then wait for the close under ARTIM."""

    answer: bytes
    reason: AbortReason
    message: str


Indication = AssociateRequested | Fragment | ReleaseRequested | Aborted | Violation

_KNOWN: Final = frozenset(PduType)
# What other protocols begin with, for whoever reads the log.
_FOREIGN: Final = {0x16: ": the sender speaks TLS, this port does not", **dict.fromkeys(b"DGHOP", ": it is HTTP")}
_LENGTHS: Final = {
    PduType.A_ASSOCIATE_RQ: range(MAXIMUM_ASSOCIATE_REQUEST_LENGTH + 1),
    PduType.A_RELEASE_RQ: range(MAXIMUM_RELEASE_REQUEST_LENGTH + 1),
    PduType.A_ABORT: range(4, 5),
}


class UnexpectedPdu(PduError):
    """A known PDU that the table answers with an A-ABORT in this state."""

    def __init__(self, pdu_type: PduType, state: State) -> None:
        super().__init__(f"{pdu_type.name} is not expected in {state.value}", AbortReason.UNEXPECTED_PDU)
        self.pdu_type = pdu_type


class UpperLayer:
    """One association, seen by its acceptor."""

    __slots__ = (
        "_context_id",
        "_control",
        "_fragment_left",
        "_maximum_length",
        "_partial",
        "_pdu_left",
        "_pdu_type",
        "position",
        "state",
    )

    def __init__(self, maximum_length: int) -> None:
        """`maximum_length` in bytes is what we offer for P-DATA-TF (PS3.8 D.1.1), 0: unlimited."""
        self.state = State.IDLE
        self._maximum_length = maximum_length
        self._partial = bytearray()  # a header, or the body of a PDU that is not P-DATA-TF
        self._pdu_type = 0  # of the PDU whose body is being read, 0: a header is next
        self._pdu_left = 0
        self._fragment_left = -1  # bytes left of the fragment being read, -1: a PDV header is next
        self._context_id = 0
        self._control = 0
        self.position = 0  # in what `receive` is reading, after what was indicated last
        self._apply(Event.CONNECTED)

    @property
    def artim_runs(self) -> bool:
        """Whether the ARTIM timer has to run now (PS3.8 9.1.5)."""
        return self.state in ARTIM_STATES

    @property
    def held_bytes(self) -> int:
        """Bytes kept of a PDU that has not arrived whole."""
        return len(self._partial)

    def receive(self, data: memoryview) -> Iterator[Indication]:
        """Take bytes as they came from the network and yield what they mean.

        An indication is to be answered before the next one is asked for. A `Fragment` is valid only until then:
        its data are a view of `data`. Who asks for no more finds in `position` how many bytes were taken, and calls
        again with the rest.
        """
        self.position = position = 0
        end = len(data)
        while self.state is not _AWAITING_CLOSE and self.state is not _IDLE:
            if self._fragment_left >= 0:
                taken = min(self._fragment_left, end - position)
                if self._fragment_left and not taken:
                    self.position = end
                    return
                chunk = data[position : position + taken]
                self.position = position = position + taken
                yield self._take_fragment(chunk, taken)
                position = self.position
            elif self._takes_data_header(data, position, end):
                position += _DATA_HEADER.size
            else:
                unit, position = self._collect(data, position, end)
                if unit is None:
                    self.position = end
                    return
                self.position = position
                indication = self._take(unit)
                if indication is not None:
                    yield indication

    def unread(self, fragment: Fragment, taken: int) -> Fragment:
        """Take back what lies behind the first `taken` bytes of the last fragment: it will come again.

        Return the fragment of what is left, which is not the last then.
        """
        untaken = len(fragment.data) - taken
        self.position -= untaken
        self._pdu_left += untaken
        self._pdu_type = _P_DATA_TF
        self._fragment_left = max(self._fragment_left, 0) + untaken
        return fragment._replace(is_last=False, data=fragment.data[:taken])

    def accept(self, accept: AssociateAccept) -> bytes:
        """AE-7: answer the request with an A-ASSOCIATE-AC."""
        self._apply(Event.ACCEPT)
        return encode_associate_accept(accept)

    def reject(self, reject: AssociateReject) -> bytes:
        """AE-8: answer the request with an A-ASSOCIATE-RJ."""
        self._apply(Event.REJECT)
        return encode_associate_reject(reject)

    def release(self) -> bytes:
        """AR-4: answer the release with an A-RELEASE-RP."""
        self._apply(Event.RELEASE)
        return encode_release_response()

    def abort(
        self,
        source: AbortSource = AbortSource.SERVICE_USER,
        reason: AbortReason = AbortReason.NOT_SPECIFIED,
    ) -> bytes:
        """AA-1: end the association from this side, in any state in which the connection is open."""
        self._apply(Event.ABORT_REQUEST)
        return self._drop_and_abort(source, reason)

    def connection_closed(self) -> None:
        """Take note that the connection is gone, whoever closed it."""
        self._apply(Event.CONNECTION_CLOSED)
        self._partial.clear()

    def artim_expired(self) -> None:
        """AA-2: the ARTIM timer has expired, and the connection is to be closed."""
        self._apply(Event.ARTIM_EXPIRED)

    def _apply(self, event: Event) -> Action:
        """Change the state as the table says.

        Raises `RuntimeError`: the event cannot happen in this state, which is a mistake of ours.
        """
        transition = TRANSITIONS.get((event, self.state))
        if transition is None:
            raise RuntimeError(f"{event.name} cannot happen in {self.state.name}")
        self.state = transition.next_state
        return transition.action

    def _drop_and_abort(self, source: AbortSource, reason: AbortReason) -> bytes:
        self._partial.clear()
        return encode_abort(source, reason)

    def _needed(self) -> int:
        """Length in bytes of what has to be whole before it means something."""
        if not self._pdu_type:
            return PDU_HEADER.size
        return _PDV_HEADER.size if self._pdu_type == _P_DATA_TF else self._pdu_left

    def _collect(self, data: memoryview, position: int, end: int) -> tuple[bytes | None, int]:
        """Return what is needed once it is whole (or None) and the position after what was taken of `data`."""
        needed = self._needed()
        if not self._partial and end - position >= needed:
            return bytes(data[position : position + needed]), position + needed
        taken = min(needed - len(self._partial), end - position)
        self._partial += data[position : position + taken]
        if len(self._partial) < needed:
            return None, position + taken
        unit = bytes(self._partial)
        self._partial.clear()
        return unit, position + taken

    def _takes_data_header(self, data: memoryview, position: int, end: int) -> bool:
        """The usual case without a detour: a P-DATA-TF PDU of one value, both headers at hand and in order."""
        if self._pdu_type or self._partial or end - position < _DATA_HEADER.size:
            return False
        pdu_type, length, value_length, context_id, control = _DATA_HEADER.unpack_from(data, position)
        if (
            pdu_type != _P_DATA_TF
            or length != value_length + 4
            or value_length < 2
            or (length > self._maximum_length and self._maximum_length)
            or self.state is not _ESTABLISHED
        ):
            return False
        self._pdu_type = _P_DATA_TF
        self._fragment_left = self._pdu_left = value_length - 2
        self._context_id = context_id
        self._control = control
        return True

    def _take_fragment(self, chunk: memoryview, taken: int) -> Fragment:
        control = self._control
        self._pdu_left -= taken
        if taken < self._fragment_left:
            self._fragment_left -= taken
            return Fragment(self._context_id, control & 1 != 0, False, chunk)
        self._fragment_left = -1
        if not self._pdu_left:
            self._pdu_type = 0
        return Fragment(self._context_id, control & 1 != 0, control & 2 != 0, chunk)

    def _take(self, unit: bytes) -> Indication | None:
        try:
            if not self._pdu_type:
                self._take_pdu_header(unit)
            elif self._pdu_type == _P_DATA_TF:
                self._take_pdv_header(unit)
            else:
                return self._take_pdu(unit)
        except PduError as error:
            return self._violation(error)
        return None

    def _take_pdu_header(self, unit: bytes) -> None:
        pdu_type, length = PDU_HEADER.unpack(unit)
        if pdu_type not in _KNOWN:
            message = f"PDU type {pdu_type:#04x} is not known{_FOREIGN.get(pdu_type, '')}"
            raise PduError(message, AbortReason.UNRECOGNIZED_PDU)
        if TRANSITIONS[EVENT_OF_PDU[PduType(pdu_type)], self.state].action in VIOLATIONS:
            raise UnexpectedPdu(PduType(pdu_type), self.state)
        if pdu_type == PduType.P_DATA_TF:
            if self._maximum_length and length > self._maximum_length:
                raise PduError(f"a P-DATA-TF PDU of {length} bytes exceeds the {self._maximum_length} offered")
            if length < _PDV_HEADER.size:
                raise PduError("a P-DATA-TF PDU holds no presentation data value")
        elif length not in _LENGTHS[PduType(pdu_type)]:
            raise PduError(f"{PduType(pdu_type).name} has a length of {length} bytes")
        self._pdu_type = pdu_type
        self._pdu_left = length

    def _take_pdv_header(self, unit: bytes) -> None:
        length, self._context_id, self._control = _PDV_HEADER.unpack(unit)
        if length < 2:
            raise PduError("a presentation data value is shorter than its header")
        self._fragment_left = length - 2
        self._pdu_left -= _PDV_HEADER.size
        rest = self._pdu_left - self._fragment_left
        if rest < 0:
            raise PduError("a presentation data value is longer than its PDU")
        if 0 < rest < _PDV_HEADER.size:
            raise PduError("a P-DATA-TF PDU ends within the header of a presentation data value")

    def _take_pdu(self, unit: bytes) -> Indication:
        pdu_type, self._pdu_type = self._pdu_type, 0
        if pdu_type == PduType.A_ASSOCIATE_RQ:
            request = decode_associate_request(unit)
            self._apply(Event.ASSOCIATE_RQ)
            return AssociateRequested(request)
        if pdu_type == PduType.A_RELEASE_RQ:
            self._apply(Event.RELEASE_RQ)
            return ReleaseRequested()
        self._apply(Event.ABORT)
        return Aborted(unit[2], unit[3])

    def _violation(self, error: PduError) -> Violation:
        """AA-1, AA-8. Both are sent as the service provider's, whose reason is significant (ADR 2)."""
        self._apply(EVENT_OF_PDU[error.pdu_type] if isinstance(error, UnexpectedPdu) else Event.INVALID_PDU)
        answer = self._drop_and_abort(AbortSource.SERVICE_PROVIDER, error.reason)
        return Violation(answer, error.reason, str(error))
