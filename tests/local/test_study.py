"""What the demonstration sends is DICOM, and what is not DICOM is passed over."""

from __future__ import annotations

from pathlib import Path

import pydicom

from storescp_cfn.local.study import files_of, pydicom_test_files, synthetic_ct


def test_the_synthetic_ct_is_one_study_of_distinct_slices(tmp_path: Path) -> None:
    files = synthetic_ct(tmp_path, slices=3)
    datasets = [pydicom.dcmread(file.path) for file in files]
    assert {str(dataset.SOPInstanceUID) for dataset in datasets} == {file.sop_instance_uid for file in files}
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1
    assert len({dataset.PixelData for dataset in datasets}) == 3
    assert all(len(dataset.PixelData) == 512 * 512 * 2 for dataset in datasets)


def test_a_folder_gives_its_dicom_files_and_nothing_else(tmp_path: Path) -> None:
    synthetic_ct(tmp_path / "study", slices=2, rows=16, columns=16)
    (tmp_path / "readme.txt").write_text("no DICOM")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "preamble-only.dcm").write_bytes(bytes(128) + b"DICM")
    assert [file.path.name for file in files_of(tmp_path)] == ["slice-0001.dcm", "slice-0002.dcm"]


def test_pydicom_ships_files_of_many_transfer_syntaxes() -> None:
    files = pydicom_test_files()
    assert len(files) > 60
    assert len({file.transfer_syntax_uid for file in files}) >= 10
