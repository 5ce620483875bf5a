"""dcmtk's reports are read right, and its absence is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from storescp_cfn.local import dcmtk
from storescp_cfn.local.study import DicomFile


def file(name: str, syntax: str = "1.2.840.10008.1.2.1", sop_class: str = "1.2.840.10008.5.1.4.1.1.2") -> DicomFile:
    return DicomFile(Path(f"/data/{name}"), sop_class, f"1.2.3.{len(name)}", syntax)


def test_each_file_gets_the_status_of_its_own_response() -> None:
    files = [file(name) for name in "abcde"]
    report = [
        "I: Requesting Association\n",
        "I: Sending file: /data/a\n",
        "I: Received Store Response (Success)\n",
        "I: Sending file: /data/b\n",
        "I: Received Store Response (Refused: OutOfResources)\n",
        "I: Sending file: /data/c\n",
        "E: Bad DICOM file: /data/c: Invalid stream\n",
        "I: Sending file: /data/d\n",
        "I: Received Store Response (Success)\n",
        "E: Association lost\n",
    ]
    outcomes = [(sent.file.path.name, sent.status) for sent in dcmtk.outcomes(files, report)]
    assert outcomes == [
        ("a", "Success"),
        ("b", "Refused: OutOfResources"),
        ("c", "not sent: Bad DICOM file: Invalid stream"),
        ("d", "Success"),
        ("e", "not sent: Association lost"),
    ]


def test_an_association_never_proposes_more_contexts_than_the_standard_allows() -> None:
    files = [file(str(number), syntax=f"1.2.{number}") for number in range(300)]
    parts = list(dcmtk.associations(files))
    assert [one for part in parts for one in part] == files
    assert max(len({(f.sop_class_uid, f.transfer_syntax_uid) for f in part}) for part in parts) <= 128


def test_many_files_of_one_kind_share_an_association_up_to_its_length() -> None:
    files = [file(str(number)) for number in range(dcmtk.FILES_PER_ASSOCIATION + 1)]
    assert [len(part) for part in dcmtk.associations(files)] == [dcmtk.FILES_PER_ASSOCIATION, 1]


def test_a_missing_dcmtk_is_said_with_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DCMTK_BIN", str(tmp_path))
    with pytest.raises(dcmtk.DcmtkMissing, match=f"storescu is not in {tmp_path}: install it"):
        dcmtk.program("storescu")
