"""Health over HTTP: /healthz says that the process lives, /readyz that it takes associations."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

_MAXIMUM_REQUEST: Final = 8192
_PHRASES: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Unavailable"}
_SECONDS: Final = 5.0


class HealthServer:
    """The health port of a process."""

    def __init__(self, not_ready_reason: Callable[[], str]) -> None:
        """`not_ready_reason` returns why no association should come here, or nothing."""
        self.not_ready_reason = not_ready_reason
        self.transports: set[Any] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Answer on a listening socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _HealthProtocol(self), sock=listener)

    def stop(self) -> None:
        """Close the port and what is still connected to it."""
        if self._server is not None:
            self._server.close()
        for transport in tuple(self.transports):
            transport.abort()


class _HealthProtocol(asyncio.Protocol):
    """One connection: reads a request's head, answers, closes. It never waits for anything."""

    def __init__(self, server: HealthServer) -> None:
        self._server = server
        self._head = b""
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Give the client a few seconds."""
        self._transport = transport
        self._server.transports.add(transport)
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._server.transports.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer once the head is whole."""
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._answer(*self._respond())
        elif len(self._head) > _MAXIMUM_REQUEST:
            self._answer(400, "the request is too long")

    def _respond(self) -> tuple[int, str]:
        words = self._head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3:
            return 400, "this is no HTTP request"
        method, target, _ = words
        if method not in (b"GET", b"HEAD"):
            return 405, "only GET is allowed"
        path = target.split(b"?", 1)[0]
        if path == b"/healthz":
            return 200, "alive"
        if path == b"/readyz":
            reason = self._server.not_ready_reason()
            return (503, reason) if reason else (200, "ready")
        return 404, "there are /healthz and /readyz"

    def _answer(self, status: int, text: str) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        body = text.encode() + b"\n"
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        is_head = self._head.startswith(b"HEAD ")
        transport.write(head.encode() if is_head else head.encode() + body)
        transport.close()
