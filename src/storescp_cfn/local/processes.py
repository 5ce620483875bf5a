"""Child processes that never outlive us, and ports that are free."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from storescp_cfn.local import LocalError

PR_SET_PDEATHSIG = 1  # prctl(2)


class PortTaken(LocalError):
    """Another program listens there already."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, remedy: str) -> None:
    """Raise PortTaken, with the remedy in its sentence, when 127.0.0.1:port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(f"Port {port} on 127.0.0.1 cannot be used ({error.strerror}): {remedy}") from error


def _die_with_parent() -> None:
    # A parent killed with SIGKILL cannot tidy up: the kernel ends its children for it. Only Linux has that.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One child process in a process group of its own, its output in a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, no lock is taken in it
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self, patience_seconds: float) -> int:
        """Send SIGTERM, wait, then end the whole group; return the exit status."""
        if self.running:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_seconds)
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """End whatever is left of the group (workers of a worker too)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, for a message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
