"""The document of GetImageSetMetadata, with the attributes that the emulator keeps.

The real document holds every attribute; this one holds what tells instances apart, and the image frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from healthimaging_emulator.image_sets import ImageSet
from healthimaging_emulator.reading import Instance

PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription")
SERIES = ("SeriesInstanceUID", "SeriesNumber", "Modality", "BodyPartExamined")
INSTANCE = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")


def image_set_metadata(
    datastore_id: str, image_set: ImageSet, version: int, image_frames: Callable[[Instance], list[dict[str, Any]]]
) -> dict[str, Any]:
    """The metadata of one version, its instances with their image frames."""
    sample = image_set.sample
    instances = {
        each.instance.SOPInstanceUID: {
            "DICOM": _attributes(each.instance, INSTANCE),
            "StoredTransferSyntaxUID": each.instance.transfer_syntax_uid,
            "ImageFrames": image_frames(each.instance),
        }
        for each in image_set.at(version)
    }
    series = {"DICOM": _attributes(sample, SERIES), "Instances": instances}
    return {
        "SchemaVersion": "1.1",
        "DatastoreID": datastore_id,
        "ImageSetID": image_set.image_set_id,
        "Patient": {"DICOM": _attributes(sample, PATIENT)},
        "Study": {"DICOM": _attributes(sample, STUDY), "Series": {sample.SeriesInstanceUID: series}},
    }


def _attributes(instance: Instance, keywords: tuple[str, ...]) -> dict[str, str]:
    return {keyword: text for keyword in keywords if (text := getattr(instance, keyword))}
