"""Find the four UIDs that name an instance, and read no further (PS3.5 sections 7 and 10, Annex A).

What is read here names an object and is held against its command. It never decides alone over an image: where the
data set cannot be walked any further, what was found until then is the answer.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from storescp.elements import (
    DELIMITATION_GROUP,
    ENCODINGS,
    END_OF_ITEM,
    END_OF_SEQUENCE,
    EXPLICIT_LITTLE,
    ITEM,
    LONGEST_HEADER_BYTES,
    UNDEFINED_LENGTH,
    Data,
    Encoding,
    Header,
    begins_data_set,
    encoding_of,
    read_header,
)
from storescp.uids import DEFLATED_TRANSFER_SYNTAXES, strip_padding

_SOP_CLASS_UID: Final = 0x0008_0016
_SOP_INSTANCE_UID: Final = 0x0008_0018
_STUDY_INSTANCE_UID: Final = 0x0020_000D
_SERIES_INSTANCE_UID: Final = 0x0020_000E
_TRANSFER_SYNTAX_UID: Final = 0x0002_0010
_NAMES: Final = {
    _SOP_CLASS_UID: "sop_class_uid",
    _SOP_INSTANCE_UID: "sop_instance_uid",
    _STUDY_INSTANCE_UID: "study_instance_uid",
    _SERIES_INSTANCE_UID: "series_instance_uid",
}
_FILE_META_GROUP: Final = 0x0002
_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"

# What a stranger can make us do for one data set. An image names itself within its first few hundred elements; ten
# thousand headers are some 15 ms, four MiB of inflating some 20 ms.
MAXIMUM_ELEMENTS: Final = 10_000
MAXIMUM_INFLATED_BYTES: Final = 4 * 1024 * 1024
_MAXIMUM_VALUE_BYTES: Final = 1024
_DEFLATED_STEP: Final = 16 * 1024
_INFLATED_STEP: Final = 4 * 1024  # small: damage costs the step that it is in


@dataclass(slots=True)
class Identifiers:
    """What a data set says of itself, without padding; an empty string where it says nothing or cannot be read.

    `elements_inspected` and `bytes_inflated` tell what it took to find out.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    elements_inspected: int = 0
    bytes_inflated: int = 0


def read_identifiers(data: Data, transfer_syntax_uid: str, is_whole: bool = True) -> Identifiers | None:
    """Read the identifiers of an encoded data set, or of its beginning if it is not `is_whole`.

    Returns None if the bytes are no data set at all: in no encoding do they begin with an element.
    """
    if transfer_syntax_uid in DEFLATED_TRANSFER_SYNTAXES:
        found = _read_deflated(data)
        if found is not None:
            return found
    view = memoryview(data)
    encoding = encoding_of(transfer_syntax_uid)
    if (
        bytes(view[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)]) == _PREFIX
    ):  # a whole file in the place of a data set
        view = view[_PREAMBLE_BYTES + len(_PREFIX) :]
        encoding = EXPLICIT_LITTLE
    for candidate in (encoding, *ENCODINGS):
        if begins_data_set(view, candidate, is_whole):
            scanner = _Scanner(candidate)
            scanner.scan(view, 0)
            return scanner.found
    return None


def _read_deflated(data: Data) -> Identifiers | None:
    """Inflate and scan a little at a time, each byte once; None if it is not deflated (PS3.5 A.5, RFC 1951)."""
    scanner = _Scanner(EXPLICIT_LITTLE)
    held = b""  # a header or an identifier that was cut; what is skipped is not kept
    position = 0
    is_begun = False
    try:
        for piece in _inflate(data):
            scanner.found.bytes_inflated += len(piece)
            held += piece
            if not is_begun:
                if len(held) < LONGEST_HEADER_BYTES:
                    continue
                if not begins_data_set(held, EXPLICIT_LITTLE, False):
                    return None
                is_begun = True
            position = scanner.scan(held, position)
            if scanner.is_done:
                break
            held, position = held[position:], max(position - len(held), 0)
    except zlib.error:
        pass  # damaged further on, or never deflated: what was read until then is what there is
    return scanner.found if is_begun else None


def _inflate(data: Data) -> Iterator[bytes]:
    """Pieces of the inflated data set, up to a limit; some devices write zlib's header (RFC 1950) before it.

    Raises zlib.error: when what comes next is not deflated.
    """
    has_header = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
    inflater = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
    inflated = 0
    for start in range(0, len(data), _DEFLATED_STEP):  # small steps: what is not consumed of one is copied
        rest: Data = data[start : start + _DEFLATED_STEP]
        while rest and not inflater.eof and inflated < MAXIMUM_INFLATED_BYTES:
            piece = inflater.decompress(rest, _INFLATED_STEP)
            rest = inflater.unconsumed_tail
            inflated += len(piece)
            if piece:
                yield piece


class _Scanner:
    """Walks over elements and notes the identifiers; it can go on when more of the data set is at hand."""

    __slots__ = ("_data_set_encoding", "_encoding", "_missing", "_open", "found", "is_done")

    def __init__(self, encoding: Encoding) -> None:
        self.found = Identifiers()
        self.is_done = False
        self._encoding = encoding
        self._data_set_encoding: Encoding | None = None  # after File Meta Information in the place of a data set
        self._missing = len(_NAMES)
        # Sequences and items of undefined length that are open: their delimiter, and the encoding of what is in
        # them. A list rather than the call stack, because a stranger chooses the depth.
        self._open: list[tuple[int, Encoding]] = []

    def scan(self, data: Data, position: int) -> int:
        """Walk on from `position`, and return where to go on; that may lie beyond `data`.

        `is_done` is true when all identifiers were found or nothing more can be read. Less than a header's bytes
        at the end of the data set hold no identifier.
        """
        last = len(data) - LONGEST_HEADER_BYTES
        while position <= last and not self.is_done:
            if self._data_set_encoding is not None and not self._open:
                self._leave_file_meta_information(data, position)
            header = read_header(data, position, self._open[-1][1] if self._open else self._encoding)
            following = None if header is None else self._step(data, header)
            if following is None:
                self.is_done = True
            elif following < 0:  # an identifier is cut
                break
            else:
                position = following
            self.found.elements_inspected += 1
            if self.found.elements_inspected >= MAXIMUM_ELEMENTS:
                self.is_done = True
        return position

    def _step(self, data: Data, header: Header) -> int | None:
        """Return the position after what a header leads over; -1 if more is needed, None if nothing makes sense."""
        tag, value, length, encoding = header
        if self._open:
            return self._step_inside(header)
        if tag >> 16 == DELIMITATION_GROUP:  # an item or a delimiter that belongs to nothing
            return value
        if length == UNDEFINED_LENGTH:
            self._open.append((END_OF_SEQUENCE, encoding))
            return value
        following = value + length
        if (tag in _NAMES or tag == _TRANSFER_SYNTAX_UID) and length <= _MAXIMUM_VALUE_BYTES:
            if following > len(data):
                return -1
            self._note(tag, strip_padding(bytes(data[value:following]).decode("latin-1")))
        return following

    def _step_inside(self, header: Header) -> int | None:
        """Return the position after a header within a sequence or item of undefined length; None: it makes no sense."""
        tag, value, length, encoding = header
        delimiter = self._open[-1][0]
        if tag == delimiter:
            self._open.pop()
            return value
        if delimiter == END_OF_SEQUENCE and tag != ITEM:
            return value if tag == END_OF_ITEM else None
        if length != UNDEFINED_LENGTH:
            return value + length
        self._open.append((END_OF_ITEM if tag == ITEM else END_OF_SEQUENCE, encoding))
        return value

    def _note(self, tag: int, uid: str) -> None:
        """Of an element that is there twice, the first counts."""
        if tag == _TRANSFER_SYNTAX_UID:
            self._data_set_encoding = encoding_of(uid)
        elif uid and not getattr(self.found, _NAMES[tag]):
            setattr(self.found, _NAMES[tag], uid)
            self._missing -= 1
            self.is_done = not self._missing

    def _leave_file_meta_information(self, data: Data, position: int) -> None:
        """File Meta Information is Explicit VR Little Endian, what follows is as it says (PS3.10 section 7.1)."""
        if int.from_bytes(data[position : position + 2], "little") != _FILE_META_GROUP and self._data_set_encoding:
            self._encoding, self._data_set_encoding = self._data_set_encoding, None
