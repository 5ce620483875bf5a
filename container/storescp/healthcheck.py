"""The container's health check: exit 0 if `/healthz` of this task answers 200, else 1.

The image's HEALTHCHECK and the task definition run it every half minute on a fraction of a CPU, so it imports nothing
but `socket`.
"""

import os
import socket
import sys
from collections.abc import Mapping

TIMEOUT_SECONDS = 4
DEFAULT_PORT = "8080"


def healthy(environment: Mapping[str, str]) -> bool:
    """Whether the health port answers `GET /healthz` with 200 in time."""
    address = environment.get("BIND_ADDRESS") or "127.0.0.1"
    if address == "0.0.0.0":
        address = "127.0.0.1"
    try:
        port = int(environment.get("HEALTH_PORT") or DEFAULT_PORT)
        with socket.create_connection((address, port), TIMEOUT_SECONDS) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except (OSError, OverflowError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(os.environ) else 1)
