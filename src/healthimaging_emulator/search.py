"""SearchImageSets: filters, order, and the DICOM attributes that a summary shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from healthimaging_emulator.errors import ServiceError
from healthimaging_emulator.image_sets import ImageSet
from healthimaging_emulator.reading import Instance

TAGS = {
    "DICOMPatientId": "PatientID",
    "DICOMPatientName": "PatientName",
    "DICOMPatientBirthDate": "PatientBirthDate",
    "DICOMPatientSex": "PatientSex",
    "DICOMStudyInstanceUID": "StudyInstanceUID",
    "DICOMStudyId": "StudyID",
    "DICOMStudyDescription": "StudyDescription",
    "DICOMAccessionNumber": "AccessionNumber",
    "DICOMSeriesInstanceUID": "SeriesInstanceUID",
    "DICOMSeriesModality": "Modality",
    "DICOMSeriesBodyPart": "BodyPartExamined",
    "DICOMStudyDate": "StudyDate",
    "DICOMStudyTime": "StudyTime",
}


def search_image_sets(image_sets: list[ImageSet], criteria: dict[str, Any]) -> list[ImageSet]:
    """The image sets that satisfy every filter, in the order asked for. Raises ServiceError (ValidationException)."""
    filters = criteria.get("filters", [])
    for each in filters:
        if each["operator"] == "BETWEEN" and len(each["values"]) != 2:
            raise ServiceError("ValidationException", "BETWEEN takes two values")
    found = [each for each in image_sets if all(_satisfies(each, one) for one in filters)]
    sort = criteria.get("sort")
    if sort:
        found.sort(key=lambda each: _comparable(each, sort["sortField"]), reverse=sort["sortOrder"] == "DESC")
    return found


def _satisfies(image_set: ImageSet, one: dict[str, Any]) -> bool:
    pairs = [next(iter(value.items())) for value in one["values"]]
    if one["operator"] == "BETWEEN":
        (name, low), (_, high) = pairs
        return bool(_wanted(low) <= _comparable(image_set, name) <= _wanted(high))
    return any(_comparable(image_set, name) == _wanted(value) for name, value in pairs)


def _wanted(value: Any) -> Any:
    if isinstance(value, dict):  # DICOMStudyDateAndTime
        return value["DICOMStudyDate"] + value.get("DICOMStudyTime", "")
    return value


def _comparable(image_set: ImageSet, name: str) -> Any:
    if name == "createdAt":
        return datetime.fromtimestamp(image_set.created_at, UTC)
    if name == "updatedAt":
        return datetime.fromtimestamp(image_set.updated_at, UTC)
    if name == "isPrimary":
        return image_set.is_primary
    if name == "DICOMStudyDateAndTime":
        return image_set.sample.StudyDate + image_set.sample.StudyTime
    return getattr(image_set.sample, TAGS[name])


def summaries(page: list[ImageSet], image_sets: list[ImageSet]) -> list[dict[str, Any]]:
    """What the answer says of the image sets on a page; `image_sets` are all, for the counts of a study."""
    studies: dict[str, list[ImageSet]] = {}
    for each in image_sets:
        studies.setdefault(each.sample.StudyInstanceUID, []).append(each)
    return [_summary(each, studies[each.sample.StudyInstanceUID]) for each in page]


def _summary(image_set: ImageSet, study: list[ImageSet]) -> dict[str, Any]:
    return {
        "imageSetId": image_set.image_set_id,
        "version": image_set.version,
        "createdAt": datetime.fromtimestamp(image_set.created_at, UTC),
        "updatedAt": datetime.fromtimestamp(image_set.updated_at, UTC),
        "storageTier": "FREQUENT_ACCESS",
        "isPrimary": image_set.is_primary,
        "DICOMTags": _tags(image_set.sample, study),
    }


def _tags(sample: Instance, study: list[ImageSet]) -> dict[str, Any]:
    tags: dict[str, Any] = {name: text for name, keyword in TAGS.items() if (text := getattr(sample, keyword))}
    if sample.SeriesNumber.removeprefix("-").isdigit():
        tags["DICOMSeriesNumber"] = int(sample.SeriesNumber)
    tags["DICOMNumberOfStudyRelatedSeries"] = len({each.sample.SeriesInstanceUID for each in study})
    tags["DICOMNumberOfStudyRelatedInstances"] = sum(len(each.current) for each in study)
    return tags
