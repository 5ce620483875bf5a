"""Connections to one server, used again and again."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from storescp.s3.connection import Connection, TimeLimits, connect
from storescp.s3.response import Response, ResponseReader

MAXIMUM_CONNECTIONS: Final = 384
_IDLE_SECONDS: Final = 15.0  # S3 closes idle connections itself, a few seconds later


class ConnectionPool:
    """Keeps connections open between requests; whoever needs one beyond the limit waits in a queue."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        maximum: int = MAXIMUM_CONNECTIONS,
    ) -> None:
        self._loop = loop
        self._address = (host, port, tls)
        self._slots = asyncio.Semaphore(maximum)
        self._idle: list[Connection] = []  # the last used one is used first
        self._in_use: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def exchange(
        self,
        head: bytes,
        chunks: Sequence[memoryview],
        reader: ResponseReader,
        limits: TimeLimits,
        is_fresh: bool = False,
    ) -> Response:
        """Exchange a request for a response over one connection, a new one if `is_fresh`. Raises `ExchangeFailed`."""
        async with self._slots:
            connection = None if is_fresh else self._take_idle()
            if connection is None:
                connection = await connect(self._loop, *self._address, limits.deadline)
            self._in_use.add(connection)
            try:
                return await connection.exchange(head, chunks, reader, limits)
            finally:
                self._in_use.discard(connection)
                self._keep(connection)

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        self._is_closed = True
        for connection in (*self._idle, *self._in_use):
            connection.close()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._loop.time() - connection.idle_since < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        if not connection.is_open:
            return
        if self._is_closed:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for long, so that a burst leaves no descriptors behind."""
        oldest = self._loop.time() - _IDLE_SECONDS
        for connection in self._idle:
            if connection.idle_since <= oldest:
                connection.close()
        self._idle = [connection for connection in self._idle if connection.is_open]
        self._sweeper = self._loop.call_later(_IDLE_SECONDS, self._sweep) if self._idle else None
