"""The receiver's log in CloudWatch Logs, as the awslogs driver of its task puts it there."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

INTERVAL_SECONDS = 0.5
MOST_EVENTS = 1_000  # of a call; PutLogEvents takes 10,000


class LogDriver:
    """Copies each line of `log` behind `read_bytes` into a stream of its own of `group`, until `stop`."""

    def __init__(self, logs: Any, group: str, log: Path, read_bytes: int = 0) -> None:
        self.logs = logs
        self.place = {"logGroupName": group, "logStreamName": f"receiver/{uuid.uuid4().hex}"}
        self.log = log
        self.read_bytes = read_bytes
        self.stopped = threading.Event()
        logs.create_log_stream(**self.place)
        self.thread = threading.Thread(target=self.run, name="log-driver", daemon=True)
        self.thread.start()

    def run(self) -> None:
        """Copy the containers' lines until `stop`."""
        while not self.stopped.wait(INTERVAL_SECONDS):
            self.copy()

    def copy(self) -> None:
        """Copy the lines that are complete."""
        from botocore.exceptions import BotoCoreError, ClientError

        with self.log.open("rb") as file:
            file.seek(self.read_bytes)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        lines = [line for line in whole.decode(errors="replace").splitlines() if line]
        moment = int(time.time() * 1000)
        try:
            for start in range(0, len(lines), MOST_EVENTS):
                events = [{"timestamp": moment, "message": line} for line in lines[start : start + MOST_EVENTS]]
                self.logs.put_log_events(**self.place, logEvents=events)
        except (BotoCoreError, ClientError):
            return  # the embedded AWS is busy or about to end; the lines are read again
        self.read_bytes += len(whole)

    def stop(self) -> None:
        """Stop copying lines."""
        self.stopped.set()
        self.thread.join()
