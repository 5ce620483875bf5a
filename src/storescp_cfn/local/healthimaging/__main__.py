"""The emulator alone: `python -m storescp_cfn.local.healthimaging`.

Without the embedded AWS there is no IAM to ask and no event bus: everybody may call, S3 (`AWS_ENDPOINT_URL_S3`,
`AWS_ENDPOINT_URL`) is reached with this process's own credentials, and events are only shown at
`/_emulator/events`. Prints one JSON line with the port, and serves until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time

import boto3

from storescp_cfn.local.healthimaging.api import Api
from storescp_cfn.local.healthimaging.http import Running, Workers
from storescp_cfn.local.healthimaging.object_store import S3ObjectStore
from storescp_cfn.local.healthimaging.service import HealthImaging
from storescp_cfn.local.healthimaging.settings import Settings
from storescp_cfn.local.healthimaging.timetable import Timetable


def start_alone(port: int, settings: Settings, region: str) -> Running:
    """Start without IAM and without an event bus. Raises OSError when the port is taken."""
    store = S3ObjectStore(boto3.client("s3", region_name=region))
    workers = Workers()
    service = HealthImaging(
        Timetable(time.time), lambda role, datastore: store, lambda event: None, workers.run, region, settings=settings
    )
    return Running(Api(service), workers, port)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m storescp_cfn.local.healthimaging", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1; 0 is any that is free")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--settings", default="{}", help="JSON object of settings that differ from the documented")
    options = parser.parse_args()
    try:
        running = start_alone(options.port, Settings().changed(json.loads(options.settings)), options.region)
    except (ValueError, OSError, OverflowError) as error:
        print(f"Cannot start the HealthImaging emulator on port {options.port}: {error}", file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(json.dumps({"port": running.port}), flush=True)
    ended.wait()
    running.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
