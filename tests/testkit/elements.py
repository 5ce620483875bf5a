"""Data elements as bytes, written by hand so that nothing puts them right (PS3.5 section 7)."""

import struct
import zlib

_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, END_OF_ITEM, END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


def padded(vr: bytes, value: bytes) -> bytes:
    """A value of even length."""
    return value + (b"\0" if vr in (b"UI", b"OB", b"UN") else b" ") * (len(value) % 2)


def explicit(tag: int, vr: bytes, value: bytes, order: str = "<", length: int | None = None) -> bytes:
    """An element in an explicit encoding; `length` (bytes) is what its header says, if not the truth."""
    size = len(value) if length is None else length
    if vr in _LONG_VRS:
        return struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size) + value
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr, size) + value


def explicit_short(tag: int, vr: bytes, value: bytes) -> bytes:
    """An explicit element with a 16 bit length, whatever its VR."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def explicit_long(tag: int, vr: bytes, value: bytes) -> bytes:
    """An explicit element with two reserved bytes and a 32 bit length, whatever its VR."""
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value


def implicit(tag: int, value: bytes, order: str = "<", length: int | None = None) -> bytes:
    """An element in an implicit encoding, an item or a delimiter."""
    return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, order: str = "<") -> bytes:
    """An item of defined length."""
    return implicit(ITEM, content, order)


def open_item(content: bytes, order: str = "<") -> bytes:
    """An item of undefined length."""
    return implicit(ITEM, content, order, UNDEFINED_LENGTH) + implicit(END_OF_ITEM, b"", order)


def sequence(tag: int, content: bytes, vr: bytes = b"SQ", order: str = "<") -> bytes:
    """A sequence of undefined length in an explicit encoding."""
    return explicit(tag, vr, content, order, UNDEFINED_LENGTH) + implicit(END_OF_SEQUENCE, b"", order)


def deflate(data: bytes, window: int = -zlib.MAX_WBITS) -> bytes:
    """Deflated bytes, without zlib's header unless `window` is positive."""
    deflater = zlib.compressobj(9, wbits=window)
    return deflater.compress(data) + deflater.flush()
