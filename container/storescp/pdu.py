"""Protocol data units of the DICOM upper layer, as an acceptor needs them (PS3.8 section 9.3, PS3.7 Annex D).

Decoding is strict about what everything else hangs on (the lengths of PDUs and of their outermost items), and tolerant
of the rest: an odd presentation context is refused alone, an odd item of the user information is left out, titles and
UIDs may be padded with spaces or NULs.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum
from struct import Struct, error, pack
from typing import Final

from storescp.uids import APPLICATION_CONTEXT, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PDU_HEADER: Final = Struct(">BxI")
_ITEM_HEADER: Final = Struct(">BxH")
_ASSOCIATE_HEADER_LENGTH: Final = 68
_CONTEXT_FIXED_BYTES: Final = 4
_MAXIMUM_LENGTH_BYTES: Final = 4
_WINDOW_BYTES: Final = 4
_LONGEST_NAME: Final = 64  # of an implementation, in the log; the standard allows 16 and 64
# Message control header (PS3.8 E.2).
_COMMAND: Final = 1
_LAST: Final = 2


class PduType(IntEnum):
    """PDU types (PS3.8 9.3)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


class AbortSource(IntEnum):
    """Source of an A-ABORT (PS3.8 table 9-26)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Reason of a provider's A-ABORT (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class ContextResult(IntEnum):
    """Result of one presentation context (PS3.8 table 9-18)."""

    ACCEPTANCE = 0
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class PduError(ValueError):
    """A PDU that breaks PS3.8; `reason` is what the A-ABORT has to say."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PDU_PARAMETER_VALUE) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2).

    `is_valid` is false for one whose id is even or proposed twice with another content, or whose items do not add
    up: it is refused, and the others are not.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    is_valid: bool = True


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """One presentation context of an A-ASSOCIATE-AC (PS3.8 9.3.3.2)."""

    context_id: int
    result: ContextResult
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU role selection of one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2).

    `fixed_fields` are the 64 bytes of titles and reserved bytes that an answer repeats unchanged.
    `maximum_length` is in bytes, 0: unlimited. `operations_window` is (invoked, performed), 0: unlimited, or
    None if it was not proposed.
    """

    protocol_version: int
    fixed_fields: bytes
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    operations_window: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3); fields as in `AssociateRequest`."""

    fixed_fields: bytes
    contexts: tuple[AnsweredContext, ...]
    maximum_length: int
    operations_window: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4): result, source and reason as table 9-21 numbers them."""

    result: int
    source: int
    reason: int


@dataclass(slots=True)
class _UserInformation:
    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    operations_window: tuple[int, int] | None = None
    roles: list[RoleSelection] = field(default_factory=list)


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Decode what follows the six bytes of header of an A-ASSOCIATE-RQ; raises `PduError`."""
    if len(body) < _ASSOCIATE_HEADER_LENGTH:
        raise PduError("A-ASSOCIATE-RQ is shorter than its fixed fields")
    application_context = ""
    contexts: dict[int, ProposedContext] = {}
    user = _UserInformation()
    for item_type, value in read_items(body[_ASSOCIATE_HEADER_LENGTH:], "A-ASSOCIATE-RQ"):
        if item_type == 0x10:
            application_context = _uid(value)
        elif item_type == 0x20:
            for context in _proposed_context(value):
                is_repeated = contexts.setdefault(context.context_id, context) != context
                contexts[context.context_id] = replace(context, is_valid=False) if is_repeated else context
        elif item_type == 0x50:
            user = _user_information(value)
    return AssociateRequest(
        protocol_version=int.from_bytes(body[0:2], "big"),
        fixed_fields=body[4:_ASSOCIATE_HEADER_LENGTH],
        called_ae_title=_title(body[4:20]),
        calling_ae_title=_title(body[20:36]),
        application_context=application_context,
        contexts=tuple(contexts.values()),
        maximum_length=user.maximum_length,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version_name=user.implementation_version_name,
        operations_window=user.operations_window,
        roles=tuple(user.roles),
    )


def encode_associate_accept(accept: AssociateAccept) -> bytes:
    """Encode an A-ASSOCIATE-AC; UIDs in it are of at most 64 characters, so that no length can overflow."""
    items = [encode_item(0x10, APPLICATION_CONTEXT.encode())]
    for context in accept.contexts:
        syntax = encode_item(0x40, context.transfer_syntax.encode("latin-1"))
        items.append(encode_item(0x21, pack("BxBx", context.context_id, context.result) + syntax))
    items.append(encode_item(0x50, _encode_user_information(accept)))
    return encode_pdu(PduType.A_ASSOCIATE_AC, pack(">H2x", 1) + accept.fixed_fields + b"".join(items))


def encode_associate_reject(reject: AssociateReject) -> bytes:
    """Encode an A-ASSOCIATE-RJ."""
    return encode_pdu(PduType.A_ASSOCIATE_RJ, pack("xBBB", reject.result, reject.source, reject.reason))


def encode_release_response() -> bytes:
    """Encode an A-RELEASE-RP."""
    return encode_pdu(PduType.A_RELEASE_RP, bytes(4))


def encode_abort(source: AbortSource, reason: AbortReason) -> bytes:
    """Encode an A-ABORT; the reason of a service user is not significant and sent as 0 (PS3.8 9.3.8)."""
    return encode_pdu(PduType.A_ABORT, pack("xxBB", source, reason if source == AbortSource.SERVICE_PROVIDER else 0))


def encode_command_pdus(context_id: int, command: bytes, maximum_length: int) -> bytes:
    """Encode a command set as P-DATA-TF PDUs of at most `maximum_length` bytes each (0: unlimited)."""
    return _encode_data_pdus(context_id, command, maximum_length, _COMMAND)


def encode_data_set_pdus(context_id: int, data_set: bytes, maximum_length: int) -> bytes:
    """Encode a data set as P-DATA-TF PDUs of at most `maximum_length` bytes each (0: unlimited)."""
    return _encode_data_pdus(context_id, data_set, maximum_length, 0)


def _encode_data_pdus(context_id: int, data: bytes, maximum_length: int, kind: int) -> bytes:
    size = max(maximum_length - 6, 2) if maximum_length else max(len(data), 1)
    pdus = []
    for start in range(0, len(data), size):
        fragment = data[start : start + size]
        control = kind | (_LAST if start + size >= len(data) else 0)
        header = pack(">BxIIBB", PduType.P_DATA_TF, len(fragment) + 6, len(fragment) + 2, context_id, control)
        pdus.append(header + fragment)
    return b"".join(pdus)


def _encode_user_information(accept: AssociateAccept) -> bytes:
    items = [
        encode_item(0x51, pack(">I", accept.maximum_length)),
        encode_item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
    ]
    if accept.operations_window is not None:
        items.append(encode_item(0x53, pack(">HH", *accept.operations_window)))
    for role in accept.roles:
        uid = role.sop_class_uid.encode("latin-1")
        items.append(encode_item(0x54, pack(">H", len(uid)) + uid + bytes((role.scu, role.scp))))
    items.append(encode_item(0x55, IMPLEMENTATION_VERSION_NAME.encode()))
    return b"".join(items)


def _user_information(value: bytes) -> _UserInformation:
    """Read the user information; identity and extended negotiation ask nothing of a Storage SCP (PS3.7 D.3.3.5-7).

    An acceptor that does not support user identity negotiation accepts without the positive response, and one
    that does not support an extended negotiation leaves its item out. An item of another length than the standard's
    is left out as well: it asks for nothing that could not be done without.
    """
    user = _UserInformation()
    with suppress(PduError):  # items that do not add up: what came before them holds
        for item_type, item in read_items(value, "user information"):
            if item_type == 0x51 and len(item) == _MAXIMUM_LENGTH_BYTES:
                user.maximum_length = int.from_bytes(item, "big")
            elif item_type == 0x52:
                user.implementation_class_uid = _text(item[:_LONGEST_NAME])
            elif item_type == 0x53 and len(item) == _WINDOW_BYTES:
                user.operations_window = (int.from_bytes(item[:2], "big"), int.from_bytes(item[2:], "big"))
            elif item_type == 0x54:
                user.roles.extend(_role_selection(item))
            elif item_type == 0x55:
                user.implementation_version_name = _text(item[:_LONGEST_NAME])
    return user


def _role_selection(item: bytes) -> Iterator[RoleSelection]:
    length = int.from_bytes(item[:2], "big")
    if len(item) == 2 + length + 2:
        yield RoleSelection(_uid(item[2 : 2 + length]), bool(item[-2]), bool(item[-1]))


def _proposed_context(value: bytes) -> Iterator[ProposedContext]:
    """The context that an item proposes; none if the item is too short to name one."""
    if not value:
        return
    abstract_syntax = ""
    transfer_syntaxes = []
    is_valid = value[0] % 2 == 1 and len(value) >= _CONTEXT_FIXED_BYTES
    try:
        for item_type, item in read_items(value[_CONTEXT_FIXED_BYTES:], "presentation context"):
            if item_type == 0x30:
                abstract_syntax = _uid(item)
            elif item_type == 0x40:
                transfer_syntaxes.append(_uid(item))
    except PduError:
        is_valid = False
    yield ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes), is_valid)


def read_items(data: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item. Raises PduError: the lengths of what is called `where` do not add up."""
    position = 0
    while position < len(data):
        try:
            item_type, length = _ITEM_HEADER.unpack_from(data, position)
        except error:
            raise PduError(f"an item header of the {where} is cut off") from None
        position += _ITEM_HEADER.size
        if position + length > len(data):
            raise PduError(f"an item of the {where} is longer than what holds it")
        yield item_type, data[position : position + length]
        position += length


def encode_item(item_type: int, value: bytes) -> bytes:
    """Encode an item or a sub-item."""
    return _ITEM_HEADER.pack(item_type, len(value)) + value


def encode_pdu(pdu_type: PduType, body: bytes) -> bytes:
    """Encode a PDU."""
    return PDU_HEADER.pack(pdu_type, len(body)) + body


def _uid(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def _title(value: bytes) -> str:
    return _text(value.replace(b"\0", b" "))


def _text(value: bytes) -> str:
    """Printable text of what a stranger sent, for comparison and for the log."""
    return "".join(c if " " <= c <= "~" else "?" for c in value.decode("latin-1")).strip()
