"""Whose fault is it? Decided by codes; HealthImaging's words may excuse an object, and never blame it."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Blame(Enum):
    """Why an object was not imported, as far as HealthImaging says."""

    OBJECT = "the object's: it is quarantined at once"
    UNKNOWN = "not said: the object is doubted, and condemned only by several jobs while HealthImaging works"
    SERVICE = "HealthImaging's own: never the object's, however often"
    PERMISSION = "the import role's or its key's: never the object's; a person has to mend it"


class Refusal(NamedTuple):
    """Why HealthImaging did not import an object; the message may quote attributes."""

    kind: str
    message: str


# exceptionType is not documented as a closed list. What is in neither table is not known.
OBJECT_FAULTS = frozenset({"ValidationException"})
SERVICE_FAULT = re.compile(r"(Internal|Unavailable|Throttl|TooMany|Quota|Timeout|TimedOut|Conflict|Service)")
PERMISSION_FAULT = re.compile(r"(AccessDenied|Unauthorized|NotAuthorized|Forbidden|KMS|Kms|AssumeRole)")
# Words may come from an image ("ASSUMED SUPINE"), so that only their beginning, and names of exceptions, are looked at.
EXCEPTION_NAME = re.compile(r"\b[A-Za-z.]*(?:Exception|Error|Fault)\b")
DENIAL = re.compile(r"(access denied|not authorized|unauthorized|forbidden|kms\b)", re.IGNORECASE)
OVER_A_LIMIT = re.compile(r"[A-Z]+_(COUNTS?|SIZE)_LI")  # FILE_COUNTS_LIMIT_EXCEEDED and its like


def blame_of(kind: str, message: str) -> Blame:
    """Return whose fault a refusal is: by its exception type, and if that is not known by how its message begins."""
    if kind in OBJECT_FAULTS:
        return Blame.OBJECT
    words = [kind, *EXCEPTION_NAME.findall(message)]
    if DENIAL.match(message) or any(PERMISSION_FAULT.search(word) for word in words):
        return Blame.PERMISSION
    if any(SERVICE_FAULT.search(word) for word in words):
        return Blame.SERVICE
    return Blame.UNKNOWN


def safe_kind(kind: str) -> str:
    """Return an exception type as it may be logged: one word of letters, not whatever an answer may hold."""
    return kind if re.fullmatch(r"[A-Za-z]{1,64}", kind) else "unlisted"
