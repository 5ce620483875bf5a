"""What a failure of S3 means for the next try (S3 API Reference, "Error responses"). Data, and two small functions."""

import random
import re
from enum import Enum
from typing import Final

from storescp.s3.response import Response

MAXIMUM_TRIES: Final = 8
_BASE_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 5.0

# The keys have ended, or were taken back: others may be there by now.
STALE_KEYS_CODES: Final = frozenset(
    {
        "AccessDenied",  # "Revoke active sessions" of IAM denies everything to older sessions
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
TEMPORARY_CODES: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
TEMPORARY_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")


class Verdict(Enum):
    """What to do after a response that is no success."""

    FAIL = "fail"
    TRY_AGAIN = "try again"
    TRY_WITH_NEW_KEYS = "try with new keys"


def code_of_response(response: Response) -> str:
    """The error code of a response that is no success, or its status; never any other text of it."""
    matched = _CODE.search(response.body) if b"<Error>" in response.body else None
    if matched:
        return matched[1].decode()
    return "NotConfirmed" if response.status == 200 else f"HTTP{response.status}"


def judge(status: int, code: str) -> Verdict:
    """Say what a response that is no success asks for. A redirect is a failure: it is never followed."""
    if code in STALE_KEYS_CODES:
        return Verdict.TRY_WITH_NEW_KEYS
    if code in TEMPORARY_CODES or status in TEMPORARY_STATUSES:
        return Verdict.TRY_AGAIN
    return Verdict.FAIL


def wait_seconds(failures: int) -> float:
    """How long to wait after so many failures, from 1: full jitter, so that callers do not come back together."""
    return random.uniform(0.0, min(_LONGEST_SECONDS, _BASE_SECONDS * 2 ** min(failures, 10)))
