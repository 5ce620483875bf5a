"""Start a peer, wait until it serves, stop it, and say what it printed if it did not serve."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STOP_SECONDS = 20


class DidNotStart(Exception):
    """A program ended, or did not serve in time; the message holds the end of what it printed."""


@dataclass(frozen=True)
class Program:
    """A running program and its process id (of which all its workers descend)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL to it and its whole session, workers included; it has no time to do anything."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    is_ready: Callable[[], bool],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    ready_seconds: float = 40,
) -> Iterator[Program]:
    """Run `command` until the block ends; SIGTERM ends it, and SIGKILL what SIGTERM did not."""
    with tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=".log") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment() | dict(environment or {}),
            cwd=folder,
            start_new_session=True,
        )
        program = Program(name, process, Path(log.name))
        try:
            _wait_until_ready(program, is_ready, ready_seconds)
            yield program
        finally:
            _stop(program)


def clean_environment() -> dict[str, str]:
    """Ours without what would change a peer's sockets or send its requests elsewhere."""
    unwanted = ("TCP_NODELAY", "TCP_BUFFER_LENGTH")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in unwanted and not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }


def http_ok(url: str) -> bool:
    """Whether a GET is answered with 200 now."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def http_json(url: str) -> Any:
    """The JSON that a GET answers."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        return json.load(answer)


def _wait_until_ready(program: Program, is_ready: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_ready():
        if program.process.poll() is not None or time.monotonic() > end:
            said = program.log.read_text(errors="replace")[-1500:]
            raise DidNotStart(f"{program.name} did not start: {said or 'it printed nothing'}")
        time.sleep(0.05)


def _stop(program: Program) -> None:
    program.process.terminate()
    try:
        program.process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.process.pid, signal.SIGKILL)
