"""The frames of an instance, cut out of its pixel data (PS3.5, 8) never decoded; and what metadata says of them."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import pydicom
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRBigEndian

from healthimaging_emulator.reading import UNREADABLE


def image_frames(name: str, data: bytes) -> list[dict[str, Any]]:
    """The entries `ImageFrames` of GetImageSetMetadata, with the CRC32 of each frame at full resolution.

    AWS HealthImaging, "Pixel data verification": the checksums are of the decoded pixel data, so only uncompressed
    instances have them here.
    """
    try:
        dataset = pydicom.dcmread(BytesIO(data))
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return []
        frames = _frames(dataset) or []
    except UNREADABLE:
        return []
    return [
        {
            "ID": f"{name[:24]}{number:08x}",
            "PixelDataChecksumFromBaseToFullResolution": [
                {"Width": int(dataset.Columns), "Height": int(dataset.Rows), "Checksum": zlib.crc32(frame)}
            ],
            "FrameSizeInBytes": len(frame),
        }
        for number, frame in enumerate(frames, start=1)
    ]


def frames_of(data: bytes) -> list[bytes] | None:
    """The frames of a Part 10 file, little endian if uncompressed; None when it has no pixel data that can be cut."""
    return _frames(pydicom.dcmread(BytesIO(data)))


def _frames(dataset: Any) -> list[bytes] | None:
    pixels = dataset.get("PixelData")
    if pixels is None:
        return None
    count = int(dataset.get("NumberOfFrames") or 1)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        return list(generate_frames(pixels, number_of_frames=count))
    size = _frame_bytes(dataset)
    if size is None or size * count > len(pixels):
        return None
    if syntax == ExplicitVRBigEndian and int(dataset.BitsAllocated) == 16:
        swapped = bytearray(pixels)
        swapped[0::2], swapped[1::2] = pixels[1::2], pixels[0::2]
        pixels = bytes(swapped)
    return [pixels[number * size : (number + 1) * size] for number in range(count)]


def _frame_bytes(dataset: Any) -> int | None:
    """The length of one uncompressed frame in bytes; None when the attributes do not tell (PS3.5, 8.1.1)."""
    try:
        bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated)
    except (AttributeError, TypeError, ValueError):
        return None
    bits *= int(dataset.get("SamplesPerPixel") or 1)
    return bits // 8 if bits and bits % 8 == 0 else None
