"""Structured log: one JSON object a line on standard output, never a patient's attribute, and never in the way.

A line is bounded (`MAXIMUM_LINE_BYTES`, which a pipe takes whole or not at all). Writing it never waits: what nobody
reads is kept up to a limit, then dropped and counted, and a reader that has gone costs lines and nothing else.
"""

import contextlib
import fcntl
import json
import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
# PIPE_BUF of Linux (pipe(7)): what is not longer is written at once or not at all, so that lines of workers never mix.
MAXIMUM_LINE_BYTES: Final = 4096
_MAXIMUM_PENDING_BYTES: Final = 256 * 1024
_MAXIMUM_TEXT: Final = 256
_MAXIMUM_ITEMS: Final = 24  # of a list or of an object inside a line
_MAXIMUM_DEPTH: Final = 4
_SHORT_TEXT: Final = 48
_CUT: Final = "…"


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode a record as one line of at most `MAXIMUM_LINE_BYTES`: texts are cut, what is too much is left out."""
    bounded: dict[str, Any] = _bound(record, _MAXIMUM_TEXT, _MAXIMUM_DEPTH)
    line = _encode(bounded)
    if len(line) > MAXIMUM_LINE_BYTES:
        bounded = {**_bound(record, _SHORT_TEXT, 2), "is_cut": True}
        line = _encode(bounded)
    while len(line) > MAXIMUM_LINE_BYTES:  # drop the largest; time, level and message never are
        del bounded[max(bounded, key=lambda name: len(_encode({name: bounded[name]})))]
        line = _encode(bounded)
    return line


def _encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _bound(value: Any, text: int, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= text else value[: text - 1] + _CUT
    if value is None or isinstance(value, bool | int | float):
        return value
    if not depth:
        return _CUT
    if isinstance(value, Mapping):
        items = [(_bound(str(name), text, 1), _bound(item, text, depth - 1)) for name, item in value.items()]
        bounded = dict(items[:_MAXIMUM_ITEMS])
        return bounded if len(items) <= _MAXIMUM_ITEMS else {**bounded, _CUT: len(items) - _MAXIMUM_ITEMS}
    if isinstance(value, list | tuple | set | frozenset):
        kept = [_bound(item, text, depth - 1) for item in list(value)[:_MAXIMUM_ITEMS]]
        return kept if len(value) <= _MAXIMUM_ITEMS else [*kept, _CUT]
    return _bound(str(value), text, depth)


class LineWriter:
    """Writes lines to a descriptor without ever waiting; used by one thread, and by a process forked from it."""

    def __init__(self, descriptor: int) -> None:
        self.dropped = 0  # lines, since the process began
        self._told = self._taken = 0  # of them, in the log and in a metric
        self._descriptor = descriptor
        self._output: int | None = None
        self._process = os.getpid()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._later: Callable[[float, Callable[[], None]], object] | None = None
        self._is_due = False

    def write(self, line: bytes) -> None:
        """Write a line, or keep it until it can be written, or drop it."""
        if self._process != os.getpid():  # what a fork inherited is the parent's to write
            self._process = os.getpid()
            self._pending.clear()
            self._pending_bytes = 0
            self._later, self._is_due = None, False
        if self._pending_bytes + len(line) > _MAXIMUM_PENDING_BYTES:
            self.dropped += 1
        else:
            self._pending.append(line)
            self._pending_bytes += len(line)
        self.flush()

    def take_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        number, self._taken = self.dropped - self._taken, self.dropped
        return number

    def flush(self) -> bool:
        """Write what can be written now; return whether nothing is left."""
        while self._pending:
            try:
                written = self._write_now(self._pending[0])
            except BlockingIOError:
                self._flush_later()
                return False
            except OSError:  # the reader has gone, or the disk is full
                self.dropped += len(self._pending)
                self._pending.clear()
                self._pending_bytes = 0
                return True
            line = self._pending.popleft()
            self._pending_bytes -= len(line)
            if written < len(line):  # of a descriptor that takes parts
                self._pending.appendleft(line[written:])
                self._pending_bytes += len(line) - written
            elif not self._pending and self.dropped > self._told:
                self._tell()
        return True

    def finish(self, seconds: float) -> None:
        """Wait until all is written, so many seconds at most: for the end of a process."""
        deadline = time.monotonic() + seconds
        while not self.flush() and (left := deadline - time.monotonic()) > 0:
            assert self._output is not None
            select.select((), (self._output,), (), left)

    def flush_by(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """What is kept is tried again by `later(seconds, function)`, an event loop's `call_later`."""
        self._later = later
        if self._pending:
            self._flush_later()

    def _write_now(self, line: bytes) -> int:
        if self._output is None:
            self._output = _open_unblocking(self._descriptor)
        return os.write(self._output, line)

    def _tell(self) -> None:
        number, self._told = self.dropped - self._told, self.dropped
        line = encode_line(_stamped("WARNING", "log lines dropped", {"number": number}))
        self._pending.append(line)
        self._pending_bytes += len(line)

    def _flush_later(self) -> None:
        if self._later is not None and not self._is_due:
            self._is_due = True
            self._later(0.1, self._flush_due)

    def _flush_due(self) -> None:
        self._is_due = False
        self.flush()


def _open_unblocking(descriptor: int) -> int:
    """Return a descriptor for the same file that does not block.

    One of its own where the system allows it, so that whoever shares ours (a terminal) is not changed.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    return descriptor


STANDARD_OUTPUT: Final = LineWriter(1)


class Log:
    """Writes lines of at least one level."""

    def __init__(self, level: str = "INFO", writer: LineWriter = STANDARD_OUTPUT) -> None:
        self.level = level
        self.writer = writer
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

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Metrics, which have no level (`Metrics.take_lines`)."""
        self.writer.write(_encode(dict(record)))

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] >= self._least:
            self.writer.write(encode_line(_stamped(level, message, fields)))


def _stamped(level: str, message: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    utc_now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": utc_now, "level": level, "message": message, **fields}
