"""DIMSE messages, without I/O: fragments become commands and data sets, responses become bytes (PS3.7 6.3, 9.3)."""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, pack
from typing import Final

from storescp.uids import strip_padding
from storescp.upper_layer import Fragment

MAXIMUM_COMMAND_LENGTH: Final = 16 * 1024
NO_DATA_SET: Final = 0x0101
_HAS_DATA_SET: Final = 0x0001
_ELEMENT: Final = Struct("<HHI")
_US: Final = Struct("<H")
_RESPONSE: Final = 0x8000


class CommandField(IntEnum):
    """Command fields of Storage, Verification and Storage Commitment (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF
    N_EVENT_REPORT_RSP = 0x8100


class Status(IntEnum):
    """Statuses that we answer (PS3.7 Annex C, PS3.4 table B.2-1)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    INVALID_ARGUMENT_VALUE = 0x0115
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class DimseError(ValueError):
    """A message that breaks PS3.7: the association is to be aborted by the service user."""


class Refusal(Exception):
    """A request that is answered with a failure status; `comment` is the Error Comment that says why."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


@dataclass(frozen=True, slots=True)
class Command:
    """A command set; `field` is a `CommandField` or any other request's number.

    The UIDs are the affected or the requested ones. `message_id` is that of the request, also in a response, whose
    status is `status`. `action_type_id` is an N-ACTION's.
    """

    context_id: int
    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str
    action_type_id: int = 0
    status: int = 0


class MessageReader:
    """Puts the fragments of one association together, one message at a time (PS3.7 6.3.1)."""

    __slots__ = ("_command", "_command_bytes", "_contexts")

    def __init__(self, contexts: frozenset[int]) -> None:
        """`contexts`: ids of the accepted presentation contexts."""
        self._contexts = contexts
        self._command_bytes = bytearray()
        self._command: Command | None = None  # whose data set is being received

    def take(self, fragment: Fragment) -> Command | Fragment | None:
        """Return a command that is now whole, or a data set's fragment as it is, or None: more has to come."""
        command = self._command
        if command is not None:
            if fragment.is_command:
                raise DimseError("a command came before the end of the data set")
            if fragment.context_id != command.context_id:
                raise DimseError("a data set changed its presentation context")
            if fragment.is_last:
                self._command = None
            return fragment
        if not fragment.is_command:
            raise DimseError("a data set came without its command")
        if fragment.context_id not in self._contexts:
            raise DimseError(f"presentation context {fragment.context_id} was not accepted")
        self._command_bytes += fragment.data
        if len(self._command_bytes) > MAXIMUM_COMMAND_LENGTH:
            raise DimseError(f"a command set exceeds {MAXIMUM_COMMAND_LENGTH} bytes")
        if not fragment.is_last:
            return None
        command = decode_command(fragment.context_id, bytes(self._command_bytes))
        self._command_bytes.clear()
        if command.has_data_set:
            self._command = command
        return command


def decode_command(context_id: int, data: bytes) -> Command:
    """Decode a request's command set, always Implicit VR Little Endian (PS3.7 6.3.1).

    The group length is not looked at: old devices leave it out or count differently, and the end of the command
    is known from its last fragment. Elements of other groups are skipped.

    Raises DimseError: when the elements do not fill the command set, or one that an answer needs is missing.
    """
    elements = _elements(data)
    field = _number(elements, 0x0100, "Command Field")
    is_response = bool(field & _RESPONSE)
    if is_response and field != CommandField.N_EVENT_REPORT_RSP:
        raise DimseError(f"response {field:#06x} to a request that was never made")
    message_id = 0
    if is_response:
        message_id = _number(elements, 0x0120, "Message ID Being Responded To")
    elif field != CommandField.C_CANCEL_RQ:
        message_id = _number(elements, 0x0110, "Message ID")
    return Command(
        context_id=context_id,
        field=field,
        message_id=message_id,
        has_data_set=_number(elements, 0x0800, "Command Data Set Type") != NO_DATA_SET,
        sop_class_uid=_uid(elements.get(0x0002) or elements.get(0x0003, b"")),
        sop_instance_uid=_uid(elements.get(0x1000) or elements.get(0x1001, b"")),
        action_type_id=int.from_bytes(elements.get(0x1008, b"")[: _US.size], "little"),
        status=_number(elements, 0x0900, "Status") if is_response else 0,
    )


def encode_event_report_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type_id: int
) -> bytes:
    """Encode the command set of an N-EVENT-REPORT request with a data set (PS3.7 10.3.1)."""
    return _with_group_length(
        _encode_uid(0x0002, sop_class_uid),
        _encode_us(0x0100, CommandField.N_EVENT_REPORT_RQ),
        _encode_us(0x0110, message_id),
        _encode_us(0x0800, _HAS_DATA_SET),
        _encode_uid(0x1000, sop_instance_uid),
        _encode_us(0x1002, event_type_id),
    )


def encode_response(command: Command, status: Status, comment: str = "") -> bytes:
    """Encode the response to a request; `comment` is the Error Comment, LO, at most 64 characters."""
    return _with_group_length(
        _encode_uid(0x0002, command.sop_class_uid),
        _encode_us(0x0100, command.field | _RESPONSE),
        _encode_us(0x0120, command.message_id),
        _encode_us(0x0800, NO_DATA_SET),
        _encode_us(0x0900, status),
        _encode(0x0902, comment[:64].encode("ascii", "replace"), b" "),
        _encode_uid(0x1000, command.sop_instance_uid),
    )


def _with_group_length(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return pack("<HHII", 0x0000, 0x0000, 4, len(body)) + body


def _elements(data: bytes) -> dict[int, bytes]:
    elements = {}
    position = 0
    end = len(data)
    while position < end:
        if position + _ELEMENT.size > end:
            raise DimseError("a command set is cut off within an element's header")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if position + length > end:
            raise DimseError("an element is longer than its command set")
        if not group:
            elements[element] = data[position : position + length]
        position += length
    return elements


def _number(elements: dict[int, bytes], element: int, name: str) -> int:
    """A number of two bytes; some devices write four, of which the lower two count."""
    value = elements.get(element, b"")
    if len(value) < _US.size:
        raise DimseError(f"the command set lacks its {name}")
    return int.from_bytes(value[: _US.size], "little")


def _uid(value: bytes) -> str:
    return strip_padding(value.decode("latin-1"))


def _encode(element: int, value: bytes, padding: bytes) -> bytes:
    if not value:
        return b""
    if len(value) % 2:
        value += padding
    return _ELEMENT.pack(0, element, len(value)) + value


def _encode_uid(element: int, uid: str) -> bytes:
    return _encode(element, uid.encode("latin-1"), b"\0")


def _encode_us(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, _US.size) + _US.pack(value)
