"""Whether a data set is all there: its elements walked by their lengths alone (PS3.5, 7.1 to 7.5 and A.4).

pydicom reads a file that ends too early as far as it goes and says nothing, which is not what an archive may do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
DEEPEST = 100  # sequences within sequences; a bound for hostile files, not the standard's


class Incomplete(Exception):
    """The data end before an element that announced its length does."""


class _Walker:
    def __init__(self, data: bytes | memoryview, explicit: bool, little_endian: bool) -> None:
        self.data = data
        self.explicit = explicit
        self.order = "<" if little_endian else ">"

    def unpack(self, form: str, position: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + form, self.data, position)
        except struct.error as error:
            raise Incomplete(f"the header of an element is cut off at byte {position}") from error

    def header(self, position: int) -> tuple[tuple[int, int], bytes, int, int]:
        """Tag, VR (empty in implicit VR), length and the position of the value."""
        group, element = self.unpack("HH", position)
        if group == 0xFFFE or not self.explicit:
            return (group, element), b"", self.unpack("L", position + 4)[0], position + 8
        vr = bytes(self.data[position + 4 : position + 6])
        if vr in LONG_VRS:
            return (group, element), vr, self.unpack("L", position + 8)[0], position + 12
        return (group, element), vr, self.unpack("H", position + 6)[0], position + 8

    def element_end(self, position: int, depth: int) -> int:
        """The position after the element at `position`."""
        tag, vr, length, start = self.header(position)
        if length != UNDEFINED:
            return self.within(tag, start + length)
        # UN of undefined length is a sequence in implicit VR little endian (PS3.5, 6.2.2, note 2).
        inner = _Walker(self.data, False, True) if vr == b"UN" else self
        return inner.items_end(start, depth + 1)

    def within(self, tag: tuple[int, int], end: int) -> int:
        if end > len(self.data):
            raise Incomplete(f"element ({tag[0]:04X},{tag[1]:04X}) ends {end - len(self.data)} bytes after the end")
        return end

    def items_end(self, position: int, depth: int) -> int:
        """The position after the delimiter of a sequence, or of encapsulated pixel data, of undefined length."""
        if depth > DEEPEST:
            raise Incomplete("sequences are nested too deeply")
        while True:
            tag, _, length, start = self.header(position)
            if tag == SEQUENCE_END:
                return start
            if tag != ITEM:
                raise Incomplete(f"an item is expected at byte {position}")
            position = self.item_end(start, depth) if length == UNDEFINED else self.within(tag, start + length)

    def item_end(self, position: int, depth: int) -> int:
        while self.header(position)[0] != ITEM_END:
            position = self.element_end(position, depth)
        return position + 8


def elements(
    data: bytes | memoryview, start: int, explicit: bool, little_endian: bool
) -> Iterator[tuple[tuple[int, int], int]]:
    """Tag and position of the data set's own elements, in order. Raises Incomplete where the data end too early."""
    walker = _Walker(data, explicit, little_endian)
    position = start
    while position < len(data):
        yield walker.header(position)[0], position
        position = walker.element_end(position, 0)
