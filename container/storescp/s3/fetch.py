"""One small HTTP request over a connection of its own, for credentials endpoints. Proxies are never used."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from storescp.s3.connection import ExchangeFailed, TimeLimits, connect
from storescp.s3.response import ResponseReader

_SECONDS: Final = 5.0
_MAXIMUM_BODY: Final = 64 * 1024


async def fetch(loop: asyncio.AbstractEventLoop, method: str, url: str, headers: Mapping[str, str]) -> bytes:
    """Return the body of a response with status 200. Raises `ExchangeFailed`."""
    address = urlsplit(url)
    tls = ssl.create_default_context() if address.scheme == "https" else None
    deadline = loop.time() + _SECONDS
    host = address.hostname or ""
    connection = await connect(loop, host, address.port or (443 if tls else 80), tls, deadline)
    try:
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        lines = {
            "host": address.netloc.rpartition("@")[2],
            "accept": "application/json",
            "connection": "close",
            **headers,
        }
        if method == "PUT":
            lines["content-length"] = "0"
        head = encode_head(method, target, lines)
        response = await connection.exchange(head, (), ResponseReader(_MAXIMUM_BODY), TimeLimits(_SECONDS, deadline))
    finally:
        connection.close()
    if response.status != 200:
        raise ExchangeFailed(f"HTTP{response.status}", was_sent=True)
    return response.body


def encode_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Encode a request's head. Raises `ValueError`: a value that would begin another line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"{method} {target} HTTP/1.1\r\n{lines}\r\n"
    if head.count("\n") != len(headers) + 2:
        raise ValueError("a header's value has a line break")
    return head.encode("latin-1")
