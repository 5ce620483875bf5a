"""Identifiers are what pydicom reads, in every file that it ships; covers identifiers.py and elements.py."""

import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from storescp.identifiers import MAXIMUM_ELEMENTS, MAXIMUM_INFLATED_BYTES, Identifiers, read_identifiers

FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def identifiers_of(data: bytes, syntax: str, is_whole: bool = True) -> Identifiers:
    found = read_identifiers(data, syntax, is_whole)
    assert found is not None
    return found


def uids(found: Identifiers) -> tuple[str, str, str, str]:
    return found.sop_class_uid, found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid


def has_file_meta(path: Path) -> bool:
    content = path.read_bytes()
    return content[128:140] == b"DICM\x02\0\0\0UL\x04\0" and b"\x02\0\x10\0UI" in content[:1000]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", [path for path in FILES if has_file_meta(path)], ids=lambda path: path.name)
def test_identifiers_are_what_pydicom_reads(path: Path) -> None:
    content = path.read_bytes()
    data = content[144 + int.from_bytes(content[140:144], "little") :]
    expected = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
    found = identifiers_of(data, expected.file_meta.TransferSyntaxUID)
    assert (found.sop_class_uid, found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid) == tuple(
        str(expected.get(name, ""))
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )


def deep_data_set() -> Dataset:
    """Nested sequences before the identifiers, with identifiers of their own that are not the data set's."""
    inner = Dataset()
    inner.ReferencedSOPClassUID = "9.9"
    inner.StudyInstanceUID = "9.9.9"
    inner.SeriesInstanceUID = "9.9.9.9"
    middle = Dataset()
    middle.add_new(0x00081115, "SQ", Sequence([inner, inner]))
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    data.add_new(0x00081110, "SQ", Sequence([middle, Dataset(), middle]))
    data.add_new(0x00090010, "LO", "A PRIVATE BLOCK")
    data.add_new(0x00091001, "UN", b"\0" * 100_000)
    data.add_new(0x00091002, "OB", b"\xfe\xff\x0d\xe0")
    data.PatientName = "A^B"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.5"
    data.add_new(0x7FE00010, "OW", b"\0\0")
    return data


def encode(data: Dataset, syntax: str, undefined_length: bool) -> bytes:
    def mark(part: Dataset) -> None:
        for element in part:
            if element.VR == "SQ":
                element.is_undefined_length = undefined_length
                for item in element.value:
                    item.is_undefined_length_sequence_item = undefined_length
                    mark(item)

    mark(data)
    stream = DicomBytesIO()
    stream.is_little_endian = syntax != ExplicitVRBigEndian
    stream.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(stream, data)
    encoded: bytes = stream.getvalue()
    if syntax != DeflatedExplicitVRLittleEndian:
        return encoded
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(encoded) + deflater.flush()


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nested_sequences_are_skipped(syntax: str, undefined_length: bool) -> None:
    found = identifiers_of(encode(deep_data_set(), syntax, undefined_length), syntax)
    assert (found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid) == (
        "1.2.3.4",
        "1.2.3",
        "1.2.3.5",
    )


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_beginning_misses_something_but_is_never_wrong(syntax: str, undefined_length: bool) -> None:
    encoded = encode(deep_data_set(), syntax, undefined_length)
    whole = uids(identifiers_of(encoded, syntax))
    step = 1 if syntax == DeflatedExplicitVRLittleEndian else 97
    for length in range(0, len(encoded), step):
        for is_whole in (False, True):
            found = read_identifiers(encoded[:length], syntax, is_whole)
            if found is not None:
                assert all(part in ("", full) for part, full in zip(uids(found), whole, strict=True))


def explicit(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    if vr in (b"OB", b"SQ", b"UN", b"UT"):
        return struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def implicit(tag: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes, order: str = "<") -> bytes:
    return implicit(0xFFFEE000, content, order)


def undefined(tag: int, vr: bytes, content: bytes, order: str = "<") -> bytes:
    head = struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, 0xFFFFFFFF)
    return head + content + implicit(0xFFFEE0DD, b"", order)


SOP = explicit(0x00080018, b"UI", b"1.2.3.4\0")
UIDS = explicit(0x0020000D, b"UI", b"1.2\0") + explicit(0x0020000E, b"UI", b"1.3\0")
END = explicit(0x7FE00010, b"OB", bytes(64))
ODD_HEADERS = {
    "unknown VR of two letters": struct.pack("<HH2sHI", 0x0009, 0x1001, b"ZZ", 0, 6) + b"abcdef",
    "blank VR, 16 bit length": struct.pack("<HH2sH", 0x0009, 0x1001, b"  ", 6) + b"abcdef",
    "VR of NULs, 16 bit length": struct.pack("<HH2sH", 0x0009, 0x1001, b"\0\0", 6) + b"abcdef",
    "question marks as VR": struct.pack("<HH2sH", 0x0009, 0x1001, b"??", 6) + b"abcdef",
    "UN with a 16 bit length": struct.pack("<HH2sH", 0x0009, 0x1001, b"UN", 6) + b"abcdef",
    "OB with a 16 bit length": struct.pack("<HH2sH", 0x0009, 0x1001, b"OB", 6) + b"abcdef",
    "an implicit element": implicit(0x00091001, b"abcdef"),
    "UN of undefined length, implicit inside": undefined(0x00091001, b"UN", item(implicit(0x00091002, b"abcd"))),
    "UN of undefined length, explicit inside": undefined(
        0x00091001, b"UN", item(b"") + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        + explicit(0x00091002, b"LO", b"abcd") + explicit(0x00091003, b"UN", b"abcd") + implicit(0xFFFEE00D, b"")
    ),
    "delimiters that end nothing": implicit(0xFFFEE00D, b"") + implicit(0xFFFEE0DD, b""),
    "an end of item where an item should be": undefined(0x00091001, b"SQ", implicit(0xFFFEE00D, b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_identifiers_behind_an_odd_header_are_read(name: str) -> None:
    found = identifiers_of(SOP + ODD_HEADERS[name] + UIDS + END, ExplicitVRLittleEndian)
    assert (found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid) == ("1.2.3.4", "1.2", "1.3")


@pytest.mark.parametrize("declared", [*SYNTAXES, "1.2.840.113619.5.2", "1.2.826.0.1.3680043.9.1"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_explicit", [False, True])
def test_data_sets_in_another_encoding_than_agreed_are_read(declared: str, order: str, is_explicit: bool) -> None:
    elements = [(0x00080018, b"UI", b"1.2.3.4\0"), (0x00100010, b"PN", b"A^BC"), (0x0020000D, b"UI", b"1.2\0")]
    data = b"".join(
        explicit(tag, vr, value, order) if is_explicit else implicit(tag, value, order) for tag, vr, value in elements
    )
    found = identifiers_of(data, declared)
    assert (found.sop_instance_uid, found.study_instance_uid) == ("1.2.3.4", "1.2")


def test_explicit_elements_among_implicit_ones_are_read() -> None:
    data = implicit(0x00080018, b"1.2.3.4\0") + explicit(0x00100010, b"PN", b"A^BC") + implicit(0x0020000D, b"1.2\0")
    assert identifiers_of(data, ImplicitVRLittleEndian).study_instance_uid == "1.2"


def test_a_whole_file_in_the_place_of_a_data_set_is_read() -> None:
    meta = explicit(0x00020010, b"UI", str(ImplicitVRLittleEndian).encode() + b"\0")
    file = bytes(128) + b"DICM" + explicit(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta
    found = identifiers_of(
        file + implicit(0x0020000D, b"1.2\0") + implicit(0x0020000E, b"1.3\0"), ExplicitVRLittleEndian
    )
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2", "1.3")


def test_order_does_not_matter_and_of_an_element_that_is_there_twice_the_first_counts() -> None:
    again = explicit(0x0020000D, b"UI", b"9.9\0")
    assert uids(identifiers_of(END + UIDS + again + SOP, ExplicitVRLittleEndian)) == ("", "1.2.3.4", "1.2", "1.3")


NOT_DICOM = {
    "nothing": b"",
    "two bytes": b"\x08\0",
    "zeros": bytes(500),
    "ones": b"\xff" * 500,
    "text": b"GET / HTTP/1.1\r\nHost: a-hospital.example\r\n\r\n" * 10,
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)),
    "JSON": b'{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}' * 10,
}


@pytest.mark.parametrize("name", NOT_DICOM)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_begins_with_no_element_in_any_encoding_is_no_data_set(name: str, syntax: str) -> None:
    assert read_identifiers(NOT_DICOM[name], syntax) is None


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_data_set_whose_first_piece_ends_between_two_elements_is_read() -> None:
    padding = explicit(0x00091001, b"OB", bytes(64 * 1024 - len(SOP) - 12))
    assert len(SOP + padding) == 64 * 1024
    found = identifiers_of(deflate(SOP + padding + UIDS), DeflatedExplicitVRLittleEndian)
    assert (found.study_instance_uid, found.series_instance_uid) == ("1.2", "1.3")


def test_twelve_kilobytes_of_deflated_elements_are_inspected_once() -> None:
    elements = explicit(0x00091001, b"LO", b"") * 1_000_000  # 8 MB of them, 12 KB on the wire
    bomb = deflate(SOP + elements)
    assert len(bomb) < 24 * 1024
    found = identifiers_of(bomb, DeflatedExplicitVRLittleEndian)
    assert found.elements_inspected <= MAXIMUM_ELEMENTS
    assert found.bytes_inflated <= MAXIMUM_ELEMENTS * 8 + 128 * 1024
    assert found.sop_instance_uid == "1.2.3.4"


def test_millions_of_tiny_elements_are_not_all_inspected() -> None:
    found = identifiers_of(SOP + explicit(0x00091001, b"LO", b"") * 970_000 + UIDS, ExplicitVRLittleEndian)
    assert found.elements_inspected == MAXIMUM_ELEMENTS
    assert (found.sop_instance_uid, found.study_instance_uid) == ("1.2.3.4", "")


def test_a_bomb_is_not_inflated() -> None:
    element = struct.pack("<HH2sHI", 0x0009, 0x1000, b"OB", 0, 0x7FFFFFF0)
    found = identifiers_of(deflate(element + bytes(64 * 1024 * 1024)), DeflatedExplicitVRLittleEndian)
    assert MAXIMUM_INFLATED_BYTES <= found.bytes_inflated <= MAXIMUM_INFLATED_BYTES + 64 * 1024
    assert uids(found) == ("", "", "", "")


def test_what_is_not_deflated_although_agreed_is_read_as_it_is() -> None:
    assert identifiers_of(SOP + UIDS, DeflatedExplicitVRLittleEndian).study_instance_uid == "1.2"
    assert identifiers_of(zlib.compress(SOP + UIDS), DeflatedExplicitVRLittleEndian).study_instance_uid == "1.2"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES), st.booleans(), st.booleans())
def test_any_bytes_are_read_or_are_no_data_set(data: bytes, syntax: str, with_a_beginning: bool, whole: bool) -> None:
    beginning = encode(deep_data_set(), syntax, True)[:150] if with_a_beginning else b""
    found = read_identifiers(beginning + data, syntax, whole)
    assert found is None or found.elements_inspected <= 8 * len(beginning + data) + 1
