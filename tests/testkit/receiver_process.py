"""The receiver as a real process, on ports of its own choice."""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What asyncio's debug mode says on a machine that is busy with something else.
_SLOW_CALLBACK = re.compile(r"Executing <.*> took [0-9.]+ seconds$")


ROOT = Path(__file__).resolve().parents[2]


class ReceiverProcess:
    """A running receiver, what it logs, and where it stores if it has no bucket."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.log: list[dict[str, Any]] = []
        self.other_output: list[str] = []
        self._started: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        line = self._started.get(timeout=30)
        assert line is not None, self.other_output
        self.port: int = line["scp_port"]
        self.health_port: int = line["health_port"]

    def messages(self, message: str) -> list[dict[str, Any]]:
        """Log lines with this message."""
        return [line for line in tuple(self.log) if line.get("message") == message]

    def await_message(self, message: str, number: int = 1, seconds: float = 20) -> list[dict[str, Any]]:
        """Wait until so many lines with this message were logged."""
        wait_for(lambda: len(self.messages(message)) >= number, seconds, f"{number} x {message!r}")
        return self.messages(message)

    def http_status(self, path: str) -> int:
        """What the health port answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    def await_ready(self) -> None:
        """Wait until /readyz says 200."""
        wait_for(lambda: self.http_status("/readyz") == 200, 20, "ready")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, return the exit code."""
        if self.process.poll() is None:
            self.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit code; all output has been read then."""
        code = self.process.wait(timeout=60)
        for reader in self._readers:
            reader.join(timeout=10)
        return code

    def stored(self) -> dict[str, bytes]:
        """Objects below incoming/ of the folder, by SOP instance UID; of several, the one of the last batch."""
        paths = sorted((self.folder / "incoming").rglob("*.dcm"))
        return {path.stem: path.read_bytes() for path in paths}

    def manifests(self) -> list[dict[str, Any]]:
        """Manifests below batches/ of the folder, oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.folder / "batches").glob("*.json"))]

    def memory_bytes(self) -> int:
        """Resident memory of the process now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def _read(self, stream: Any) -> None:
        with stream:
            for text in stream:
                try:
                    line = json.loads(text)
                except ValueError:
                    if not _SLOW_CALLBACK.match(text):
                        self.other_output.append(text)
                    continue
                self.log.append(line)
                if line.get("message") == "receiver started":
                    self._started.put(line)
        self._started.put(None)


@contextlib.contextmanager
def running_receiver(folder: Path, module: str = "storescp", **environment: str) -> Iterator[ReceiverProcess]:
    """Run `python -m storescp`, or another receiver's module, and leave neither it nor its workers behind."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-m", module],
        cwd=ROOT,
        env=receiver_environment(folder, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield ReceiverProcess(process, folder)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def receiver_environment(folder: Path, **environment: str) -> dict[str, str]:
    """An environment for a receiver that disturbs nobody; keyword arguments have the last word."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    defaults = {
        "BIND_ADDRESS": "127.0.0.1",
        "SCP_PORT": "0",
        "HEALTH_PORT": "0",
        "STORAGE_DIR": str(folder),
        "WORKERS": "1",
        "AWS_ACCESS_KEY_ID": "an-access-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_REGION": "us-east-1",
    }
    return {**inherited, **defaults, **environment}


def wait_for(condition: Any, seconds: float, what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} seconds in vain for {what}"
        time.sleep(0.02)
