"""Nothing that a patient could be known by is shown, whatever HealthImaging quotes."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.dataset import Dataset

from storescp_cfn.account.masking import masked_elements, masked_reason


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("<attribute TransferSyntaxUID is missing>", "<attribute TransferSyntaxUID is missing>"),
        ("StudyDescription is too long: 300 > 256", "StudyDescription is too long: 300 > 256"),
        ("PatientName 'DOE^JOHN' is too long", "PatientName … is too long"),
        ("PatientName DOE^JOHN is too long", "PatientName … is too long"),
        ('value "ASSUMED SUPINE" of (0010,0020) is invalid', "value … of (0010,0020) is invalid"),
        ("Müller, born 19610304, has no match", "…, has no match"),
        ("invalid value for 'PatientID'", "invalid value for 'PatientID'"),
        ("\x1b[2J LONG^MARK", "…"),
        ("", ""),
    ],
)
def test_only_known_words_are_shown(reason: str, shown: str) -> None:
    assert masked_reason(reason) == shown


def test_a_header_shows_lengths_in_place_of_values() -> None:
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID, dataset.Modality, dataset.Rows = "DOE^JOHN", "SECRET-7", "CT", 512
    dataset.StudyDescription = "of John"
    dataset.add_new(0x00091001, "LO", "John")
    rows = list(masked_elements(pydicom.dcmread(_written(dataset))))
    shown = {keyword: value for _, _, keyword, value in rows}
    assert shown["Modality"] == "CT"
    assert shown["Rows"] == "512"
    assert shown["PatientID"] == "(8 bytes)"
    assert not any(word in repr(rows) for word in ("DOE", "John", "SECRET"))


def _written(dataset: Dataset) -> object:
    import io

    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file
