"""HealthImaging's import warnings: what each code means for who wants to read the image again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

GUIDE = "https://docs.aws.amazon.com/healthimaging/latest/devguide/reference-warning-codes.html"
HARMLESS, SERIOUS = "harmless", "serious"


class ImportWarning(NamedTuple):
    """A warning of `warning.ndjson` as received: `warning_reason_code` in decimal, `type` as written."""

    code: int
    type: str


class WarningCode(NamedTuple):
    """A documented warning. Serious: HealthImaging cannot give the image back whole, so its original is kept."""

    name: str
    policy: str
    meaning: str
    source: str = GUIDE


# By decimal code: three of the guide's pairs of hexadecimal and decimal do not convert into each other, so both stand.
WARNING_CODES = {
    0xB000: WarningCode("COERCION", HARMLESS, "HealthImaging coerced data elements."),
    0xB006: WarningCode("ELEMENTS_DISCARDED", HARMLESS, "HealthImaging discarded data elements."),
    0xB007: WarningCode("SOP_CLASS_MISMATCH", HARMLESS, "The data set does not match its SOP class."),
    0xB100: WarningCode("TRANSCODING_EXCEPTION", SERIOUS, "The image could not be transcoded and is kept as a blob."),
    0xB110: WarningCode(
        "FRAMES_EXTRACTION_FAILURE", SERIOUS, "The pixel data is malformed: no frame can be retrieved."
    ),
    0xB111: WarningCode(
        "FRAME_NUMBER_MISMATCH", SERIOUS, "The pixel data is malformed: the frames are not as counted."
    ),
    0xB112: WarningCode("INVALID_OFFSET_TABLE", SERIOUS, "The pixel data is malformed: no frame can be retrieved."),
    0xB120: WarningCode(
        "UNSUPPORTED_TRANSFER_SYNTAX", SERIOUS, "The transfer syntax is not supported: kept as a blob."
    ),
    0xB201: WarningCode("INVALID_UID_FORMAT", HARMLESS, "A UID breaks the rules of its value representation."),
    0xB202: WarningCode("INVALID_VALUE_FORMAT", HARMLESS, "A value breaks the rules of its value representation."),
    0xB203: WarningCode("INVALID_VALUE_FORMAT", HARMLESS, "A value breaks the rules of its value representation."),
}


def is_serious(warnings: Iterable[ImportWarning]) -> bool:
    """Say whether an image with these warnings may not come back whole. What is not known counts as serious."""
    return any(_policy(warning) == SERIOUS for warning in warnings)


def _policy(warning: ImportWarning) -> str:
    known = WARNING_CODES.get(warning.code)
    word = _letters(warning.type)
    by_type = {one.policy for one in WARNING_CODES.values() if word and _letters(one.name) == word}
    if known is None and not by_type:
        return SERIOUS
    return SERIOUS if SERIOUS in by_type or (known and known.policy == SERIOUS) else HARMLESS


def _letters(text: str) -> str:
    """Compare InvalidOffsetTable with INVALID_OFFSET_TABLE."""
    return "".join(letter for letter in text.lower() if letter.isalnum())
