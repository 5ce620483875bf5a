"""What the demonstration sends: files of a folder, the test files that ship with pydicom, a synthetic CT."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
# dcmtk 3.6.7 reads no High-Throughput JPEG 2000 and no JPEG XL; a device that has them speaks for itself in `make up`.
UNKNOWN_TO_DCMTK = ("1.2.840.10008.1.2.4.20", "1.2.840.10008.1.2.4.11")


@dataclass(frozen=True)
class DicomFile:
    """A DICOM Part 10 file and the identifiers that its C-STORE request will carry."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read(path: Path) -> DicomFile | None:
    """The identifiers of `path`, or None when it is no Part 10 file that can be sent as it is."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
        transfer_syntax_uid = str(dataset.file_meta.TransferSyntaxUID)
        sop_class_uid, sop_instance_uid = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
    except (InvalidDicomError, AttributeError, EOFError, OSError, ValueError, KeyError, NotImplementedError):
        return None  # not DICOM, a DICOMDIR, or too broken to be named: no sender could send it
    if transfer_syntax_uid.startswith(UNKNOWN_TO_DCMTK) or not sop_instance_uid:
        return None
    return DicomFile(path, sop_class_uid, sop_instance_uid, transfer_syntax_uid)


def files_of(folder: Path) -> list[DicomFile]:
    """Every DICOM file below `folder`, in the order of their paths; the others are passed over."""
    found = (read(path) for path in sorted(folder.rglob("*")) if path.is_file())
    return [file for file in found if file is not None]


def content(file: DicomFile) -> str:
    """SHA-256 of the data set as storescu sends it, with its transfer syntax: two files of one content are one image.

    The File Meta Information is the receiver's own, and storescu leaves Data Set Trailing Padding (FFFC,FFFC) away.
    """
    import pydicom

    body = file.path.read_bytes()
    start = 144 + int.from_bytes(body[140:144], "little") if body[132:140] == b"\x02\0\0\0UL\x04\0" else 0
    end = len(body)
    if file.transfer_syntax_uid != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:  # its offsets are not those of the file
        dataset = pydicom.dcmread(file.path)
        padding = dataset.get_item(0xFFFCFFFC) if 0xFFFCFFFC in dataset else None
        if isinstance(padding, pydicom.dataelem.RawDataElement):
            end = padding.value_tell - (8 if padding.is_implicit_VR else 12)
    return hashlib.sha256(file.transfer_syntax_uid.encode() + b"\0" + body[start:end]).hexdigest()


def belongs_to_a_series(path: Path) -> bool:
    """Whether the file names its study and its series, without which no archive can file it."""
    import pydicom

    dataset = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"], stop_before_pixels=True)
    return bool(dataset.get("StudyInstanceUID") and dataset.get("SeriesInstanceUID"))


def pydicom_test_files() -> list[DicomFile]:
    """The test files inside pydicom's package that say their study and series: of many kinds and transfer syntaxes."""
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several of these files are odd on purpose
        files = files_of(Path(pydicom.__file__).parent / "data" / "test_files")
        return [file for file in files if belongs_to_a_series(file.path)]


def synthetic_ct(folder: Path, slices: int, rows: int = 512, columns: int = 512) -> list[DicomFile]:
    """Write a CT of one study and one series, 16 bits a pixel, into `folder`; new UIDs at each call."""
    from pydicom.uid import generate_uid

    study_instance_uid, series_instance_uid = generate_uid(), generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _ct_slice(folder / f"slice-{number:04}.dcm", study_instance_uid, series_instance_uid, number, rows, columns)
        for number in range(1, slices + 1)
    ]


def _ct_slice(path: Path, study_uid: str, series_uid: str, number: int, rows: int, columns: int) -> DicomFile:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT_IMAGE_STORAGE, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.PatientName, dataset.PatientID = "Phantom^Water", "PHANTOM-1"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate, dataset.StudyTime = "20260101", "120000"
    dataset.StudyID, dataset.AccessionNumber = "1", "1"
    dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID = study_uid + ".1" if len(study_uid) < 63 else study_uid
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.5], 1
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = _gradient(number, rows, columns)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(CT_IMAGE_STORAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
    dataset.save_as(path, enforce_file_format=True)
    return DicomFile(path, CT_IMAGE_STORAGE, str(dataset.SOPInstanceUID), EXPLICIT_VR_LITTLE_ENDIAN)


def _gradient(number: int, rows: int, columns: int) -> bytes:
    """A slanting 12-bit ramp that differs from slice to slice; little-endian, rows × columns × 2 bytes."""
    period = b"".join(((value * 8 + number * 16) & 0x0FFF).to_bytes(2, "little") for value in range(rows + columns))
    return b"".join(period[2 * row : 2 * (row + columns)] for row in range(rows))


def total_bytes(files: Iterable[DicomFile]) -> int:
    """Bytes on disk of all of them."""
    return sum(file.path.stat().st_size for file in files)


JPEG_SPECTRAL_SELECTION = "1.2.840.10008.1.2.4.53"  # retired: HealthImaging keeps it as a blob, with warning B120
DESCRIPTION_LIMIT = 256  # characters of StudyDescription that HealthImaging takes (devguide, element constraints)


def refused_and_warned(folder: Path) -> tuple[DicomFile, DicomFile]:
    """Two instances of one study: HealthImaging refuses the first, and takes the second with a warning."""
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    refused, warned = synthetic_ct(folder, 2, 16, 16)
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(refused.path)
        dataset.StudyDescription = "x" * (DESCRIPTION_LIMIT + 1)
        dataset.save_as(refused.path)
    dataset = pydicom.dcmread(warned.path)
    dataset.PixelData = encapsulate([dataset.PixelData])  # no picture: nobody here decodes it
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = UID(JPEG_SPECTRAL_SELECTION)
    dataset.save_as(warned.path, implicit_vr=False, little_endian=True)
    return refused, DicomFile(warned.path, CT_IMAGE_STORAGE, warned.sop_instance_uid, JPEG_SPECTRAL_SELECTION)
