"""What the HealthImaging emulator refuses, and what it takes, object by object.

Covers completeness.py, instance_files.py.
"""

from __future__ import annotations

import copy
import hashlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from healthimaging_emulator.reading import Refused, read_instance
from tests.testkit.emulator_bench import dataset_of, encoded, part10

TRANSFER_SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
]


def in_syntax(uid: str) -> Dataset:
    """An image with a sequence, in the given transfer syntax."""
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3.4"
    dataset = dataset_of(ReferencedImageSequence=[item])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid
    if uid == JPEG2000Lossless:
        dataset.PixelData = encapsulate([b"\xff\x4f" * 40])
        dataset["PixelData"].is_undefined_length = True
    return dataset


def ends_of_elements(dataset: Dataset) -> set[int]:
    """Where the file could end and be whole: there, nothing but the absence of later elements would tell."""
    shorter = copy.deepcopy(dataset)
    ends = set()
    for tag in sorted(dataset.keys(), reverse=True):
        ends.add(len(encoded(shorter)))
        del shorter[tag]
    return ends | {len(encoded(shorter))}


def without_transfer_syntax() -> bytes:
    dataset = dataset_of()
    del dataset.file_meta.TransferSyntaxUID
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    return b"\0" * 128 + b"DICM" + file.getvalue().removeprefix(b"\0" * 128 + b"DICM")


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a text file": (lambda: b"Dear radiologist, " * 40, "not a DICOM P10 file"),
    "an empty object": (lambda: b"", "empty"),
    "a gzip file": (lambda: b"\x1f\x8b\x08" + b"\0" * 200, "not a DICOM P10 file"),
    "a preamble and no more": (lambda: b"\0" * 128 + b"DICM", "TransferSyntaxUID is missing"),
    "no transfer syntax": (without_transfer_syntax, "attribute TransferSyntaxUID is missing"),
    "no SOP Instance UID": (lambda: part10(SOPInstanceUID=None), "attribute SOPInstanceUID is missing"),
    "no Study Instance UID": (lambda: part10(StudyInstanceUID=None), "attribute StudyInstanceUID is missing"),
    "an empty Series Instance UID": (lambda: part10(SeriesInstanceUID=""), "attribute SeriesInstanceUID is missing"),
    "a Patient ID of 257 bytes": (lambda: too_long("PatientID", 257), "PatientID is longer than 256"),
    "a Study Date of 20 bytes": (lambda: too_long("StudyDate", 20), "StudyDate is longer than 18"),
    "a Study Time of 30 bytes": (lambda: too_long("StudyTime", 30), "StudyTime is longer than 28"),
    "a sex of 17 bytes": (lambda: too_long("PatientSex", 17), "PatientSex is longer than 16"),
    "a UID of 300 bytes": (lambda: too_long("StudyInstanceUID", 300), "StudyInstanceUID is longer than 256"),
}


def too_long(keyword: str, length: int) -> bytes:
    """A file whose element has `length` bytes (an even number of them, as PS3.5 asks)."""
    with pydicom.config.disable_value_validation():
        attributes: dict[str, Any] = {keyword: "1" * length}
        return part10(**attributes)


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_object_is_refused_with_its_reason(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(Refused, match=reason):
        read_instance(make())


@pytest.mark.parametrize("uid", TRANSFER_SYNTAXES)
def test_a_file_that_ends_anywhere_within_an_element_is_refused(uid: str) -> None:
    dataset = in_syntax(uid)
    whole = encoded(dataset)
    assert read_instance(whole).transfer_syntax_uid == uid
    # A deflated data set has no end but its last byte (and a byte that makes its length even).
    whole_ends = {len(whole) - 1} if uid == DeflatedExplicitVRLittleEndian else ends_of_elements(dataset)
    for length in set(range(132, len(whole))) - whole_ends:
        with pytest.raises(Refused):
            read_instance(whole[:length])


def test_an_element_that_claims_more_than_there_is_is_noticed() -> None:
    whole = encoded(in_syntax(ExplicitVRLittleEndian))
    header = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", 64)
    assert whole.count(header) == 1
    with pytest.raises(Refused, match=r"\(7FE0,0010\) ends 1000 bytes after the end"):
        read_instance(whole.replace(header, header[:-4] + struct.pack("<L", 1064)))


def test_sequences_nested_without_end_are_refused() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    endless = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + item
    with pytest.raises(Refused):
        read_instance(part10() + endless * 5000)


def test_bytes_are_not_touched() -> None:
    whole = part10()
    instance = read_instance(whole)
    assert instance.sha256 == hashlib.sha256(whole).hexdigest()
    assert (instance.SOPInstanceUID, instance.StudyInstanceUID, instance.PatientID) == ("1.2.3.1.1.1", "1.2.3", "P1")
    assert not instance.warnings


def test_an_unsupported_transfer_syntax_is_a_warning() -> None:
    dataset = dataset_of()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.113619.5.2.99"
    warned = read_instance(encoded(dataset, implicit_vr=False, little_endian=True)).warnings
    assert [(each.warning_reason_code, each.type) for each in warned] == [(45344, "UnsupportedTransferSyntax")]


def test_a_uid_that_is_none_is_a_warning() -> None:
    with pydicom.config.disable_value_validation():
        warned = read_instance(part10(SeriesInstanceUID="1.02.abc")).warnings
    assert [(each.warning_reason_code, each.type) for each in warned] == [(45570, "InvalidUidFormat")]


def test_of_the_files_that_ship_with_pydicom_the_broken_ones_are_refused() -> None:
    refused = {}
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        try:
            read_instance(path.read_bytes())
        except Refused as error:
            refused[path.name] = str(error)
    assert {"MR_truncated.dcm", "rtplan_truncated.dcm", "meta_missing_tsyntax.dcm", "no_meta.dcm"} <= refused.keys()
    assert not {"CT_small.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "JPEG2000.dcm", "SC_rgb_jpeg.dcm"} & refused.keys()
    assert "incomplete" in refused["MR_truncated.dcm"]
