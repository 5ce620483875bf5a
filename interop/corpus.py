"""What is sent: every file of pydicom and pydicom-data that names what it is, whatever else is odd about it."""

from __future__ import annotations

import warnings
from pathlib import Path

from storescp_cfn.local.study import DicomFile


def corpus() -> list[DicomFile]:
    """Files of both packages in the order of their paths; the ones without class, instance or syntax are left out."""
    import data_store
    import pydicom

    folders = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # many of these files are odd on purpose
        found = (read(path) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
        return [file for file in found if file is not None]


def read(path: Path) -> DicomFile | None:
    """The identifiers of a Part 10 file."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        dataset = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
        syntax = dataset.file_meta.TransferSyntaxUID
        uids = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), str(syntax)
    except (InvalidDicomError, AttributeError, EOFError, OSError, ValueError, KeyError, NotImplementedError):
        return None
    return DicomFile(path, *uids) if all(uids) else None


def data_set_of(file: bytes) -> bytes:
    """What follows the file meta information, which begins with its own length (PS3.10 section 7.1)."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def transfer_syntax_of(path: Path) -> str:
    """The Transfer Syntax UID that a stored file says it has."""
    from pydicom.filereader import read_file_meta_info

    return str(read_file_meta_info(path).TransferSyntaxUID)
