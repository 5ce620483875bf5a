"""Find the four UIDs that name an instance, and read no further (PS3.5 sections 7 and 10, Annex A).

A data set's elements come in ascending order, so everything needed lies before the end of group 0020. Values
other than the four are skipped, sequences of undefined length by their delimiters.
"""

import zlib
from dataclasses import dataclass
from struct import Struct, error
from typing import Final

from storescp.uids import (
    DEFLATED_TRANSFER_SYNTAXES,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

_WANTED: Final = {
    (0x0008, 0x0016): "sop_class_uid",
    (0x0008, 0x0018): "sop_instance_uid",
    (0x0020, 0x000D): "study_instance_uid",
    (0x0020, 0x000E): "series_instance_uid",
}
_LAST_GROUP: Final = 0x0020
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = (0xFFFE, 0xE000)
_END_OF_ITEM: Final = (0xFFFE, 0xE00D)
_END_OF_SEQUENCE: Final = (0xFFFE, 0xE0DD)
# PS3.5 table 7.1-2: a 16 bit length follows these, two reserved bytes and a 32 bit length all others.
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_INFLATED_STEP: Final = 64 * 1024
_INFLATED_LIMIT: Final = 8 * 1024 * 1024


class UnreadableDataSet(ValueError):
    """The bytes are no data set in the transfer syntax that was negotiated."""


class IncompleteDataSet(UnreadableDataSet):
    """The bytes end before the identifiers do."""


@dataclass(slots=True)
class Identifiers:
    """What a data set says of itself; an empty string where it says nothing."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class _Encoding:
    element: Struct  # group, element, and the four bytes after them as VR and 16 bit length
    long: Struct
    is_explicit: bool


_EXPLICIT_LITTLE: Final = _Encoding(Struct("<HH2sH"), Struct("<I"), True)
_EXPLICIT_BIG: Final = _Encoding(Struct(">HH2sH"), Struct(">I"), True)
_IMPLICIT: Final = _Encoding(Struct("<HH2sH"), Struct("<I"), False)


def read_identifiers(data: bytes | bytearray | memoryview, transfer_syntax: str) -> Identifiers:
    """Read the identifiers of an encoded data set, or of its beginning.

    Raises `IncompleteDataSet` if the bytes end before group 0020 does and something is still missing, unless
    they end exactly between two elements; and `UnreadableDataSet` if they cannot be read at all.
    """
    if transfer_syntax in DEFLATED_TRANSFER_SYNTAXES:
        return _read_deflated(data)
    if transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN:
        return _read(data, _IMPLICIT)
    return _read(data, _EXPLICIT_BIG if transfer_syntax == EXPLICIT_VR_BIG_ENDIAN else _EXPLICIT_LITTLE)


def _read_deflated(data: bytes | bytearray | memoryview) -> Identifiers:
    """Inflate a little at a time until the identifiers are there (PS3.5 A.5: no zlib header)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    rest: bytes | bytearray | memoryview = data
    while len(inflated) < _INFLATED_LIMIT:
        try:
            piece = inflater.decompress(rest, _INFLATED_STEP)
        except zlib.error:
            raise UnreadableDataSet("the data set is not deflated") from None
        inflated += piece
        rest = inflater.unconsumed_tail
        try:
            return _read(inflated, _EXPLICIT_LITTLE)
        except IncompleteDataSet:
            if not piece and not rest:
                raise
    raise UnreadableDataSet(f"no identifiers in the first {_INFLATED_LIMIT} bytes inflated")


def _read(data: bytes | bytearray | memoryview, encoding: _Encoding) -> Identifiers:
    found = Identifiers()
    missing = len(_WANTED)
    position = 0
    end = len(data)
    while position < end:
        group, element, vr, value, length = _header(data, position, encoding)
        if group > _LAST_GROUP:
            return found
        if length == _UNDEFINED:
            position = _skip_sequence(data, value, _IMPLICIT if vr == b"UN" else encoding)
            continue
        position = value + length
        name = _WANTED.get((group, element))
        if name is not None:
            if position > end:
                raise IncompleteDataSet("the data set ends within one of its identifiers")
            setattr(found, name, bytes(data[value:position]).decode("latin-1").strip("\0 "))
            missing -= 1
            if not missing:
                return found
    if position > end:
        raise IncompleteDataSet("the data set ends within an element")
    return found


def _header(
    data: bytes | bytearray | memoryview, position: int, encoding: _Encoding
) -> tuple[int, int, bytes, int, int]:
    """Return group, element, VR (empty if implicit), position of the value and its length."""
    try:
        group, element, vr, length = encoding.element.unpack_from(data, position)
        if not encoding.is_explicit or group == 0xFFFE:
            return group, element, b"", position + 8, encoding.long.unpack_from(data, position + 4)[0]
        if vr in _SHORT_VRS:
            return group, element, vr, position + 8, length
        if not (vr.isalpha() and vr.isupper()):
            raise UnreadableDataSet(f"element ({group:04x},{element:04x}) has no value representation")
        return group, element, vr, position + 12, encoding.long.unpack_from(data, position + 8)[0]
    except error:
        raise IncompleteDataSet("the data set ends within the header of an element") from None


def _skip_sequence(data: bytes | bytearray | memoryview, position: int, encoding: _Encoding) -> int:
    """Return the position after a sequence of undefined length whose first item is at `position`.

    What is open is kept in a list rather than on the call stack, because a stranger chooses the depth. An
    element of VR UN and undefined length holds Implicit VR Little Endian, whatever surrounds it (PS3.5 6.2.2).
    """
    open_units = [(_END_OF_SEQUENCE, encoding)]
    while open_units:
        delimiter, encoding = open_units[-1]
        group, element, vr, value, length = _header(data, position, encoding)
        tag = (group, element)
        position = value
        if tag == delimiter:
            open_units.pop()
        elif delimiter == _END_OF_SEQUENCE and tag != _ITEM:
            raise UnreadableDataSet(f"({group:04x},{element:04x}) is not an item of a sequence")
        elif length != _UNDEFINED:
            position += length
        elif tag == _ITEM:
            open_units.append((_END_OF_ITEM, encoding))
        else:
            open_units.append((_END_OF_SEQUENCE, _IMPLICIT if vr == b"UN" else encoding))
    return position
