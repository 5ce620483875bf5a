"""Odd order, size, sequences, lengths and contents of data sets (PS3.5 section 7)."""

import struct
from collections.abc import Iterator

from tests.testkit.elements import (
    END_OF_ITEM,
    END_OF_SEQUENCE,
    UNDEFINED_LENGTH,
    explicit,
    implicit,
    item,
    open_item,
    sequence,
)
from tests.testkit.odd_objects.case import PIXELS, STUDY, OddObject, before, case, encode, ordinary, sop_of
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, IMPLICIT_LITTLE

PRIVATE_SEQUENCE = 0x00091010
CREATOR = explicit(0x00090010, b"LO", b"ODD OBJECTS ")
REQUEST_ATTRIBUTES = 0x00081110  # a sequence before group 0010
NOT_DICOM = "it is no DICOM data set"


def cases() -> Iterator[OddObject]:
    """Rows of the table."""
    for part in (order, sizes, files, sequences, lengths, contents, nothing):
        for name, group, data, more in part():
            yield case(name, group, data, **more)  # type: ignore[arg-type]


Rows = Iterator[tuple[str, str, bytes, dict[str, object]]]


def order() -> Rows:
    group = "Order of elements"
    name = "all elements in descending order"
    yield name, group, encode(ordinary(sop_of(name))[::-1]), {}
    name = "group 0020 before group 0008"
    elements = ordinary(sop_of(name))
    yield name, group, encode(sorted(elements, key=lambda element: (element[0] >> 16 != 0x0020, element[0]))), {}
    name = "all identifiers after the pixel data"
    elements = ordinary(sop_of(name))
    late = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
    yield name, group, encode(sorted(elements, key=lambda element: element[0] in late)), {}
    name = "Study Instance UID after Series Instance UID"
    elements = ordinary(sop_of(name))
    yield name, group, encode([*elements[:6], elements[7], elements[6], *elements[8:]]), {}
    for what, index in (("SOP Instance UID", 2), ("Study Instance UID", 6), ("Patient ID", 5), ("pixel data", 10)):
        name = f"{what} twice, the same"
        elements = ordinary(sop_of(name))
        yield name, group, encode([*elements[: index + 1], *elements[index:]]), {}
    name = "Study Instance UID twice, the second another"
    elements = ordinary(sop_of(name))
    yield name, group, encode([*elements[:7], (STUDY, b"UI", b"1.2.3.99"), *elements[7:]]), {}
    name = "SOP Instance UID twice, the second another"
    elements = ordinary(sop_of(name))
    yield name, group, encode([*elements[:3], (0x00080018, b"UI", b"1.2.3.99"), *elements[3:]]), {}
    name = "group lengths in every group, all wrong"
    elements = ordinary(sop_of(name))
    lengths = [(group_ << 16, b"UL", b"\7\0\0\0") for group_ in (0x0008, 0x0010, 0x0020, 0x0028, 0x7FE0)]
    yield name, group, encode(sorted([*elements, *lengths])), {}


def sizes() -> Rows:
    group = "Size before the identifiers"
    name = "9 MB of private elements before group 0020"
    private = CREATOR + b"".join(explicit(0x00091000 + n, b"OB", bytes(1_000_000)) for n in range(9))
    yield name, group, before(ordinary(sop_of(name)), 0x00090000, private), {}
    name = "one private element of 9 MB before group 0020"
    private = CREATOR + explicit(0x00091000, b"UN", bytes(9_000_000))
    yield name, group, before(ordinary(sop_of(name)), 0x00090000, private), {}
    name = "9 MB of private elements before group 0020, implicit"
    data = encode(ordinary(sop_of(name)), "implicit")
    place = data.index(implicit(0x00100010, b"Odd^Object"))
    private = b"".join(implicit(0x00091000 + n, bytes(1_000_000)) for n in range(9))
    yield name, group, data[:place] + private + data[place:], {"transfer_syntax": IMPLICIT_LITTLE}
    name = "9 MB of pixel data and the identifiers behind it"
    elements = ordinary(sop_of(name), pixels=bytes(9_000_000))
    yield name, group, encode([elements[-1], *elements[:-1]]), {}
    name = "20,000 empty elements before group 0020"
    private = CREATOR + explicit(0x00091001, b"LO", b"") * 20_000
    yield name, group, before(ordinary(sop_of(name)), 0x00090000, private), {}
    name = "a sequence of 5,000 items before group 0020"
    odd = sequence(REQUEST_ATTRIBUTES, open_item(explicit(0x00081150, b"UI", b"1.2.3\0")) * 5_000)
    yield name, group, before(ordinary(sop_of(name)), REQUEST_ATTRIBUTES, odd), {}


def files() -> Rows:
    group = "A file in the place of a data set"
    for name, syntax, vr in (
        ("a whole file, explicit", EXPLICIT_LITTLE, "explicit"),
        ("a whole file, implicit, where explicit was agreed", IMPLICIT_LITTLE, "implicit"),
    ):
        sop = sop_of(name)
        yield name, group, bytes(128) + b"DICM" + meta(sop, syntax) + encode(ordinary(sop), vr), {}  # type: ignore[arg-type]
    name = "group 0002 without a preamble before the data set"
    yield name, group, meta(sop_of(name), EXPLICIT_LITTLE) + encode(ordinary(sop_of(name))), {}
    name = "elements of group 0000 before the data set"
    yield name, group, implicit(0x00000010, b"ACR-NEMA") + encode(ordinary(sop_of(name))), {}
    name = "elements of group 0001 before the data set"
    yield name, group, explicit(0x00010010, b"LO", b"ab") + encode(ordinary(sop_of(name))), {}
    name = "retired elements of group 0004 before the data set"
    yield name, group, explicit(0x00041200, b"UL", bytes(4)) + encode(ordinary(sop_of(name))), {}


def meta(sop: str, syntax: str) -> bytes:
    """File Meta Information."""
    elements = [
        (0x00020001, b"OB", b"\0\1"),
        (0x00020002, b"UI", CT_IMAGE_STORAGE.encode() + b"\0"),
        (0x00020003, b"UI", sop.encode() + b"\0" * (len(sop) % 2)),
        (0x00020010, b"UI", syntax.encode() + b"\0" * (len(syntax) % 2)),
    ]
    return explicit(0x00020000, b"UL", struct.pack("<I", len(encode(elements)))) + encode(elements)


def sequences() -> Rows:
    group = "Sequences and delimiters"
    inside = explicit(0x00081155, b"UI", b"1.2.3.77")
    odd = {
        "an empty sequence of undefined length": sequence(REQUEST_ATTRIBUTES, b""),
        "an item of undefined length in a sequence of defined length": explicit(
            REQUEST_ATTRIBUTES, b"SQ", open_item(inside)
        ),
        "an item delimiter that ends nothing": implicit(END_OF_ITEM, b""),
        "a sequence delimiter that ends nothing": implicit(END_OF_SEQUENCE, b""),
        "a sequence delimiter after a sequence of defined length": explicit(REQUEST_ATTRIBUTES, b"SQ", item(inside))
        + implicit(END_OF_SEQUENCE, b""),
        "an item delimiter after an item of defined length": sequence(
            REQUEST_ATTRIBUTES, item(inside) + implicit(END_OF_ITEM, b"")
        ),
        "a delimiter with a length": explicit(REQUEST_ATTRIBUTES, b"SQ", item(inside), length=UNDEFINED_LENGTH)
        + implicit(END_OF_SEQUENCE, b"", length=8),
        "an item outside of a sequence": item(inside),
        "a sequence without its delimiter": explicit(REQUEST_ATTRIBUTES, b"SQ", item(inside), length=UNDEFINED_LENGTH),
        "an item without its delimiter": sequence(
            REQUEST_ATTRIBUTES, implicit(0xFFFEE000, inside, length=UNDEFINED_LENGTH)
        ),
        "an element where an item should be": sequence(REQUEST_ATTRIBUTES, inside),
        "an item longer than its sequence": explicit(
            REQUEST_ATTRIBUTES, b"SQ", implicit(0xFFFEE000, inside, length=5_000)
        ),
        "a sequence longer than its items": explicit(
            REQUEST_ATTRIBUTES, b"SQ", item(inside), length=len(item(inside)) + 14
        ),
        "a sequence nested 100 deep": nested(100),
        "a sequence nested 1,000 deep": nested(1_000),
        "a private sequence of VR UN and defined length": CREATOR + explicit(PRIVATE_SEQUENCE, b"UN", item(inside)),
    }
    for name, bytes_ in odd.items():
        tag = 0x00090000 if bytes_.startswith(CREATOR) else REQUEST_ATTRIBUTES
        yield name, group, before(ordinary(sop_of(name)), tag, bytes_), {}


def nested(depth: int) -> bytes:
    opening = explicit(REQUEST_ATTRIBUTES, b"SQ", b"", length=UNDEFINED_LENGTH) + implicit(
        0xFFFEE000, b"", length=UNDEFINED_LENGTH
    )
    closing = implicit(END_OF_ITEM, b"") + implicit(END_OF_SEQUENCE, b"")
    return opening * depth + closing * depth


def lengths() -> Rows:
    group = "Lengths and ends"
    study = explicit(STUDY, b"UI", b"1.2.826.0.1.3680043.10.1")
    for name, tag, odd in (
        ("an odd length", 0x00081030, explicit(0x00081030, b"LO", b"odd")),
        ("a length beyond the end, before group 0020", 0x00181030, explicit(0x00181030, b"LO", b"x", length=60_000)),
        ("a length of 2 GiB, before group 0020", 0x00181000, explicit(0x00181000, b"UN", b"x", length=2**31)),
    ):
        yield name, group, before(ordinary(sop_of(name)), tag, odd), {}
    name = "pixel data shorter than its length"
    yield name, group, encode(ordinary(sop_of(name)))[:-16], {}
    name = "pixel data of undefined length without items"
    pixels = explicit(PIXELS, b"OW", bytes(32), length=UNDEFINED_LENGTH)
    yield name, group, encode(ordinary(sop_of(name), pixels=None)) + pixels, {}
    for name, place, offset in (
        ("cut within the Study Instance UID", study, 12),
        ("cut within the header of the Study Instance UID", study, 5),
        ("cut after the Study Instance UID", study, len(study)),
        ("cut within the patient's name", b"Odd^Object", 4),
        ("cut before group 0010", b"\x10\0\x10\0PN", 0),
    ):
        data = encode(ordinary(sop_of(name)))
        yield name, group, data[: data.index(place) + offset], {}
    for name, tail in (
        ("Data Set Trailing Padding", explicit(0xFFFCFFFC, b"OB", bytes(100))),
        ("zeros behind the data set", bytes(100)),
        ("one zero behind the data set", b"\0"),
        ("text behind the data set", b"end of image\r\n"),
        ("ones behind the data set", b"\xff" * 64),
    ):
        yield name, group, encode(ordinary(sop_of(name))) + tail, {}


def contents() -> Rows:
    group = "Contents"
    odd: dict[str, dict[str, bytes | None]] = {
        "an unknown character set": {"charset": b"ISO_IR 9999 "},
        "a name that its character set cannot have": {"patient_name": b"\xff\xfe\x81^X"},
        "a name of 5,000 characters": {"patient_name": b"N" * 5_000},
        "a Patient ID with a backslash": {"patient_id": b"A\\B\\C"},
        "an instance number that is text": {"number": b"first"},
        "rows of 4 bytes": {"rows": b"\4\0\0\0"},
        "rows of 1 byte": {"rows": b"\4"},
        "a modality in lower case": {"modality": b"ct"},
        "empty pixel data": {"pixels": b""},
    }
    for name, change in odd.items():
        yield name, group, encode(ordinary(sop_of(name), **change)), {}
    for name, abstract_syntax in (
        ("a private SOP class", "1.3.46.670589.11.0.0.12.1"),
        ("a retired SOP class", "1.2.840.10008.5.1.4.1.1.6"),
        ("a SOP class of a future edition", "1.2.840.10008.5.1.4.1.1.9999"),
        ("a SOP class with letters", "1.2.private.CT"),
    ):
        data = encode(ordinary(sop_of(name), sop_class=abstract_syntax.encode()))
        yield name, group, data, {"abstract_syntax": abstract_syntax}


def nothing() -> Rows:
    group = "What is no data set"
    for name, data in {
        "no byte at all": b"",
        "500 zeros": bytes(500),
        "500 ones": b"\xff" * 500,
        "a web browser's request": b"GET / HTTP/1.1\r\nHost: hospital.example\r\n\r\n" * 10,
        "a PNG picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)),
        "JSON": b'{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}' * 10,
    }.items():
        yield name, group, data, {"may_be_refused": NOT_DICOM}
