"""Odd value representations, encodings and transfer syntaxes (PS3.5 section 6.2, Annex A)."""

import zlib
from collections.abc import Callable, Iterator

from tests.testkit.elements import (
    END_OF_ITEM,
    ITEM,
    deflate,
    explicit,
    explicit_long,
    explicit_short,
    implicit,
    item,
    open_item,
    sequence,
)
from tests.testkit.odd_objects.case import PIXELS, OddObject, before, case, encode, ordinary, sop_of
from tests.testkit.raw_sender import IMPLICIT_LITTLE

BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PRIVATE = 0x00091001
CREATOR = explicit(0x00090010, b"LO", b"ODD OBJECTS ")


def cases() -> Iterator[OddObject]:
    """Rows of the table."""
    yield from value_representations()
    yield from identifiers_of_another_vr()
    yield from mixed()
    yield from deflated()
    yield from transfer_syntaxes()


def value_representations() -> Iterator[OddObject]:
    group = "Value representations"
    inside = explicit(0x00091002, b"LO", b"abcd")
    for name, odd in {
        "an unknown VR of two letters": explicit_long(PRIVATE, b"ZZ", b"abcdef"),
        "an unknown VR of two letters, 16 bit length": explicit_short(PRIVATE, b"ZZ", b"abcdef"),
        "a blank VR": explicit_short(PRIVATE, b"  ", b"abcdef"),
        "a VR of NULs": explicit_short(PRIVATE, b"\0\0", b"abcdef"),
        "a VR of question marks": explicit_short(PRIVATE, b"??", b"abcdef"),
        "a VR in lower case": explicit_short(PRIVATE, b"lo", b"abcdef"),
        "a VR of minus signs": explicit_short(PRIVATE, b"--", b"abcdef"),
        "UN with a 16 bit length": explicit_short(PRIVATE, b"UN", b"abcdef"),
        "OB with a 16 bit length": explicit_short(PRIVATE, b"OB", b"abcdef"),
        "UT with a 16 bit length": explicit_short(PRIVATE, b"UT", b"abcdef"),
        "LO with a 32 bit length": explicit_long(PRIVATE, b"LO", b"abcdef"),
        "OX as VR": explicit_long(PRIVATE, b"OX", b"abcdef"),
        "UN of undefined length, implicit inside": sequence(PRIVATE, item(implicit(0x00091002, b"abcd")), b"UN"),
        "UN of undefined length, explicit inside": sequence(PRIVATE, item(inside), b"UN"),
        "UN of undefined length, explicit inside open items": sequence(PRIVATE, open_item(inside), b"UN"),
        "OB of undefined length that is not pixel data": sequence(PRIVATE, item(b"abcd"), b"OB"),
        "LO of undefined length": explicit_short(PRIVATE, b"LO", b"")[:-2] + b"\xff\xff",
    }.items():
        yield case(name, group, before(ordinary(sop_of(name)), 0x00090000, CREATOR + odd))


def identifiers_of_another_vr() -> Iterator[OddObject]:
    group = "Value representations"
    for vr in (b"LO", b"UN", b"OB", b"SH", b"ZZ", b"  "):
        name = f"all identifiers of VR {vr.decode().strip() or 'blank'}"
        elements = ordinary(sop_of(name))
        writer = explicit_short if vr in (b"LO", b"SH", b"  ") else explicit_long
        odd = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
        data = b"".join(
            writer(tag, vr, value) if tag in odd else explicit(tag, kind, value) for tag, kind, value in elements
        )
        yield case(name, group, data)


def mixed() -> Iterator[OddObject]:
    group = "Encodings"
    name = "one implicit element among explicit ones"
    yield case(name, group, before(ordinary(sop_of(name)), 0x00090000, CREATOR + implicit(PRIVATE, b"abcdef")))
    name = "implicit where explicit was agreed"
    yield case(name, group, encode(ordinary(sop_of(name)), "implicit"))
    name = "explicit where implicit was agreed"
    yield case(name, group, encode(ordinary(sop_of(name))), transfer_syntax=IMPLICIT_LITTLE)
    name = "one explicit element among implicit ones"
    data = encode(ordinary(sop_of(name)), "implicit")
    place = data.index(implicit(0x00100010, b"Odd^Object"))
    odd = data[:place] + explicit(PRIVATE, b"LO", b"abcdef") + data[place:]
    yield case(name, group, odd, transfer_syntax=IMPLICIT_LITTLE)
    name = "an explicit sequence among implicit elements"
    data = encode(ordinary(sop_of(name)), "implicit")
    odd = data[:place] + sequence(PRIVATE, item(explicit(0x00091002, b"LO", b"abcd"))) + data[place:]
    yield case(name, group, odd, transfer_syntax=IMPLICIT_LITTLE)
    name = "big endian where explicit little endian was agreed"
    yield case(name, group, encode(ordinary(sop_of(name)), "explicit", ">"))
    name = "little endian where big endian was agreed"
    yield case(name, group, encode(ordinary(sop_of(name))), transfer_syntax=BIG)
    name = "big endian as agreed"
    yield case(name, group, encode(ordinary(sop_of(name)), "explicit", ">"), transfer_syntax=BIG)
    name = "implicit where big endian was agreed"
    yield case(name, group, encode(ordinary(sop_of(name)), "implicit"), transfer_syntax=BIG)


def deflated() -> Iterator[OddObject]:
    group = "Deflated data sets"
    changes: dict[str, Callable[[bytes], bytes]] = {
        "deflated as agreed": deflate,
        "deflated with zlib's header": lambda data: deflate(data, zlib.MAX_WBITS),
        "not deflated although agreed": bytes,
        "deflated and padded with a NUL": lambda data: deflate(data) + b"\0",
        "deflated, the end missing": lambda data: deflate(data)[:-20],
        "deflated, damaged after the identifiers": lambda data: deflate(data[:-32])[:-1] + b"\xff" * 8,
        "deflated, implicit inside": deflate,
    }
    for name, change in changes.items():
        elements = ordinary(sop_of(name))
        inner = encode(elements, "implicit") if "implicit" in name else encode(elements)
        yield case(name, group, change(inner), transfer_syntax=DEFLATED)
    name = "deflated, 12 KB that are 8 MB of empty elements"
    bomb = before(ordinary(sop_of(name)), 0x00090000, CREATOR + explicit(PRIVATE, b"LO", b"") * 1_000_000)
    yield case(name, group, deflate(bomb), transfer_syntax=DEFLATED)
    name = "deflated, 64 KiB before the identifiers"
    data = before(ordinary(sop_of(name)), 0x00090000, CREATOR + explicit(PRIVATE, b"OB", bytes(65_000)))
    yield case(name, group, deflate(data), transfer_syntax=DEFLATED)


def transfer_syntaxes() -> Iterator[OddObject]:
    group = "Transfer syntaxes"
    frame = explicit(PIXELS, b"OB", item(b"") + item(b"\xff\xd8\xff\xd9"), length=0xFFFFFFFF)
    end = implicit(0xFFFEE0DD, b"")
    for name, uid in {
        "JPEG Baseline": "1.2.840.10008.1.2.4.50",
        "retired JPEG process 3 and 5": "1.2.840.10008.1.2.4.52",
        "retired JPEG process 6 and 8": "1.2.840.10008.1.2.4.53",
        "retired JPEG process 28": "1.2.840.10008.1.2.4.65",
        "JPEG 2000 part 2": "1.2.840.10008.1.2.4.92",
        "JPEG XL": "1.2.840.10008.1.2.4.112",
        "HTJ2K": "1.2.840.10008.1.2.4.203",
        "MPEG-4": "1.2.840.10008.1.2.4.102",
        "SMPTE ST 2110": "1.2.840.10008.1.2.7.1",
        "RLE": "1.2.840.10008.1.2.5",
        "retired RFC 2557 MIME": "1.2.840.10008.1.2.6.1",
        "retired XML": "1.2.840.10008.1.2.6.2",
        "encapsulated, of a future edition": "1.2.840.10008.1.2.4.999",
        "private, encapsulated": "1.2.826.0.1.3680043.10.99",
    }.items():
        data = encode(ordinary(sop_of(name), pixels=None)) + frame + end
        yield case(name, group, data, transfer_syntax=uid)
    name = "encapsulated without its sequence delimiter"
    data = encode(ordinary(sop_of(name), pixels=None)) + frame
    yield case(name, group, data, transfer_syntax="1.2.840.10008.1.2.4.50")
    name = "encapsulated, an item delimiter between frames"
    data = encode(ordinary(sop_of(name), pixels=None)) + frame + implicit(END_OF_ITEM, b"") + implicit(ITEM, b"") + end
    yield case(name, group, data, transfer_syntax="1.2.840.10008.1.2.4.50")
    name = "encapsulated where uncompressed was agreed"
    yield case(name, group, encode(ordinary(sop_of(name), pixels=None)) + frame + end)
    name = "uncompressed where JPEG was agreed"
    yield case(name, group, encode(ordinary(sop_of(name))), transfer_syntax="1.2.840.10008.1.2.4.50")
    name = "private implicit big endian (GE)"
    uid = "1.2.840.113619.5.2"
    yield case(name, group, encode(ordinary(sop_of(name)), "implicit", ">"), transfer_syntax=uid)
    name = "Papyrus 3 implicit (retired)"
    uid = "1.2.840.10008.1.20"
    yield case(name, group, encode(ordinary(sop_of(name)), "implicit"), transfer_syntax=uid)
