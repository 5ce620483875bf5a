"""Where a process gets its connections from: a port of its own, or the process that shares the port out."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Connections(Protocol):
    """A source of connections."""

    async def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Begin to make connections; `on_end` is called if there can be no more."""

    def stop(self) -> None:
        """Make no more connections; those that are made live on."""


class OwnPort:
    """The only process: it accepts for itself."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._server: asyncio.Server | None = None

    async def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(factory, sock=self._listener, backlog=1024)

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()


class Securing(Protocol):
    """What makes connections secure before they are served: `storescp.tls.Handshakes`."""

    def begin(self, factory: ProtocolFactory, connection: socket.socket) -> None:
        """Secure a connection and give it to a protocol of `factory`."""

    def stop(self) -> None:
        """Give up those that are not secured yet."""


class HandedOver:
    """A worker: the supervisor accepts, and sends the descriptors over a socket pair."""

    def __init__(self, control: socket.socket, securing: Securing | None = None) -> None:
        self._control = control
        self._securing = securing
        self._making: set[asyncio.Task[Any]] = set()

    async def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Take connections from the supervisor; it ends when the supervisor does."""
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._on_end = on_end
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._take)

    def stop(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._control.fileno())
        if self._securing is not None:
            self._securing.stop()

    def _take(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except BlockingIOError:
            return
        if not message:
            self.stop()
            self._on_end()
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            connection.setblocking(False)
            if self._securing is not None:
                self._securing.begin(self._factory, connection)
                continue
            task = self._loop.create_task(self._connect(connection))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:  # reset before it could be served
            connection.close()
