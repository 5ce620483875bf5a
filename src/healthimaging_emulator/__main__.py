"""The command `healthimaging-emulator`: the emulator by itself, on a port of 127.0.0.1.

There is no IAM to ask and no event bus: every signature is accepted, everybody may call, and events are only shown at
`/_emulator/events`. Prints one JSON line when it can be reached, and serves until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from healthimaging_emulator.api import Api
from healthimaging_emulator.jobs import ObjectStore
from healthimaging_emulator.object_store import FolderObjectStore, S3ObjectStore
from healthimaging_emulator.scheduler import Scheduler
from healthimaging_emulator.server import EmulatorServer, Workers
from healthimaging_emulator.service import HealthImaging
from healthimaging_emulator.settings import Settings, read_behaviour_file

DEFAULT_PORT = 8085


def start_alone(port: int, settings: Settings, region: str, store: ObjectStore) -> EmulatorServer:
    """Start without IAM and without an event bus. Raises OSError: the port is taken."""
    workers = Workers()
    service = HealthImaging(
        Scheduler(time.time), lambda role, datastore: store, lambda event: None, workers.run, region, settings=settings
    )
    return EmulatorServer(Api(service), workers, port)


def object_store(folder: Path | None, endpoint_url: str | None, region: str) -> ObjectStore:
    """Where import jobs find their objects. Raises ValueError: the folder does not exist."""
    if folder is None:
        config = Config(s3={"addressing_style": "path"}) if endpoint_url else None
        return S3ObjectStore(boto3.client("s3", region_name=region, endpoint_url=endpoint_url, config=config))
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    return FolderObjectStore(folder)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="healthimaging-emulator",
        description="AWS HealthImaging on this machine, for tests and development. Point a client at it with "
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING or endpoint_url.",
    )
    made.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"port of 127.0.0.1 (default: {DEFAULT_PORT}); 0 is any that is free",
    )
    made.add_argument("--region", default="us-east-1", help="Region in ARNs (default: us-east-1)")
    where = made.add_mutually_exclusive_group()
    where.add_argument(
        "--folder", type=Path, help="a folder instead of S3: s3://BUCKET/KEY is the file FOLDER/BUCKET/KEY"
    )
    where.add_argument(
        "--s3-endpoint-url", help="S3 to read from and write to (default: what AWS_ENDPOINT_URL_S3 says, else AWS)"
    )
    made.add_argument("--behaviour", type=Path, help="JSON file with durations, latencies and faults")
    made.add_argument("--settings", default="{}", help="JSON object of settings; it prevails over the behaviour file")
    return made


def settings_of(options: argparse.Namespace) -> Settings:
    """The documented settings, changed by the behaviour file, then by the command line. Raises ValueError, OSError."""
    changes: dict[str, Any] = read_behaviour_file(options.behaviour) if options.behaviour else {}
    return Settings().changed(changes).changed(json.loads(options.settings))


def main() -> int:
    """Serve; the exit code is 2 when it cannot start."""
    options = parser().parse_args()
    try:
        store = object_store(options.folder, options.s3_endpoint_url, options.region)
        emulator = start_alone(options.port, settings_of(options), options.region, store)
    except (ValueError, OSError, OverflowError) as error:
        print(f"Cannot start the HealthImaging emulator on port {options.port}: {error}", file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(json.dumps({"port": emulator.port, "endpoint_url": emulator.url}), flush=True)
    ended.wait()
    emulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
