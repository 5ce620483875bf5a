"""HealthImaging's answers, read with suspicion: the ndjson files of import jobs, and what is kept of StoreDICOM's."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from import_lambda.aws import Item
from import_lambda.blame import Refusal
from import_lambda.errors import MALFORMED_DATA_ERRORS
from import_lambda.keys import INSTANCE_KEY
from import_lambda.warnings import ImportWarning

RESULT_FILE = re.compile(r"/(SUCCESS|WARNING|FAILURE)/|/stored-\d+\.ndjson$")


class Imported(NamedTuple):
    """Where an instance is in HealthImaging, and what HealthImaging remarked."""

    is_primary: bool
    image_set_id: str
    warnings: tuple[ImportWarning, ...] = ()


@dataclass
class Results:
    """What the files of one or more jobs say, by object key."""

    imported: dict[str, Imported] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)  # named as imported, but into no image set
    unreadable: int = 0


def read_line(line: bytes) -> Item | None:
    """Return a line of ndjson, leniently: the documentation's own example has Python's True. None: unreadable."""
    text = line.decode("utf-8", "replace")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (SyntaxError, *MALFORMED_DATA_ERRORS):
            continue
        return value if isinstance(value, dict) and isinstance(value.get("inputFile"), str) else None
    return None


def key_of(input_file: str, prefix: str) -> str:
    """Return the key that `inputFile` means: with or without bucket, prefix or quoting (not documented as a format)."""
    key = re.sub(r"^s3://[^/]+/", "", input_file).lstrip("/")
    for candidate in (key, unquote(key)):
        for whole in (candidate, prefix + candidate):
            if INSTANCE_KEY.fullmatch(whole):
                return whole
    return key


def read_results(results: Results, body: bytes, prefix: str, is_warning: bool = False) -> None:
    """Add a file's lines to `results`; `prefix` is the one of the job's input, `is_warning`: it lists warnings."""
    for line in body.splitlines():
        if not line.strip():
            continue
        value = read_line(line)
        if value is None:
            results.unreadable += 1
            continue
        key = key_of(value["inputFile"], prefix)
        exception, response = value.get("exception"), value.get("importResponse")
        if isinstance(exception, dict):
            results.refused[key] = Refusal(str(exception.get("exceptionType", "")), str(exception.get("message", "")))
        elif isinstance(response, dict) and response.get("imageSetId"):
            results.imported[key] = _merged(results.imported.get(key), _imported(response, is_warning))
        else:
            results.incomplete.add(key)


def _imported(response: Item, is_warning: bool) -> Imported:
    rows = response.get("warnings") or ([None] if is_warning else [])  # a warning without its code is one all the same
    warnings = tuple(_warning(row) for row in rows) if isinstance(rows, list) else (_warning(rows),)
    return Imported(response.get("isPrimary") is not False, str(response["imageSetId"]), warnings)


def _warning(row: object) -> ImportWarning:
    """Return a warning as received; code 0, which no table has, for what is not a number."""
    row = row if isinstance(row, dict) else {}
    try:
        code = int(row.get("warning_reason_code", 0))
    except (TypeError, ValueError):
        code = 0
    return ImportWarning(code, str(row.get("type", ""))[:64])


def _merged(first: Imported | None, second: Imported) -> Imported:
    """Return what two lines say of one instance: a file with a warning may be in the success list, too."""
    if first is None:
        return second
    return second._replace(warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))))
