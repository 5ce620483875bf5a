"""Synthetic objects to send: CT slices of 512 KiB, objects of 2 KiB, a multi-frame object of any size.

Every instance of a kind is one template with another SOP Instance UID of the same length, so a thousand
slices cost a thousand writes and no encoding. Nothing here comes from a patient.
"""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME_GRAYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
STUDY_UID = "2.25.101"
SERIES_UID = "2.25.102"
_UID_FORMAT = "2.25.{kind}{number:07d}"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Kind:
    """One sort of object: `name` (its folder), `digit` (keeps its UIDs apart), `rows` × `columns` 16-bit pixels."""

    name: str
    digit: int
    rows: int
    columns: int


CT = Kind("ct", 1, 512, 512)
SMALL = Kind("small", 2, 28, 28)
WARM_UP = Kind("warm-up", 3, 28, 28)
SLOW = Kind("slow", 4, 512, 512)
KINDS = (CT, SMALL, WARM_UP, SLOW)


@dataclass(frozen=True)
class Instance:
    """What a C-STORE needs: class and instance UIDs, the data set's length in bytes, and its bytes in chunks."""

    sop_class_uid: str
    sop_instance_uid: str
    length_bytes: int
    chunks: tuple[bytes | memoryview, ...]


def uid(kind: Kind, number: int) -> str:
    """The SOP Instance UID of the `number`-th instance of `kind`."""
    return _UID_FORMAT.format(kind=kind.digit, number=number)


def files(cache: Path, kind: Kind, first: int, count: int) -> list[Path]:
    """Paths of the Part 10 files of instances `first` … `first + count - 1`, written below `cache` where missing."""
    folder = cache / f"{kind.name}-{kind.rows}x{kind.columns}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {number: folder / f"{number:07d}.dcm" for number in range(first, first + count)}
    template = b""
    for number, path in wanted.items():
        if path.exists():
            continue
        template = template or _encode(kind, preamble=True)
        partial = path.with_suffix(".part")
        partial.write_bytes(template.replace(uid(kind, 0).encode(), uid(kind, number).encode()))
        partial.rename(path)
    return list(wanted.values())


def instances(kind: Kind, first: int, count: int) -> Iterator[Instance]:
    """The same instances as data sets without file meta information, made on the fly."""
    template = _encode(kind, preamble=False)
    for number in range(first, first + count):
        data = template.replace(uid(kind, 0).encode(), uid(kind, number).encode())
        yield Instance(CT_IMAGE_STORAGE, uid(kind, number), len(data), (data,))


def multi_frame(number: int, size_mib: int) -> Instance:
    """A multi-frame object with `size_mib` MiB of pixels that repeats one chunk: it takes 1 MiB of memory."""
    frame_side = 512
    dataset = _dataset(MULTI_FRAME_GRAYSCALE_WORD, f"2.25.9{number:07d}", frame_side, frame_side)
    dataset.NumberOfFrames = size_mib * _CHUNK_BYTES // (frame_side * frame_side * 2)
    dataset.PixelData = b""
    head = bytearray(_write(dataset, preamble=False))
    head[-4:] = (size_mib * _CHUNK_BYTES).to_bytes(4, "little")
    chunk = memoryview(random.Random(0).randbytes(_CHUNK_BYTES))
    length = len(head) + size_mib * _CHUNK_BYTES
    return Instance(
        MULTI_FRAME_GRAYSCALE_WORD,
        dataset.SOPInstanceUID,
        length,
        (bytes(head), *[chunk] * size_mib),
    )


def _encode(kind: Kind, *, preamble: bool) -> bytes:
    dataset = _dataset(CT_IMAGE_STORAGE, uid(kind, 0), kind.rows, kind.columns)
    dataset.PixelData = random.Random(kind.digit).randbytes(kind.rows * kind.columns * 2)
    return _write(dataset, preamble=preamble)


def _dataset(sop_class_uid: str, sop_instance_uid: str, rows: int, columns: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.Modality = "CT"
    dataset.PatientName = "Benchmark^Synthetic"
    dataset.PatientID = "BENCH"
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.InstanceNumber = 1
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    return dataset


def _write(dataset: Dataset, *, preamble: bool) -> bytes:
    if not preamble:
        return _written(dataset, as_file=False)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return _written(dataset, as_file=True)


def _written(dataset: Dataset, *, as_file: bool) -> bytes:
    buffer = io.BytesIO()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=as_file)
    return buffer.getvalue()
