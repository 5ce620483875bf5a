"""A small synthetic study that says of itself that it is a test: what `verify` sends."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ROWS, COLUMNS = 64, 64
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
PATIENT_ID = "STORESCP-TEST"


@dataclass(frozen=True)
class ProbeStudy:
    """Instances of one series. pixel_checksums: SOP Instance UID to the CRC32 of its pixel data."""

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[Any, ...]
    pixel_checksums: dict[str, int]


def make(slices: int = 3) -> ProbeStudy:
    """A CT with new UIDs; its pixels differ from slice to slice."""
    from pydicom.uid import generate_uid

    study_instance_uid, series_instance_uid = str(generate_uid()), str(generate_uid())
    instances = tuple(
        _slice(study_instance_uid, series_instance_uid, str(generate_uid()), number) for number in range(1, slices + 1)
    )
    checksums = {str(one.SOPInstanceUID): zlib.crc32(one.PixelData) for one in instances}
    return ProbeStudy(study_instance_uid, series_instance_uid, instances, checksums)


def _slice(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str, number: int) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    utc_now = datetime.now(UTC)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT_IMAGE_STORAGE, sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_instance_uid, series_instance_uid
    dataset.PatientName, dataset.PatientID = "StoreSCP^Test", PATIENT_ID
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate, dataset.StudyTime = utc_now.strftime("%Y%m%d"), utc_now.strftime("%H%M%S")
    dataset.StudyDescription, dataset.StudyID = "StoreSCP test: no patient, may be deleted", "TEST"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "STORESCPTEST", ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, number
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = series_instance_uid, ""
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = b"".join(
        ((row * column * number) & 0x0FFF).to_bytes(2, "little") for row in range(ROWS) for column in range(COLUMNS)
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(CT_IMAGE_STORAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
    return dataset


def part10(dataset: Any) -> bytes:
    """The DICOM file of an instance (PS3.10)."""
    import io

    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
