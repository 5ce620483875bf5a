"""Structured log: one JSON object a line on standard output, never a patient's attribute."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, Final

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}


class Log:
    """Writes lines of at least one level."""

    def __init__(self, level: str = "INFO") -> None:
        self._least = LEVELS[level]

    def debug(self, message: str, **fields: Any) -> None:
        """For whoever debugs a sender."""
        self._write("DEBUG", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """What happened, as intended."""
        self._write("INFO", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """What an operator may want to look into."""
        self._write("WARNING", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """What an operator has to look into."""
        self._write("ERROR", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] < self._least:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        write_line({"time": time, "level": level, "message": message, **fields})


def write_line(record: dict[str, Any]) -> None:
    """Write one JSON line at once, so that lines of several processes do not mix."""
    sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    sys.stdout.flush()
