"""The DICOM JSON model (PS3.18 annex F), for the attributes that the emulator speaks of."""

from __future__ import annotations

from typing import Any

# Keyword: tag and VR (PS3.6).
ELEMENTS: dict[str, tuple[str, str]] = {
    "SOPClassUID": ("00080016", "UI"),
    "SOPInstanceUID": ("00080018", "UI"),
    "StudyDate": ("00080020", "DA"),
    "StudyTime": ("00080030", "TM"),
    "AccessionNumber": ("00080050", "SH"),
    "InstanceAvailability": ("00080056", "CS"),
    "Modality": ("00080060", "CS"),
    "ModalitiesInStudy": ("00080061", "CS"),
    "StudyDescription": ("00081030", "LO"),
    "ReferencedSOPClassUID": ("00081150", "UI"),
    "ReferencedSOPInstanceUID": ("00081155", "UI"),
    "RetrieveURL": ("00081190", "UR"),
    "WarningReason": ("00081196", "US"),
    "FailureReason": ("00081197", "US"),
    "FailedSOPSequence": ("00081198", "SQ"),
    "ReferencedSOPSequence": ("00081199", "SQ"),
    "PatientName": ("00100010", "PN"),
    "PatientID": ("00100020", "LO"),
    "PatientBirthDate": ("00100030", "DA"),
    "PatientSex": ("00100040", "CS"),
    "BodyPartExamined": ("00180015", "CS"),
    "StudyInstanceUID": ("0020000D", "UI"),
    "SeriesInstanceUID": ("0020000E", "UI"),
    "StudyID": ("00200010", "SH"),
    "SeriesNumber": ("00200011", "IS"),
    "InstanceNumber": ("00200013", "IS"),
    "NumberOfStudyRelatedSeries": ("00201206", "IS"),
    "NumberOfStudyRelatedInstances": ("00201208", "IS"),
    "NumberOfSeriesRelatedInstances": ("00201209", "IS"),
}
KEYWORD_OF_TAG = {tag: keyword for keyword, (tag, _) in ELEMENTS.items()}


def keyword_of(name: str) -> str | None:
    """The keyword that a query parameter names, by keyword or by tag; None when it is not known here."""
    return name if name in ELEMENTS else KEYWORD_OF_TAG.get(name.upper())


def element(keyword: str, *values: Any) -> dict[str, Any]:
    """One element as a member of a data set: tag, VR, and the values that are not empty."""
    tag, vr = ELEMENTS[keyword]
    present = [_value(vr, each) for each in values if each not in ("", None)]
    return {tag: {"vr": vr, "Value": present} if present else {"vr": vr}}


def _value(vr: str, value: Any) -> Any:
    if vr == "PN":
        return {"Alphabetic": value}
    if vr == "IS":
        return int(value) if str(value).removeprefix("-").isdigit() else value
    return value
