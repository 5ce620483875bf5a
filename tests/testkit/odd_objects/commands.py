"""Odd command sets and odd ways to cut a message into pieces (PS3.7 6.3, 9.3.1)."""

import struct
from collections.abc import Iterator

from tests.testkit.odd_objects.case import OddObject, case, encode, ordinary, sop_of
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, command_element, command_set, pdu, store_command

GROUP = "Command set"
DEFAULTS = {
    0x0002: CT_IMAGE_STORAGE.encode(),
    0x0100: b"\1\0",
    0x0110: b"\1\0",
    0x0700: b"\0\0",
    0x0800: b"\0\0",
}


def elements(sop: str, **changes: bytes | None) -> bytes:
    """A C-STORE-RQ's elements; `changes` by hexadecimal number with an `e` before it, None takes one out."""
    given = {int(name[1:], 16): value for name, value in changes.items()}
    values = {**DEFAULTS, 0x1000: sop.encode(), **given}
    return b"".join(command_element(number, value) for number, value in sorted(values.items()) if value is not None)


def element_of_group(group: int) -> bytes:
    """An element of another group."""
    return struct.pack("<HHI", group, 0x0010, 4) + b"abcd"


def cases() -> Iterator[OddObject]:
    """Rows of the table."""
    yield case("an ordinary object", GROUP)
    yield from group_lengths()
    yield from other_elements()
    yield from numbers()
    yield from pieces()


def group_lengths() -> Iterator[OddObject]:
    for name, group_length in (
        ("group length 0", 0),
        ("group length too small by 12", -12),
        ("group length too large by 8 (counts its own header)", 8),
        ("group length too large by 12 (counts itself)", 12),
        ("group length 4294967295", None),
    ):
        body = elements(sop_of(name))
        length = 0xFFFFFFFF if group_length is None else group_length and len(body) + group_length
        yield case(name, GROUP, command=command_set(body, length))
    yield case("no group length", GROUP, command=elements(sop_of("no group length")))
    name = "group length of 2 bytes"
    body = elements(sop_of(name))
    yield case(name, GROUP, command=command_element(0, struct.pack("<H", len(body))) + body)
    name = "group length at the end"
    body = elements(sop_of(name))
    yield case(name, GROUP, command=body + command_element(0, struct.pack("<I", len(body))))


def other_elements() -> Iterator[OddObject]:
    for name, odd in (
        ("an element of group 0002 in the command", element_of_group(0x0002)),
        ("an element of group 0008 in the command", element_of_group(0x0008)),
        ("an element of a private group in the command", element_of_group(0x0009)),
        ("an unknown element (0000,0099)", command_element(0x0099, b"abcd")),
        ("retired Command Length to End (0000,0001)", command_element(0x0001, bytes(4))),
        ("retired Recognition Code (0000,0010)", command_element(0x0010, b"ACR-NEMA")),
        ("Move Originator elements", command_element(0x1030, b"MOVER") + command_element(0x1031, b"\7\0")),
        ("an empty Error Comment in a request", command_element(0x0902, b"")),
        ("a status in a request", command_element(0x0900, b"\0\0")),
    ):
        yield case(name, GROUP, command=command_set(elements(sop_of(name)) + odd))
    name = "elements in descending order"
    body = b"".join(
        command_element(number, value) for number, value in {0x1000: sop_of(name).encode(), **DEFAULTS}.items()
    )
    yield case(name, GROUP, command=command_set(body))
    name = "every element twice"
    yield case(name, GROUP, command=command_set(elements(sop_of(name)) * 2))
    name = "zeros after the last element"
    yield case(name, GROUP, command=command_set(elements(sop_of(name)) + bytes(8)))
    name = "a command cut within an element"
    cut = command_set(elements(sop_of(name)))[:-3]
    yield case(name, GROUP, command=cut, may_be_refused="the end of the instance's UID is missing in the command")


def numbers() -> Iterator[OddObject]:
    for name, changes in (
        ("Message ID of 4 bytes", {"e0110": b"\1\0\0\0"}),
        ("Message ID 0", {"e0110": b"\0\0"}),
        ("no Message ID", {"e0110": None}),
        ("empty Message ID", {"e0110": b""}),
        ("Command Field of 4 bytes", {"e0100": b"\1\0\0\0"}),
        ("no priority", {"e0700": None}),
        ("priority 99", {"e0700": b"\x63\0"}),
        ("priority of 4 bytes", {"e0700": b"\0\0\0\0"}),
        ("data set type 0001", {"e0800": b"\1\0"}),
        ("data set type 0102", {"e0800": b"\2\1"}),
        ("data set type FFFF", {"e0800": b"\xff\xff"}),
        ("data set type of 4 bytes", {"e0800": b"\0\0\0\0"}),
        ("no data set type", {"e0800": None}),
        ("no Affected SOP Instance UID", {"e1000": None}),
        ("empty Affected SOP Instance UID", {"e1000": b""}),
        ("no Affected SOP Class UID", {"e0002": None}),
        ("empty Affected SOP Class UID", {"e0002": b""}),
    ):
        yield case(name, GROUP, command=command_set(elements(sop_of(name), **changes)))
    for name, suffix in (("class and instance of odd length", b""), ("class and instance padded with spaces", b"  ")):
        sop = sop_of(name)
        body = b"".join(
            struct.pack("<HHI", 0, number, len(value)) + value
            for number, value in {
                **DEFAULTS,
                0x0002: CT_IMAGE_STORAGE.encode() + suffix,
                0x1000: sop.encode()[: len(sop) - (len(sop) + 1) % 2] + suffix,
            }.items()
        )
        plain = sop[: len(sop) - (len(sop) + 1) % 2]
        yield case(name, GROUP, encode(ordinary(plain)), command=command_set(body))


def pieces() -> Iterator[OddObject]:
    yield case("command and data set in pieces of 1 byte", "Message in pieces", pdv_bytes=1)
    yield case("pieces of an odd number of bytes", "Message in pieces", pdv_bytes=7)
    for length in (0, 8, 16):
        name = f"A-RELEASE-RQ of {length} bytes"
        yield case(name, "Message in pieces", release=pdu(0x05, bytes(length)))
    name = "command of 10 KB (long unknown element)"
    command = store_command(sop_of(name))
    yield case(name, "Message in pieces", command=command + command_element(0x2000, bytes(10_000)))
