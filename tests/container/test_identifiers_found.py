"""Identifiers are what pydicom reads, in every file that it ships and every encoding."""

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

from storescp.identifiers import IncompleteDataSet, UnreadableDataSet, read_identifiers

FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


MISLABELLED = "SC_rgb_jpeg.dcm"  # its data set is implicit, its transfer syntax is not


def has_file_meta(path: Path) -> bool:
    content = path.read_bytes()
    return content[128:140] == b"DICM\x02\0\0\0UL\x04\0" and b"\x02\0\x10\0UI" in content[:1000]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "path", [path for path in FILES if has_file_meta(path) and path.name != MISLABELLED], ids=lambda path: path.name
)
def test_identifiers_are_what_pydicom_reads(path: Path) -> None:
    content = path.read_bytes()
    data = content[144 + int.from_bytes(content[140:144], "little") :]
    expected = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
    found = read_identifiers(data, expected.file_meta.TransferSyntaxUID)
    assert (found.sop_class_uid, found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid) == tuple(
        str(expected.get(name, ""))
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )


def test_implicit_elements_under_an_explicit_syntax_are_refused() -> None:
    content = next(path for path in FILES if path.name == MISLABELLED).read_bytes()
    data = content[144 + int.from_bytes(content[140:144], "little") :]
    with pytest.raises(UnreadableDataSet, match="no value representation"):
        read_identifiers(data, ExplicitVRLittleEndian)


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
    found = read_identifiers(encode(deep_data_set(), syntax, undefined_length), syntax)
    assert (found.sop_instance_uid, found.study_instance_uid, found.series_instance_uid) == (
        "1.2.3.4",
        "1.2.3",
        "1.2.3.5",
    )


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_beginning_is_incomplete_or_misses_something_but_never_wrong(syntax: str, undefined_length: bool) -> None:
    encoded = encode(deep_data_set(), syntax, undefined_length)
    whole = read_identifiers(encoded, syntax)
    step = 1 if syntax == DeflatedExplicitVRLittleEndian else 97
    for length in range(0, len(encoded), step):
        try:
            found = read_identifiers(encoded[:length], syntax)
        except IncompleteDataSet:
            continue
        for name in ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid"):
            assert getattr(found, name) in ("", getattr(whole, name))


def test_un_of_undefined_length_holds_implicit_little_endian() -> None:
    item = struct.pack("<HHI", 0x0009, 0x1001, 4) + b"\xfe\xff\xdd\xe0"
    sequence = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1000, b"UN", 0, 0xFFFFFFFF) + sequence
    study = struct.pack("<HH2sH", 0x0020, 0x000D, b"UI", 4) + b"1.2\0"
    assert read_identifiers(unknown + study, ExplicitVRLittleEndian).study_instance_uid == "1.2"


def test_a_bomb_is_not_inflated() -> None:
    element = struct.pack("<HH2sHI", 0x0009, 0x1000, b"OB", 0, 0x7FFFFFF0)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(element + bytes(64 * 1024 * 1024)) + deflater.flush()
    with pytest.raises(UnreadableDataSet, match="8388608"):
        read_identifiers(bomb, DeflatedExplicitVRLittleEndian)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, syntax: str, with_a_beginning: bool) -> None:
    beginning = encode(deep_data_set(), syntax, True)[:150] if with_a_beginning else b""
    try:
        read_identifiers(beginning + data, syntax)
    except UnreadableDataSet as error:
        assert str(error)
