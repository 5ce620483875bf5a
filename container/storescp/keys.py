"""Object keys of the landing bucket: the layout that receiver and importer agree on (ADR 1)."""

from hashlib import sha256
from typing import Final

from storescp.uids import is_usable_uid, strip_padding

INCOMING: Final = "incoming"
BATCHES: Final = "batches"
MISSING: Final = "none"
_HASH_DIGITS: Final = 32


def safe_name(uid: str) -> str:
    """What stands for a UID in keys, manifests, the ledger and logs: itself, or its hash, or ``none`` (ADR 1).

    1 to 64 digits and dots stand for themselves, if they are not only dots. Anything else could be a path or
    somebody's name, and becomes ``x-`` and the first 32 hex digits of the SHA-256 of its bytes as received
    (ISO 8859-1), without padding. A UID that is missing or empty is ``none``.
    """
    value = strip_padding(uid)
    if not value:
        return MISSING
    if is_usable_uid(value):
        return value
    return f"x-{sha256(value.encode('latin-1')).hexdigest()[:_HASH_DIGITS]}"


def object_key(batch: str, study: str, series: str, sop: str) -> str:
    """``incoming/<batch>/<study>/<series>/<sop>.dcm``, the last three being safe names of the instance's UIDs."""
    return f"{INCOMING}/{batch}/{study}/{series}/{sop}.dcm"


def manifest_key(batch: str) -> str:
    """``batches/<batch>.json``, written once the batch is closed."""
    return f"{BATCHES}/{batch}.json"
