"""StoreDICOM and the searches of HealthImaging, as far as they are data: requests, bodies, answers (PS3.18 10.5, 10.6).

AWS HealthImaging developer guide, "Storing instances with STOW-RS", "Searching DICOM data": in no SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from import_lambda.aws import ListedObject, StoreAnswer
from import_lambda.errors import AwsError, TryLater, error_of

MAX_BYTES_PER_STORE = 1_000_000_000  # quota: "up to 1 GB of DICOM data per request"
STORED, FAILED, FAILURE_REASON, WARNING_REASON = "00081199", "00081198", "00081197", "00081196"
# The standard names an instance of the answer by reference; a sample of AWS's own reads a failed one by (0008,0018).
SOP_INSTANCE_UIDS = ("00081155", "00080018")
SEARCH_LIMIT = 1000  # quota: at most so many items in an answer
CHUNK_BYTES = 1024 * 1024


def requests_of(
    objects: Iterable[ListedObject], max_bytes: int, max_instances: int
) -> Iterator[tuple[ListedObject, ...]]:
    """Divide the objects of a batch among requests: so many bytes and instances at most, an object larger alone."""
    part: list[ListedObject] = []
    for listed in objects:
        is_full = len(part) == max_instances or sum(one.bytes for one in part) + listed.bytes > max_bytes
        if part and is_full:
            yield tuple(part)
            part = []
        part.append(listed)
    if part:
        yield tuple(part)


def part_head(boundary: str) -> bytes:
    """Return what stands before an instance in a multipart/related body."""
    return f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()


def body_end(boundary: str) -> bytes:
    """Return what stands after the last instance."""
    return f"--{boundary}--\r\n".encode()


def read_store_answer(status: int, error_code: str, body: bytes) -> StoreAnswer:
    """Return what an answer of StoreDICOM says: 200, 202 (some failed or warned), 409 (none stored).

    Raises TryLater, Refused: another status. Raises TryLater: the body cannot be read, so the answer is lost.
    """
    if status not in {200, 202, 409}:
        raise store_error(status, error_code)
    try:
        document = json.loads(body)
        if STORED not in document and FAILED not in document:
            raise store_error(status, error_code) if status == 409 else TryLater("UnreadableAnswer")
        stored = {uid_in(item): codes_in(item, WARNING_REASON) for item in items_in(document, STORED)}
        refused = {uid_in(item): max(codes_in(item, FAILURE_REASON), default=0) for item in items_in(document, FAILED)}
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        raise TryLater("UnreadableAnswer") from None
    stored.pop("", None)
    refused.pop("", None)
    return StoreAnswer({uid: codes for uid, codes in stored.items() if uid not in refused}, refused)


def store_error(status: int, error_code: str) -> AwsError:
    """Return the error of an answer that is not about instances."""
    return error_of(error_code.partition(":")[0] or f"HTTP{status}", status)


def items_in(document: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    """Return the items of a sequence; none if it is absent or empty."""
    return list(document.get(tag, {}).get("Value", []))


def uid_in(item: dict[str, Any]) -> str:
    """Return the SOP Instance UID that an item names, empty if it names none."""
    for tag in SOP_INSTANCE_UIDS:
        for value in item.get(tag, {}).get("Value", []):
            return str(value).strip("\0 ")
    return ""


def codes_in(item: dict[str, Any], tag: str) -> tuple[int, ...]:
    """Return the numbers of an element, none if it is absent."""
    return tuple(int(value) for value in item.get(tag, {}).get("Value", []))


def read_search_answer(status: int, error_code: str, body: bytes) -> dict[str, tuple[int, ...]]:
    """Return the instances that SearchDICOMInstances found, with their warning codes; 204 means none.

    Raises TryLater, Refused: another status, or the body cannot be read.
    """
    if status == 204:
        return {}
    if status != 200:
        raise store_error(status, error_code)
    try:
        items = json.loads(body)
        return {str(item["00080018"]["Value"][0]): codes_in(item, WARNING_REASON) for item in items}
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        raise TryLater("UnreadableAnswer") from None
