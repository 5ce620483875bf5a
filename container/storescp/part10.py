"""The head of a DICOM file: preamble, prefix and File Meta Information (PS3.10 section 7.1)."""

from struct import pack
from typing import Final

from storescp.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREAMBLE: Final = bytes(128) + b"DICM"
_VERSION: Final = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"


def encode_file_meta_information(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae_title: str
) -> bytes:
    """Everything before the data set: 128 bytes preamble, ``DICM`` and group 0002 in Explicit VR Little Endian."""
    elements = b"".join(
        (
            _VERSION,
            _element(0x0002, b"UI", sop_class_uid, b"\0"),
            _element(0x0003, b"UI", sop_instance_uid, b"\0"),
            _element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
            _element(0x0016, b"AE", calling_ae_title, b" "),
        )
    )
    return b"".join((_PREAMBLE, pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements)), elements))


def _element(number: int, vr: bytes, value: str, padding: bytes) -> bytes:
    encoded = value.encode("latin-1")
    if len(encoded) % 2:
        encoded += padding
    return pack("<HH2sH", 0x0002, number, vr, len(encoded)) + encoded
