"""The beginning of a stored file is File Meta Information that pydicom reads; covers part10.py."""

from io import BytesIO

import pytest
from pydicom import dcmread

from storescp.part10 import encode_file_meta_information
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, data_set


def test_it_is_what_pydicom_reads_from_it() -> None:
    head = encode_file_meta_information(CT_IMAGE_STORAGE, "1.2.34", EXPLICIT_LITTLE, "CT1")
    file = dcmread(BytesIO(head + data_set("1.2.34")))
    assert file.file_meta.MediaStorageSOPClassUID == CT_IMAGE_STORAGE
    assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID == "1.2.34"
    assert file.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert file.file_meta.SourceApplicationEntityTitle == "CT1"
    assert file.file_meta.FileMetaInformationGroupLength == len(head) - 144
    assert file.file_meta.ImplementationClassUID.is_valid


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("uid", ["", "1", "1.2.3", "1" * 65, "DOE^JANE", "M\xfcller", "1" * 16_000])
def test_any_uid_of_a_command_can_stand_in_it(uid: str) -> None:
    head = encode_file_meta_information(uid, uid, EXPLICIT_LITTLE, "A TITLE")
    assert len(head) % 2 == 0
    assert int.from_bytes(head[140:144], "little") == len(head) - 144
    assert str(dcmread(BytesIO(head)).file_meta.get("MediaStorageSOPInstanceUID") or "").strip("\0") == uid
