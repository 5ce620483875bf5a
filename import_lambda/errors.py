"""What can go wrong: AWS's errors sorted by what to do about them, unreadable facts, and reasons to stop."""

from __future__ import annotations


class AwsError(Exception):
    """A call that failed; `code` is AWS's error code, safe to log (the message may not be)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Missing(AwsError):
    """The object is not there (any more), or is not the one that was listed."""


class Conflict(AwsError):
    """A conditional write found that somebody else was faster."""


class TryLater(AwsError):
    """Throttling, a quota that is used up, a 5xx, a broken connection: the same call will work later."""


class Refused(AwsError):
    """The same call will be refused again until a person changes something."""


class Malformed(Exception):
    """A fact that cannot be read: a manifest, a ledger item. The text names it without quoting it."""


class LeaseLost(Exception):
    """Another run works now."""


class OutOfTime(Exception):
    """The function's time is nearly over; the next wake-up goes on from the facts."""


# What unreadable facts can cause in code that trusts them; whatever it is, it must stay with its own batch.
MALFORMED_DATA_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    Malformed,
)

RETRIED_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "ConflictException",
        "InternalError",
        "InternalServerError",
        "InternalServerException",
        "OperationAborted",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceQuotaExceededException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
    }
)


def error_of(code: str, http_status: int) -> AwsError:
    """Sort a service's error by its exact code, then by its status (402 and 409 are HealthImaging's own)."""
    if code == "ConditionalCheckFailedException":
        return Conflict(code)
    if code in {"NoSuchKey", "NotFound", "404", "PreconditionFailed", "412"}:
        return Missing(code)
    if code in RETRIED_CODES or http_status in {402, 409, 429} or http_status >= 500:
        return TryLater(code)
    return Refused(code)
