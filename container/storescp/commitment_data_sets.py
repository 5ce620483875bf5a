"""The data sets of storage commitment: the N-ACTION's is read, the N-EVENT-REPORT's is written (PS3.4 J.3)."""

from collections.abc import Iterator
from struct import pack
from typing import Final

from storescp.commitment import CommitmentResult
from storescp.elements import (
    END_OF_ITEM,
    END_OF_SEQUENCE,
    IMPLICIT_LITTLE,
    ITEM,
    UNDEFINED_LENGTH,
    Data,
    Encoding,
    encoding_of,
    read_header,
)
from storescp.uids import strip_padding

_TRANSACTION_UID: Final = 0x0008_1195
_REFERENCED_SOP_SEQUENCE: Final = 0x0008_1199
_FAILED_SOP_SEQUENCE: Final = 0x0008_1198
_FAILURE_REASON: Final = 0x0008_1197
_REFERENCED_SOP_CLASS_UID: Final = 0x0008_1150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x0008_1155
_MAXIMUM_DEPTH: Final = 8  # of sequences that nobody asked for
_DELIMITER_BYTES: Final = 8
EVENT_ALL_COMMITTED: Final = 1  # PS3.4 table J.3-2
EVENT_FAILURES_EXIST: Final = 2


class UnreadableActionError(ValueError):
    """The data set of an N-ACTION lacks what PS3.4 table J.3-1 asks for; the message names what, never a value."""


def read_action(data: Data, transfer_syntax_uid: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the Transaction UID and the (SOP Class UID, SOP Instance UID) of an N-ACTION's data set, each once.

    Raises UnreadableActionError: something is missing, or it is no data set.
    """
    transaction_uid = ""
    instances: dict[tuple[str, str], None] = {}
    for tag, start, end, encoding in _elements(data, 0, len(data), encoding_of(transfer_syntax_uid)):
        if tag == _TRANSACTION_UID:
            transaction_uid = _uid(data, start, end)
        elif tag == _REFERENCED_SOP_SEQUENCE:
            for _, item_start, item_end, item_encoding in _elements(data, start, end, encoding):
                uids = {
                    inner: _uid(data, first, last)
                    for inner, first, last, _ in _elements(data, item_start, item_end, item_encoding)
                }
                pair = uids.get(_REFERENCED_SOP_CLASS_UID, ""), uids.get(_REFERENCED_SOP_INSTANCE_UID, "")
                if not all(pair):
                    raise UnreadableActionError("An item of Referenced SOP Sequence lacks a UID")
                instances[pair] = None
    if not transaction_uid:
        raise UnreadableActionError("Transaction UID is missing")
    if not instances:
        raise UnreadableActionError("Referenced SOP Sequence is missing or empty")
    return transaction_uid, tuple(instances)


def write_report(result: CommitmentResult, transfer_syntax_uid: str) -> tuple[int, bytes]:
    """Return the Event Type ID and the data set of an N-EVENT-REPORT, in Implicit or Explicit VR Little Endian."""
    write = _write_implicit if encoding_of(transfer_syntax_uid) is IMPLICIT_LITTLE else _write_explicit
    elements = [write(_TRANSACTION_UID, b"UI", _padded(result.transaction_uid))]
    if result.failed:
        items = [
            write(_REFERENCED_SOP_CLASS_UID, b"UI", _padded(sop_class))
            + write(_REFERENCED_SOP_INSTANCE_UID, b"UI", _padded(sop_instance_uid))
            + write(_FAILURE_REASON, b"US", pack("<H", reason))
            for sop_class, sop_instance_uid, reason in sorted(result.failed)
        ]
        elements.append(write(_FAILED_SOP_SEQUENCE, b"SQ", _items(items)))
    if result.committed:
        items = [
            write(_REFERENCED_SOP_CLASS_UID, b"UI", _padded(sop_class))
            + write(_REFERENCED_SOP_INSTANCE_UID, b"UI", _padded(sop_instance_uid))
            for sop_class, sop_instance_uid in sorted(result.committed)
        ]
        elements.append(write(_REFERENCED_SOP_SEQUENCE, b"SQ", _items(items)))
    return EVENT_FAILURES_EXIST if result.failed else EVENT_ALL_COMMITTED, b"".join(elements)


def _elements(
    data: Data, position: int, end: int, encoding: Encoding, depth: int = 0
) -> Iterator[tuple[int, int, int, Encoding]]:
    """Yield tag, begin and end of the value, and the encoding of what is in it, up to `end` or a delimiter."""
    for tag, start, stop, inner, _ in _walk(data, position, end, encoding, depth):
        yield tag, start, stop, inner


def _walk(
    data: Data, position: int, end: int, encoding: Encoding, depth: int
) -> Iterator[tuple[int, int, int, Encoding, int]]:
    """Yield tag, begin, end, encoding, and the position after the element and its delimiter, up to `end`."""
    while position < end:
        header = read_header(data, position, encoding)
        if header is None:
            raise UnreadableActionError("The data set cannot be read")
        tag, value, length, inner = header
        if tag in (END_OF_ITEM, END_OF_SEQUENCE):
            return
        if length == UNDEFINED_LENGTH:
            stop = _end_of_unit(data, value, end, inner, depth + 1)
            position = stop + _DELIMITER_BYTES
        else:
            stop = position = value + length
        if position > end:
            raise UnreadableActionError("The data set ends within an element")
        yield tag, value, stop, inner, position


def _end_of_unit(data: Data, position: int, end: int, encoding: Encoding, depth: int) -> int:
    """Where the delimiter of a sequence or an item of undefined length is."""
    if depth > _MAXIMUM_DEPTH:
        raise UnreadableActionError("The data set is nested too deeply")
    for *_, following in _walk(data, position, end, encoding, depth):
        position = following
    return position


def _uid(data: Data, start: int, end: int) -> str:
    return strip_padding(bytes(data[start:end]).decode("latin-1"))


def _padded(uid: str) -> bytes:
    value = uid.encode("latin-1")
    return value + bytes(len(value) % 2)


def _items(contents: list[bytes]) -> bytes:
    return b"".join(pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content for content in contents)


def _write_implicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _write_explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr == b"SQ":
        return pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
