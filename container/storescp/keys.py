"""Object keys of the landing bucket: the layout that receiver and importer agree on (ADR 1)."""

import re
from hashlib import sha256
from typing import Final

from storescp.uids import is_usable_uid, strip_padding

INCOMING: Final = "incoming"
BATCHES: Final = "batches"
COMMITMENTS: Final = "commitments"
COMMITMENT_RESULTS: Final = f"{COMMITMENTS}/results/"
COMMITMENT_ATTEMPTS: Final = f"{COMMITMENTS}/attempts/"
COMMITMENT_DELIVERED: Final = f"{COMMITMENTS}/delivered/"
MISSING: Final = "none"
_HASH_DIGITS: Final = 32
_TITLE_HASH_DIGITS: Final = 16
_SAFE_TITLE: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")


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


def object_key(batch: str, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> str:
    """``incoming/<batch>/<study>/<series>/<sop>.dcm``, the last three being safe names of the instance's UIDs."""
    return f"{INCOMING}/{batch}/{study_instance_uid}/{series_instance_uid}/{sop_instance_uid}.dcm"


def manifest_key(batch: str) -> str:
    """``batches/<batch>.json``, written once the batch is closed."""
    return f"{BATCHES}/{batch}.json"


def commitment_id(calling_ae_title: str, transaction_uid: str) -> str:
    """``<safe calling AE title>-<safe Transaction UID>``: one storage commitment request of one device (ADR 1)."""
    if _SAFE_TITLE.fullmatch(calling_ae_title):
        title = calling_ae_title
    else:
        title = f"x-{sha256(calling_ae_title.encode('latin-1')).hexdigest()[:_TITLE_HASH_DIGITS]}"
    return f"{title}-{safe_name(transaction_uid)}"


def commitment_request_key(commitment: str) -> str:
    """``commitments/requests/<id>.json``: an N-ACTION, before it is answered."""
    return f"{COMMITMENTS}/requests/{commitment}.json"


def commitment_result_key(commitment: str) -> str:
    """``commitments/results/<id>.json``, which the importer writes."""
    return f"{COMMITMENT_RESULTS}{commitment}.json"


def commitment_attempt_key(commitment: str, number: int) -> str:
    """``commitments/attempts/<id>/<number>.json``: who tries to deliver; six digits, so that keys sort by number."""
    return f"{COMMITMENTS}/attempts/{commitment}/{number:06d}.json"


def commitment_delivered_key(commitment: str) -> str:
    """``commitments/delivered/<id>.json``: the device has answered."""
    return f"{COMMITMENT_DELIVERED}{commitment}.json"
