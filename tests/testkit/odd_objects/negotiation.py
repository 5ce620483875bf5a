"""Odd requests for an association that carry an ordinary object (PS3.8 9.3.2, PS3.7 Annex D)."""

from collections.abc import Iterator

from tests.testkit.odd_objects.case import OddObject, case
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, context_item, item

GROUP = "Negotiation"
GOOD = context_item(1, CT_IMAGE_STORAGE, EXPLICIT_LITTLE)


def cases() -> Iterator[OddObject]:
    """Rows of the table."""
    for name, contexts in (
        ("a context with an even id beside a good one", context_item(2, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) + GOOD),
        ("a context with id 0 beside a good one", context_item(0, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) + GOOD),
        ("another context twice", context_item(3, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) * 2 + GOOD),
        ("the context twice, the same", GOOD * 2),
        ("a context with an empty abstract syntax", context_item(3, "", EXPLICIT_LITTLE) + GOOD),
        ("a context without a transfer syntax", context_item(3, CT_IMAGE_STORAGE) + GOOD),
        ("a context with an empty transfer syntax", context_item(3, CT_IMAGE_STORAGE, "") + GOOD),
        ("a context whose items do not add up", item(0x20, b"\3\0\0\0\x30\0\xff\xff1.2") + GOOD),
        ("a context with letters as abstract syntax", context_item(3, "CT-IMAGE", EXPLICIT_LITTLE) + GOOD),
        ("an abstract syntax padded with NUL", context_item(1, CT_IMAGE_STORAGE + "\0", EXPLICIT_LITTLE)),
        ("a transfer syntax padded with NUL", context_item(1, CT_IMAGE_STORAGE, EXPLICIT_LITTLE + "\0")),
        ("128 contexts", b"".join(context_item(n, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) for n in range(1, 256, 2))),
    ):
        yield case(name, GROUP, contexts=contexts)
    for name, items in (
        ("an unknown user item", item(0x7F, bytes(20))),
        ("user identity of an unknown type", item(0x58, b"\x09\1\0\4user\0\0")),
        ("an operations window of 3 bytes", item(0x53, b"\0\1\0")),
        ("a role selection whose lengths do not add up", item(0x54, b"\0\xff1.2\1\1")),
        ("an empty implementation version name", item(0x55, b"")),
        ("an implementation version name of 64 characters", item(0x55, b"V" * 64)),
        ("implementation class UID with letters", item(0x52, b"AN-IMPLEMENTATION")),
    ):
        yield case(name, GROUP, user_items=items)
