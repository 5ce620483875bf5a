"""One odd object, and the ordinary one that the odd ones are made of."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from tests.testkit.elements import explicit, implicit, padded
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, context_item, pdu, store_command

Elements = list[tuple[int, bytes, bytes]]
STUDY, SERIES, SOP, SOP_CLASS = 0x0020000D, 0x0020000E, 0x00080018, 0x00080016
PIXELS = 0x7FE00010


@dataclass(frozen=True)
class OddObject:
    """A C-STORE request that is odd somewhere.

    `command` and `data` are sent as they are, in PDVs of `pdv_bytes`. `contexts` are the presentation context items;
    number 1 carries the object. `may_be_refused` says why refusing is right although somebody stores it.
    """

    name: str
    group: str
    data: bytes
    command: bytes
    contexts: bytes
    user_items: bytes = b""
    release: bytes = pdu(0x05, bytes(4))
    pdv_bytes: int = 100_000
    may_be_refused: str = ""


def sop_of(name: str) -> str:
    """An instance UID of its own for every case."""
    return f"2.25.{int(hashlib.sha256(name.encode()).hexdigest()[:24], 16)}"


def ordinary(instance: str, /, **changes: bytes | None) -> Elements:
    """The elements of an ordinary small image; `changes` by keyword, None takes an element out."""
    values = {
        "charset": b"ISO_IR 100",
        "sop_class": CT_IMAGE_STORAGE.encode(),
        "sop": instance.encode(),
        "modality": b"OT",
        "patient_name": b"Odd^Object",
        "patient_id": b"ODD-1",
        "study": b"1.2.826.0.1.3680043.10.1",
        "series": b"1.2.826.0.1.3680043.10.1.1",
        "number": b"1",
        "rows": b"\4\0",
        "pixels": bytes(32),
        **changes,
    }
    return [
        (tag, vr, padded(vr, value))
        for name, tag, vr in (
            ("charset", 0x00080005, b"CS"),
            ("sop_class", SOP_CLASS, b"UI"),
            ("sop", SOP, b"UI"),
            ("modality", 0x00080060, b"CS"),
            ("patient_name", 0x00100010, b"PN"),
            ("patient_id", 0x00100020, b"LO"),
            ("study", STUDY, b"UI"),
            ("series", SERIES, b"UI"),
            ("number", 0x00200013, b"IS"),
            ("rows", 0x00280010, b"US"),
            ("pixels", PIXELS, b"OW"),
        )
        if (value := values[name]) is not None
    ]


def encode(elements: Elements, vr: Literal["explicit", "implicit"] = "explicit", order: str = "<") -> bytes:
    """Elements one after the other."""
    if vr == "explicit":
        return b"".join(explicit(tag, kind, value, order) for tag, kind, value in elements)
    return b"".join(implicit(tag, value, order) for tag, _, value in elements)


def before(elements: Elements, tag: int, odd: bytes) -> bytes:
    """Explicit elements with something odd before the first whose tag is not less than `tag`."""
    first = [element for element in elements if element[0] < tag]
    return encode(first) + odd + encode(elements[len(first) :])


def case(
    name: str,
    group: str,
    data: bytes | None = None,
    *,
    command: bytes | None = None,
    transfer_syntax: str = EXPLICIT_LITTLE,
    abstract_syntax: str = CT_IMAGE_STORAGE,
    contexts: bytes | None = None,
    **more: object,
) -> OddObject:
    """A case that is ordinary in all that is not given."""
    sop = sop_of(name)
    return OddObject(
        name,
        group,
        encode(ordinary(sop, sop_class=abstract_syntax.encode())) if data is None else data,
        store_command(sop, sop_class=abstract_syntax) if command is None else command,
        context_item(1, abstract_syntax, transfer_syntax) if contexts is None else contexts,
        **more,  # type: ignore[arg-type]
    )
