"""What HealthImaging reads from one object: a Part 10 file, its identifiers, and why it may be refused.

AWS HealthImaging, "DICOM support" (element constraints, transfer syntaxes, warnings). Pixel data is never decoded here.
"""

from __future__ import annotations

import hashlib
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from healthimaging_emulator.completeness import Incomplete, elements

# Largest length in bytes of the value, by keyword; every UID of the data set has UID_BYTES.
LONGEST_BYTES = {
    "PatientName": 256,
    "PatientID": 256,
    "StudyID": 256,
    "AccessionNumber": 256,
    "StudyDescription": 256,
    "PatientBirthDate": 18,
    "PatientSex": 16,
    "StudyDate": 18,
    "StudyTime": 28,
}
UID_BYTES = 256
IDENTIFIERS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
KEPT = (
    *LONGEST_BYTES,
    *IDENTIFIERS,
    "SOPClassUID",
    "SeriesNumber",
    "Modality",
    "BodyPartExamined",
    "InstanceNumber",
)
WELL_FORMED_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")

_JPEG = ("50", "51", "57", "70", "80", "81", "90", "91", "92", "93")
_VIDEO = (
    "100",
    "100.1",
    "101",
    "101.1",
    "102",
    "102.1",
    "103",
    "103.1",
    "104",
    "104.1",
    "105",
    "105.1",
    "106",
    "106.1",
)
_NEWER = ("107", "108", "110", "111", "112", "201", "202", "203")
SUPPORTED_TRANSFER_SYNTAXES = frozenset(
    {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"}
    | {
        f"1.2.840.10008.1.2.4.{number}"
        for number in (*_JPEG, *_VIDEO, *(each for each in _NEWER if each not in ("110", "111")))
    }
)

# Broken files leave pydicom in many ways.
UNREADABLE = (
    *(EOFError, zlib.error, OSError, ValueError, LookupError, AttributeError, TypeError),
    *(NotImplementedError, RecursionError, struct.error, BytesLengthException),
)
# pydicom reads with process-wide settings and warns through process-wide filters.
_READING = threading.Lock()


class Refused(Exception):
    """HealthImaging does not import this object; the message becomes that of its line in failure.ndjson."""


@dataclass(frozen=True)
class Warned:
    """One entry of `warnings` in warning.ndjson; the code is the decimal that the documentation prints."""

    warning_reason_code: int
    type: str
    message: str


@dataclass(frozen=True)
class Instance:
    """What is kept of one object. `attributes` holds text by DICOM keyword; what the object lacks is not in it."""

    sha256: str
    transfer_syntax_uid: str
    attributes: dict[str, str]
    warnings: tuple[Warned, ...]

    def __getattr__(self, keyword: str) -> str:
        if keyword in KEPT:
            return self.attributes.get(keyword, "")
        raise AttributeError(keyword)


# The types that the documentation gives to warning codes, in the spelling of warning.ndjson's example where it has one.
WARNING_TYPES = {
    45056: "CoercionOfDataElements",
    45062: "ElementsDiscarded",
    45063: "SopClassDataMismatch",
    45312: "TranscodingException",
    45328: "FramesExtractionFailure",
    45329: "FrameNumberMismatch",
    45330: "InvalidOffsetTable",
    45344: "UnsupportedTransferSyntax",
    45570: "InvalidUidFormat",
}


def with_injected_warnings(instance: Instance, warned_instances: Mapping[str, int]) -> Instance:
    """The instance with the warnings that the settings ask for: part of a SOP Instance UID, decimal code."""
    codes = [code for part, code in warned_instances.items() if part in instance.SOPInstanceUID]
    if not codes:
        return instance
    added = (Warned(code, WARNING_TYPES.get(code, "Other"), "The emulator's settings asked for it") for code in codes)
    return replace(instance, warnings=(*instance.warnings, *added))


def read_instance(data: bytes) -> Instance:
    """Read one object. Raises Refused."""
    with _READING, warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        dataset = _dataset(data)
        transfer_syntax = _transfer_syntax(dataset)
        _require_complete(data, transfer_syntax)
        attributes = _attributes(dataset)
    return Instance(
        hashlib.sha256(data).hexdigest(), transfer_syntax, attributes, tuple(_warnings(transfer_syntax, attributes))
    )


def _dataset(data: bytes) -> Any:
    if not data:
        raise Refused("<the object is empty>")
    try:
        return pydicom.dcmread(BytesIO(data), stop_before_pixels=True, force=False)
    except InvalidDicomError as error:
        raise Refused("<the object is not a DICOM P10 file: DICM prefix is missing>") from error
    except UNREADABLE as error:
        raise Refused(f"<the DICOM P10 file cannot be read: {type(error).__name__}>") from error


def _transfer_syntax(dataset: Any) -> str:
    uid = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if not uid:
        raise Refused("<attribute TransferSyntaxUID is missing>")
    return uid


def _require_complete(data: bytes, transfer_syntax: str) -> None:
    """Raise Refused when the file ends before its elements do."""
    try:
        body: bytes | memoryview = memoryview(data)[_data_set_start(data) :]
        if transfer_syntax == DeflatedExplicitVRLittleEndian:
            body = _inflated(body)
        # Some writers leave implicit VR under an explicit transfer syntax, or the other way round: the first VR tells.
        explicit = bytes(body[4:6]).isalpha() and bytes(body[4:6]).isupper()
        if not list(elements(body, 0, explicit, transfer_syntax != ExplicitVRBigEndian)):
            raise Refused("<the DICOM P10 file has no data set>")
    except Incomplete as error:
        raise Refused(f"<the DICOM P10 file is incomplete: {error}>") from error


def _data_set_start(data: bytes) -> int:
    """Where group 2 ends, which is always in explicit VR little endian (PS3.10, 7.1)."""
    after_meta = (position for (group, _), position in elements(data, 132, True, True) if group != 2)
    return next(after_meta, len(data))


def _inflated(deflated: bytes | memoryview) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(deflated)
    if not inflater.eof:
        raise Incomplete("the deflated data set is cut off")
    return body


def _attributes(dataset: Any) -> dict[str, str]:
    """The kept attributes as text. Raises Refused for one that is missing or too long."""
    utf8 = b"192" in _raw(dataset, "SpecificCharacterSet")
    attributes = {}
    for keyword in KEPT:
        value = _raw(dataset, keyword)
        longest = LONGEST_BYTES.get(keyword, UID_BYTES)
        if len(value) > longest:
            raise Refused(f"<attribute {keyword} is longer than {longest} bytes>")
        text = value.decode("utf-8" if utf8 else "latin-1", "replace").strip(" \0")
        if text:
            attributes[keyword] = text
    for keyword in IDENTIFIERS:
        if keyword not in attributes:
            raise Refused(f"<attribute {keyword} is missing>")
    return attributes


def _raw(dataset: Any, keyword: str) -> bytes:
    """The value's bytes as they stand in the file; empty when the element is absent."""
    element = dataset.get_item(keyword)
    value = element.value if element is not None else None
    return value if isinstance(value, bytes) else str(value or "").encode()


def _warnings(transfer_syntax: str, attributes: dict[str, str]) -> list[Warned]:
    found = []
    if transfer_syntax not in SUPPORTED_TRANSFER_SYNTAXES:
        found.append(Warned(45344, WARNING_TYPES[45344], f"Transfer syntax {transfer_syntax} is stored as it is"))
    for keyword in (*IDENTIFIERS, "SOPClassUID"):
        uid = attributes.get(keyword, "")
        if uid and not (len(uid) <= 64 and WELL_FORMED_UID.fullmatch(uid)):
            found.append(Warned(45570, WARNING_TYPES[45570], f"{keyword} is not a valid UID"))
    return found
