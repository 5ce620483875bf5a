"""HealthImaging's answers and the receivers' manifests, read with suspicion."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from import_lambda.aws import Item
from import_lambda.errors import Malformed


class Refusal(NamedTuple):
    """Why HealthImaging did not import an object."""

    kind: str
    message: str


@dataclass
class Results:
    """What the ndjson files of one or more jobs say, by object key."""

    imported: dict[str, bool] = field(default_factory=dict)  # key: is it in the primary image set?
    refused: dict[str, Refusal] = field(default_factory=dict)
    unreadable: int = 0


OVER_A_LIMIT = re.compile(r"[A-Z]+_(COUNTS?|SIZE)_LI")  # FILE_COUNTS_LIMIT_EXCEEDED and its like

# exceptionType is not documented as a closed list: what is not known to be the service's or the role's fault
# is the object's.
SERVICE_FAULTS = (
    "internalserver",
    "internalerror",
    "unavailable",
    "throttl",
    "toomany",
    "quota",
    "timeout",
    "conflict",
)
DENIALS = ("accessdenied", "access denied", "not authorized", "unauthorized", "forbidden", "kms", "assume")


def contains_any(text: str, words: Iterable[str]) -> bool:
    """Say whether one of the words is in the text."""
    return any(word in text.lower() for word in words)


def read_line(line: bytes) -> Item | None:
    """Return a line of ndjson, leniently: the documentation's own example has Python's True. None: unreadable."""
    text = line.decode("utf-8", "replace")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return value if isinstance(value, dict) and isinstance(value.get("inputFile"), str) else None
    return None


def read_results(results: Results, body: bytes, failures: bool) -> None:
    """Add a success or a failure file's lines to `results`."""
    for line in body.splitlines():
        if not line.strip():
            continue
        value = read_line(line)
        if value is None:
            results.unreadable += 1
            continue
        key = re.sub(r"^s3://[^/]+/", "", value["inputFile"])
        answer = value.get("exception" if failures else "importResponse")
        answer = answer if isinstance(answer, dict) else {}
        if failures:
            results.refused[key] = Refusal(str(answer.get("exceptionType", "")), str(answer.get("message", "")))
        else:  # a line of WARNING/ has an importResponse, too: the object was imported
            results.imported[key] = answer.get("isPrimary") is not False


def read_manifest(body: bytes, batch_id: str) -> Item:
    """Return a receiver's batch manifest (docs/adr/0001).

    Raises Malformed: it is not one, or not this batch's.
    """
    try:
        manifest = json.loads(body)
    except ValueError:
        raise Malformed(f"batches/{batch_id}.json is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("batch") != batch_id:
        raise Malformed(f"batches/{batch_id}.json is not the manifest of its batch")
    count = manifest.get("instances")
    if type(count) is not int or count < 0:
        raise Malformed(f"batches/{batch_id}.json: instances is not a count")
    titles = manifest.get("calling_ae_titles", [])
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        raise Malformed(f"batches/{batch_id}.json: calling_ae_titles is not a list of strings")
    return manifest
