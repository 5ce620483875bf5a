"""Names and times: batch ids, object keys, job names (docs/adr/0001)."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache

BATCH_ID = re.compile(r"(\d{8}T\d{9})Z-[0-9a-f]{8}-\d{4,}(\.\d+)*")
SAFE_NAME = r"([0-9.]{1,64}|x-[0-9a-f]{32}|none)"
INSTANCE_KEY = re.compile(rf"(?:incoming|split)/([^/]+)/{SAFE_NAME}/{SAFE_NAME}/{SAFE_NAME}\.dcm")
JOB_FOLDER = re.compile(r"-DicomImport-([0-9a-z]+)/")


def opened_at(batch_id: str) -> float:
    """Return the epoch seconds at which a batch was opened, from its id.

    Raises ValueError: it is not a batch id.
    """
    match = BATCH_ID.fullmatch(batch_id)
    if not match:
        raise ValueError(f"{batch_id!r} is not a batch id")
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC).timestamp()


@lru_cache(10_000)
def is_batch_id(text: str) -> bool:
    """Say whether `text` is a batch id with a time that exists."""
    try:
        opened_at(text)
    except ValueError:
        return False
    return True


def iso(seconds: float) -> str:
    """Return epoch seconds as the ledger writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(text: str) -> float:
    """Return the epoch seconds of a time of the ledger; 0 for what is not a time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def job_name(batch_id: str, number: int) -> str:
    """Return jobName and clientToken of a batch's job: at most 64 characters (API reference, StartDICOMImportJob)."""
    name = f"{batch_id}-{number}"
    return name if len(name) <= 64 else f"{name[:31]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def quarantine_key(key: str) -> str:
    """Return where an instance goes that will not be imported, or whose original is kept: its key below quarantine/."""
    return f"quarantine/{key.partition('/')[2]}"


def unrecognized_name(key: str, etag: str) -> str:
    """Return the name below quarantine/unrecognized/ of an object that no receiver wrote: two objects never meet."""
    return hashlib.sha256(f"{key}\0{etag}".encode()).hexdigest()[:32]


def rest_of(key: str) -> str:
    """Return <study>/<series>/<sop>, by which an instance is the same one in each part of a batch that was split."""
    return key.split("/", 2)[2].removesuffix(".dcm")


def root_of(batch_id: str) -> str:
    """Return the receiver's batch of which this one is a part, or the batch itself."""
    return batch_id.partition(".")[0]
