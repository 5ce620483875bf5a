"""DICOM UIDs that the receiver has to know (PS3.6 Annex A), and what may serve as a UID in an object key."""

import re
from typing import Final

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION_SOP_CLASS: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS: Final = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.113619.5.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
JPIP_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.95"
JPIP_HTJ2K_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.205"

DEFLATED_TRANSFER_SYNTAXES: Final = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, JPIP_REFERENCED_DEFLATE, JPIP_HTJ2K_REFERENCED_DEFLATE}
)

# The transfer syntaxes that an import job of AWS HealthImaging lists as supported
# (developer guide, "Supported transfer syntaxes").
HEALTHIMAGING_TRANSFER_SYNTAXES: Final = frozenset(
    f"1.2.840.10008.1.2{suffix}"
    for suffix in (
        "",
        ".1",
        ".1.99",
        ".2",
        *(f".4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93)),
        *(f".4.{number}" for number in (100, 101, 102, 103, 104, 105, 106, 107, 108)),
        *(f".4.{number}.1" for number in (100, 101, 102, 103, 104, 105, 106)),
        *(f".4.{number}" for number in (112, 201, 202, 203)),
        ".5",
    )
)

# Derived from a UUID as PS3.5 B.2 allows: no registered root is needed.
IMPLEMENTATION_CLASS_UID: Final = "2.25.211830354408396435999909335290897168707"
IMPLEMENTATION_VERSION_NAME: Final = "STORESCP-CFN_01"

_USABLE = re.compile(r"(?=[0-9.]*[0-9])[0-9.]{1,64}")


def strip_padding(uid: str) -> str:
    """A UID without the NULs and spaces that devices put around it (PS3.5 9.1 allows one NUL at the end)."""
    return uid.strip("\0 ")


def is_same_uid(first: str, second: str) -> bool:
    """Whether two UIDs name the same thing: padding does not count, nor what follows a NUL within the value.

    Toolkits in C end a value at its first NUL, and so send in a command what the data set has more of.
    """
    return strip_padding(first).partition("\0")[0] == strip_padding(second).partition("\0")[0]


def is_usable_uid(uid: str) -> bool:
    """Whether a UID may become part of an object key: 1 to 64 digits and dots, at least one digit (PS3.5 9.1).

    Sloppy UIDs (leading zeros, an empty component) pass, since devices send them; anything that a store could
    take for a path (``..``, a slash) does not.
    """
    return _USABLE.fullmatch(uid) is not None
