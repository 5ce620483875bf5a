"""What may be shown of an image and of HealthImaging's words about it: nothing that a patient could be known by.

Both are lists of what is known to be harmless; whatever is not on them is shown by its length or left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HIDDEN = "…"
# The words in which HealthImaging, the importer and AWS speak of an object; values of attributes are not among them.
_WORDS = """
    a after all already also an and any are as at attribute attributes be because been before between bucket by bytes
    cannot character characters class code count could data denied dicom does duplicate element elements empty encoded
    error exceed exceeded exceeds expected failed fewer file files for format found frame frames from group greater
    has have header image import imported in incomplete information instance internal invalid is it its job key length
    less limit long longer malformed many match matches maximum meta metadata minimum mismatch missing more must no
    none not null number object of offset on only or out parse parsed part pixel preamble prefix present primary quota
    read refused required sequence series service set should size sop stored study supported syntax table tag tags
    than that the this times to too transcode transcoding transfer type uid uids unable unexpected unknown
    unrecognized unsupported valid validation value values version was were with written
    DICOM HealthImaging P10 UID UIDs SOP VR Attribute Element File Frame Invalid Missing The Unsupported
"""
REASON_WORDS = frozenset(_WORDS.split())
QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
TAG = r"\([0-9A-Fa-f]{4},\s?[0-9A-Fa-f]{4}\)"
TOKEN = re.compile(rf"{TAG}|\w+|\W")
# Technical elements whose values say nothing about a person (PS3.15 annex E keeps them in its basic profile).
SHOWN_KEYWORDS = frozenset(
    {
        "BitsAllocated",
        "BitsStored",
        "Columns",
        "HighBit",
        "Manufacturer",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "Modality",
        "NumberOfFrames",
        "PhotometricInterpretation",
        "PixelRepresentation",
        "PlanarConfiguration",
        "Rows",
        "SOPClassUID",
        "SOPInstanceUID",
        "SamplesPerPixel",
        "SeriesInstanceUID",
        "SpecificCharacterSet",
        "StudyInstanceUID",
        "TransferSyntaxUID",
    }
)


def masked_reason(reason: str) -> str:
    """HealthImaging's words without anything that could be a value: its own words, keywords and tags stay."""
    unquoted = QUOTED.sub(lambda found: found[0] if _is_keyword(found[0][1:-1]) else HIDDEN, reason[:400])
    text = "".join(token if _is_harmless(token) else HIDDEN for token in TOKEN.findall(unquoted))
    return " ".join(re.sub(rf"{HIDDEN}(\W*{HIDDEN})+", HIDDEN, text).split())


def _is_harmless(token: str) -> bool:
    if not token[0].isalnum() and token[0] != "_":
        return re.fullmatch(TAG, token) is not None or token in " <>()[]:;,.'\"/=-"
    return token in REASON_WORDS or (token.isdigit() and len(token) <= 3) or _is_keyword(token)


def _is_keyword(word: str) -> bool:
    """Whether it is the keyword of a DICOM attribute, such as StudyDescription (PS3.6)."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(word) is not None


def masked_elements(dataset: Any) -> Iterator[tuple[str, str, str, str]]:
    """(tag, VR, keyword, value or its length) of each element of a pydicom data set, in order."""
    from pydicom.datadict import keyword_for_tag

    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        keyword = keyword_for_tag(tag) or ("private" if tag.is_private else "unknown")
        vr = str(getattr(element, "VR", None) or "??")
        yield f"({tag.group:04X},{tag.element:04X})", vr, keyword, _shown(element, keyword)


def _shown(element: Any, keyword: str) -> str:
    value = element.value
    if vr_is_sequence(element):
        return "a sequence"
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    if keyword in SHOWN_KEYWORDS:
        text = raw.decode("ascii", "replace") if element.VR not in ("US", "SS", "UL", "SL") else _numbers(element)
        return text.strip("\0 ")[:64]
    return f"({len(raw)} bytes)"


def vr_is_sequence(element: Any) -> bool:
    """Whether an element holds items."""
    return str(getattr(element, "VR", "")) == "SQ"


def _numbers(element: Any) -> str:
    value = element.value
    if not isinstance(value, bytes):
        return str(value)
    return str(int.from_bytes(value[:2], "little")) if getattr(element, "is_little_endian", True) else ""
