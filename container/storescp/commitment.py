"""Storage commitment as values: what a device asks, what the importer answers, and both as JSON (ADR 1, PS3.4 J)."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from storescp.keys import commitment_id, safe_name

_SCHEMA: Final = 1
# Failure Reason (0008,1197) of PS3.3 C.14.1.1; the importer gives the others.
DUPLICATE_TRANSACTION_UID: Final = 0x0131


class UnreadableRecordError(ValueError):
    """A record below ``commitments/`` that is not as ADR 1 says."""


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """Where a device takes storage commitment reports (setting COMMITMENT_DEVICES)."""

    host: str
    port: int
    is_tls: bool = False


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One N-ACTION: a device asks whether instances are safe.

    `instances` are (SOP Class UID, SOP Instance UID) as received, without padding; `timeout_at` is when what is not
    decided counts as failed.
    """

    transaction_uid: str
    calling_ae_title: str
    called_ae_title: str
    instances: tuple[tuple[str, str], ...]
    received_at: datetime
    timeout_at: datetime

    @property
    def commitment_id(self) -> str:
        """What its objects are called."""
        return commitment_id(self.calling_ae_title, self.transaction_uid)

    def asks_the_same(self, other: "CommitmentRequest") -> bool:
        """Whether it is the same request, sent again because its response was lost."""
        return set(self.instances) == set(other.instances)


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """What the N-EVENT-REPORT will say: (class, instance) that are safe, and (class, instance, reason) that are not."""

    transaction_uid: str
    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...]


def new_request(
    transaction_uid: str,
    calling_ae_title: str,
    called_ae_title: str,
    instances: tuple[tuple[str, str], ...],
    utc_now: datetime,
    timeout_hours: float,
) -> CommitmentRequest:
    """Make a request that is decided within `timeout_hours`."""
    timeout_at = utc_now + timedelta(hours=timeout_hours)
    return CommitmentRequest(transaction_uid, calling_ae_title, called_ae_title, instances, utc_now, timeout_at)


def encode_request(request: CommitmentRequest) -> bytes:
    """The request's record: safe names, and beside them the UIDs that are not their own (ADR 1)."""
    uids = {uid for pair in request.instances for uid in pair}
    return _encode(
        {
            "schema": _SCHEMA,
            "id": request.commitment_id,
            "transaction_uid": request.transaction_uid,
            "calling_ae_title": request.calling_ae_title,
            "called_ae_title": request.called_ae_title,
            "received_at": timestamp(request.received_at),
            "timeout_at": timestamp(request.timeout_at),
            "instances": [[safe_name(uid) for uid in pair] for pair in request.instances],
            "uids": {safe_name(uid): uid for uid in sorted(uids) if safe_name(uid) != uid},
        }
    )


def decode_request(record: bytes) -> CommitmentRequest:
    """Read a request's record. Raises UnreadableRecordError: it is not as ADR 1 says."""
    try:
        fields = json.loads(record)
        uids = fields.get("uids", {})
        return CommitmentRequest(
            str(fields["transaction_uid"]),
            str(fields["calling_ae_title"]),
            str(fields["called_ae_title"]),
            tuple(
                (uids.get(sop_class, sop_class), uids.get(sop_instance_uid, sop_instance_uid))
                for sop_class, sop_instance_uid in fields["instances"]
            ),
            datetime.fromisoformat(fields["received_at"]),
            datetime.fromisoformat(fields["timeout_at"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableRecordError("a commitment request's record cannot be read") from error


def decode_result(record: bytes, request: CommitmentRequest) -> CommitmentResult:
    """Read the importer's result in the words of the request. Raises UnreadableRecordError: it is not as ADR 1 says."""
    uids = {safe_name(uid): uid for pair in request.instances for uid in pair}
    try:
        fields = json.loads(record)
        return CommitmentResult(
            request.transaction_uid,
            tuple(
                (uids.get(sop_class, sop_class), uids.get(sop_instance_uid, sop_instance_uid))
                for sop_class, sop_instance_uid in fields["committed"]
            ),
            tuple(
                (uids.get(sop_class, sop_class), uids.get(sop_instance_uid, sop_instance_uid), int(reason))
                for sop_class, sop_instance_uid, reason in fields["failed"]
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableRecordError("a commitment result's record cannot be read") from error


def duplicate_result(request: CommitmentRequest) -> CommitmentResult:
    """The result of a request whose Transaction UID another one has: nothing of it was looked at."""
    return CommitmentResult(
        request.transaction_uid, (), tuple((*pair, DUPLICATE_TRANSACTION_UID) for pair in request.instances)
    )


def encode_attempt(commitment: str, number: int, process: str, utc_now: datetime, not_before: datetime) -> bytes:
    """Who tries to deliver, from when, and when the next may."""
    return _encode(
        {
            "schema": _SCHEMA,
            "id": commitment,
            "attempt": number,
            "process": process,
            "began_at": timestamp(utc_now),
            "not_before": timestamp(not_before),
        }
    )


def decode_not_before(record: bytes) -> datetime:
    """When the attempt after this one may be made. Raises UnreadableRecordError: it is not as ADR 1 says."""
    try:
        return datetime.fromisoformat(json.loads(record)["not_before"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRecordError("a commitment attempt's record cannot be read") from error


def encode_delivered(commitment: str, utc_now: datetime, status: int) -> bytes:
    """The device has answered the report with this status."""
    return _encode({"schema": _SCHEMA, "id": commitment, "delivered_at": timestamp(utc_now), "status": status})


def timestamp(utc: datetime) -> str:
    """ISO 8601 with milliseconds and a Z."""
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encode(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
