"""Names in the landing bucket and the ledger, as the receiver and the importer write them (docs/adr/0001)."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

INCOMING, SPLIT, QUARANTINE = "incoming/", "split/", "quarantine/"
ONE_UID = re.compile(r"[0-9.]{1,64}")
BATCH_ID = re.compile(r"(\d{8}T\d{9})Z-[0-9a-f]{8}-\d{4,}(\.\d+)*")


def safe_name(uid: str) -> str:
    """The name of a UID in keys and in the ledger: itself, or a digest of what is no UID, or `none`."""
    text = uid.rstrip("\0 ")
    if not text:
        return "none"
    if ONE_UID.fullmatch(text) and text.strip("."):
        return text
    return "x-" + hashlib.sha256(text.encode("latin-1", "replace")).hexdigest()[:32]


def is_batch_id(text: str) -> bool:
    """Whether `text` is written as a batch id."""
    return BATCH_ID.fullmatch(text) is not None


def opened_at(batch_id: str) -> datetime:
    """When a batch was opened, from its id. Raises ValueError: if it is not one."""
    match = BATCH_ID.fullmatch(batch_id)
    if match is None:
        raise ValueError(f"{batch_id!r} is not a batch id")
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)


def batch_prefix(moment: datetime) -> str:
    """What sorts before the id of every batch that is opened at `moment` or later."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S")
