"""The header of a data element in any encoding, also where a device writes it in another way than it said (PS3.5 7.1).

A header that obeys its encoding is read as it stands. An odd one (an unknown or blank value representation, a long
one with a 16 bit length, an explicit element among implicit ones and the reverse) has several readings; the first is
taken after which the next header makes sense.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from storescp.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
END_OF_ITEM: Final = 0xFFFEE00D
END_OF_SEQUENCE: Final = 0xFFFEE0DD
LONGEST_HEADER_BYTES: Final = 12
_FIRST_TAG: Final = 0x0001_0000  # group 0000 is that of commands
DELIMITATION_GROUP: Final = 0xFFFE
# PS3.5 table 7.1-2: a 16 bit length follows these, two reserved bytes and a 32 bit length the others.
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS: Final = _SHORT_VRS | _LONG_VRS

Data = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: `element` reads group, element, and four bytes as VR and 16 bit length."""

    element: Struct
    length: Struct
    is_explicit: bool


EXPLICIT_LITTLE: Final = Encoding(Struct("<HH2sH"), Struct("<I"), True)
EXPLICIT_BIG: Final = Encoding(Struct(">HH2sH"), Struct(">I"), True)
IMPLICIT_LITTLE: Final = Encoding(Struct("<HH2sH"), Struct("<I"), False)
IMPLICIT_BIG: Final = Encoding(Struct(">HH2sH"), Struct(">I"), False)
ENCODINGS: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_BIG)
_BY_TRANSFER_SYNTAX: Final = {
    IMPLICIT_VR_LITTLE_ENDIAN: IMPLICIT_LITTLE,
    EXPLICIT_VR_LITTLE_ENDIAN: EXPLICIT_LITTLE,
    EXPLICIT_VR_BIG_ENDIAN: EXPLICIT_BIG,
    GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN: IMPLICIT_BIG,
}


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """The encoding that a transfer syntax names; of one that is not known, Explicit VR Little Endian (PS3.5 A.4)."""
    return _BY_TRANSFER_SYNTAX.get(transfer_syntax_uid, EXPLICIT_LITTLE)


# Tag as group * 65536 + element, where the value begins, its length in bytes, and the encoding of the elements in it
# if it is a sequence. A plain tuple, because one is made for every element of every image.
Header = tuple[int, int, int, Encoding]


def read_header(data: Data, position: int, encoding: Encoding) -> Header | None:
    """Read the header at `position` (bytes), of which at least 12 bytes or all that there is are at hand.

    Returns None if nothing there makes sense as one.
    """
    end = len(data)
    if position + 8 > end:
        return None
    group, element, vr, short_length = encoding.element.unpack_from(data, position)
    tag = group << 16 | element
    is_explicit = encoding.is_explicit and group != DELIMITATION_GROUP
    if not is_explicit and (vr not in _VRS or group == DELIMITATION_GROUP):
        return (tag, position + 8, encoding.length.unpack_from(data, position + 4)[0], encoding)
    if is_explicit and vr in _SHORT_VRS:
        return (tag, position + 8, short_length, encoding)
    if is_explicit and vr in _LONG_VRS and not short_length and position + 12 <= end:
        length = encoding.length.unpack_from(data, position + 8)[0]
        # What is of VR UN and of undefined length holds Implicit VR Little Endian, whatever surrounds it (PS3.5 6.2.2).
        inner = IMPLICIT_LITTLE if vr == b"UN" and length == UNDEFINED_LENGTH else encoding
        return (tag, position + 12, length, inner)
    readings = _readings(data, position, encoding, vr)
    return next((reading for reading in readings if _is_plausible(data, tag, reading)), None)


def _readings(data: Data, position: int, encoding: Encoding, vr: bytes) -> Iterator[Header]:
    """What an odd header may mean, the likeliest first."""
    group, element, _, short_length = encoding.element.unpack_from(data, position)
    tag = group << 16 | element
    explicit = EXPLICIT_BIG if encoding.element.format.startswith(">") else EXPLICIT_LITTLE
    implicit = IMPLICIT_BIG if encoding.element.format.startswith(">") else IMPLICIT_LITTLE
    as_implicit = (tag, position + 8, encoding.length.unpack_from(data, position + 4)[0], implicit)
    as_short = (tag, position + 8, short_length, explicit)
    is_vr = vr.isalpha() and vr.isupper()
    if not is_vr or not encoding.is_explicit:
        yield as_implicit
    if is_vr and vr not in _SHORT_VRS and position + 12 <= len(data):
        length = encoding.length.unpack_from(data, position + 8)[0]
        inner = IMPLICIT_LITTLE if vr == b"UN" and length == UNDEFINED_LENGTH else explicit
        yield (tag, position + 12, length, inner)
    yield as_short
    yield as_implicit


def _is_plausible(data: Data, tag: int, reading: Header) -> bool:
    """Whether what follows a value in this reading can be the next header: a greater tag, a VR or a fitting length."""
    end = len(data)
    _, value, length, encoding = reading
    if length == UNDEFINED_LENGTH:
        return _tag_at(data, value, encoding) in (ITEM, END_OF_SEQUENCE)
    following = value + length
    if following == end:
        return True
    if following + 8 > end:
        return False
    next_tag = _tag_at(data, following, encoding)
    if next_tag in (END_OF_ITEM, END_OF_SEQUENCE, ITEM):
        return True
    if next_tag is None or next_tag <= tag:
        return False
    if bytes(data[following + 4 : following + 6]) in _VRS:
        return True
    next_length = encoding.length.unpack_from(data, following + 4)[0]
    return bool(next_length == UNDEFINED_LENGTH or following + 8 + next_length <= end)


def _tag_at(data: Data, position: int, encoding: Encoding) -> int | None:
    if position + 8 > len(data):
        return None
    group, element, _, _ = encoding.element.unpack_from(data, position)
    return int(group << 16 | element)


def begins_data_set(data: Data, encoding: Encoding, is_whole: bool) -> bool:
    """Whether the bytes can be the beginning of a data set in this encoding.

    `is_whole`: whether they are all of it, so that a value which ends beyond them is none.
    """
    header = read_header(data, 0, encoding)
    if header is None:
        return False
    tag, value, length, inner = header
    if not _FIRST_TAG <= tag < ITEM:
        return False
    if length == UNDEFINED_LENGTH:
        return _tag_at(data, value, inner) in (ITEM, END_OF_SEQUENCE)
    return not is_whole or value + length <= len(data)
