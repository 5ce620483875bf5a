"""The embedded AWS as one process: `python -m storescp_cfn.local.embedded_aws`.

ministack (loopback only, IAM enforced) with the resource types it lacks, the HealthImaging emulator and the ECS
credentials endpoint. Writes a file with what the launcher cannot know as soon as it can be reached.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

ACCOUNT = "000000000000"
# ministack's root key. Only the launcher and the emulated services use it, never the code under test.
ROOT_KEY, ROOT_SECRET = "test", "test"


def environment(port: int, healthimaging_port: int, region: str) -> dict[str, str]:
    """What ministack reads when it is imported, and what its Lambda processes inherit."""
    return {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # else ministack listens for MQTT on every interface, whatever BIND_HOST says
        "MINISTACK_REGION": region,
        "LOG_LEVEL": "WARNING",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": f"http://127.0.0.1:{healthimaging_port}",
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",  # there is no host runtime-127.0.0.1
    }


def announce(port: int, ready_file: Path, facts: dict[str, int]) -> None:
    """Write `ready_file`, whole or not at all, once ministack accepts connections."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    unfinished = ready_file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(facts))
    unfinished.rename(ready_file)


def behind_tls(application: Any) -> Any:
    """The ASGI application as seen through a proxy that ended TLS, so that policies which demand TLS are met.

    Loopback has no TLS: the policies' other conditions and statements are enforced as they stand.
    """

    async def proxied(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = scope | {"headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await application(scope, receive, send)

    return proxied


def serve(port: int, healthimaging_port: int, region: str, ready_file: Path) -> None:
    """Serve until SIGTERM."""
    from ministack import app

    from storescp_cfn.local import condition_keys, customer_key, embedded_healthimaging, missing_types
    from storescp_cfn.local.ecs_credentials import EcsCredentials
    from storescp_cfn.local.service_sessions import open_session

    credentials = EcsCredentials(open_session)
    emulator = embedded_healthimaging.start(f"http://127.0.0.1:{port}", ACCOUNT, region, healthimaging_port)
    condition_keys.install()
    customer_key.install()
    missing_types.register(
        lambda name: embedded_healthimaging.create_datastore(emulator, name),
        lambda datastore_id: embedded_healthimaging.delete_datastore(emulator, datastore_id),
    )
    facts = {"credentials_port": credentials.server_port}
    threading.Thread(target=announce, args=(port, ready_file, facts), daemon=True).start()
    app.app = behind_tls(app.app)
    sys.argv = sys.argv[:1]  # ministack reads its own options from there
    app.main()


def main() -> None:
    """`embedded_aws PORT HEALTHIMAGING_PORT REGION READY_FILE`: serve until SIGTERM."""
    port, healthimaging_port, region, ready_file = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        sys.argv[4],
    )
    os.environ.update(environment(port, healthimaging_port, region))
    serve(port, healthimaging_port, region, Path(ready_file))


if __name__ == "__main__":
    main()
