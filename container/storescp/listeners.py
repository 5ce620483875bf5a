"""Where a process gets its connections from: a port of its own, or the process that shares the port out."""

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

from storescp.log import Log
from storescp.tls import failure_reason

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
_BACKLOG: Final = 1024
_ACCEPTS_PER_TURN: Final = 64
_RETRY_ACCEPT_SECONDS: Final = 0.1
_MAXIMUM_HANDSHAKES: Final = 1024  # at once; beyond it the oldest is given up


class Listener(Protocol):
    """A source of connections."""

    def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Begin to make connections, in a running loop; `on_end` is called if there can be no more."""

    def stop(self) -> None:
        """Make no more connections; those that are made live on."""


class _Opener(Protocol):
    """What turns an accepted socket into a connection of ours."""

    def begin(self, factory: ProtocolFactory, connection: socket.socket) -> None:
        """Give a connection to a protocol of `factory`."""

    def stop(self) -> None:
        """Give up those that are not given yet."""


class PlainOpener:
    """Gives connections on as they are."""

    def __init__(self, connection_closed: Callable[[], None]) -> None:
        """`connection_closed` is called for one that never became a connection of ours."""
        self._connection_closed = connection_closed
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, factory: ProtocolFactory, connection: socket.socket) -> None:
        """Give a connection to a protocol of `factory`."""
        task = asyncio.get_running_loop().create_task(self._connect(factory, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Nothing to give up: a plain connection is given on at once."""

    async def _connect(self, factory: ProtocolFactory, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(factory, connection)
        except OSError:  # reset before it could be served
            connection.close()
            self._connection_closed()


class TlsHandshaker:
    """Secures connections before they are given on.

    A handshake is a task of its own with a time limit, so one that is slow, or that never comes, delays nobody.
    """

    def __init__(
        self, context: ssl.SSLContext, seconds: float, log: Log, connection_closed: Callable[[], None]
    ) -> None:
        """`seconds` for each of them; `connection_closed` is called for one that never became a connection of ours."""
        self._context = context
        self._seconds = seconds
        self._log = log
        self._connection_closed = connection_closed
        self._under_way: dict[asyncio.Task[bool], socket.socket] = {}  # oldest first

    def begin(self, factory: ProtocolFactory, connection: socket.socket) -> None:
        """Secure `connection` and give it to a protocol of `factory`; too many at once: the oldest is given up."""
        task = asyncio.get_running_loop().create_task(self._secure(factory, connection))
        self._under_way[task] = connection
        task.add_done_callback(self._done)
        if len(self._under_way) > _MAXIMUM_HANDSHAKES:
            next(iter(self._under_way)).cancel()

    def stop(self) -> None:
        """Give up those that are not done."""
        for task in self._under_way:
            task.cancel()

    async def _secure(self, factory: ProtocolFactory, connection: socket.socket) -> bool:
        """Say whether it became a connection of ours."""
        peer = _peer_of(connection)
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                factory,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=self._seconds,
            )
        except (ConnectionResetError, BrokenPipeError):  # it went away, as a load balancer's probe does
            self._log.debug("connection closed before the TLS handshake", peer=peer)
            return False
        except OSError as error:  # ssl.SSLError is one, and so is the time-out
            self._log.warning("TLS handshake failed", peer=peer, reason=failure_reason(error))
            return False
        # uvloop returns, too, when the connection is lost in the middle of the handshake.
        return transport.get_extra_info("ssl_object") is not None

    def _done(self, task: asyncio.Task[bool]) -> None:
        connection = self._under_way.pop(task)
        if task.cancelled() or not task.result():
            connection.close()
            self._connection_closed()


class PlainListener:
    """The only process: it accepts for itself."""

    def __init__(self, port: socket.socket, opener: _Opener, log: Log) -> None:
        """`port`: a listening socket."""
        self._port = port
        self._opener = opener
        self._log = log
        self._is_open = True

    def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Accept; it never ends by itself."""
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._listen()

    def stop(self) -> None:
        """Close the port."""
        self._is_open = False
        self._loop.remove_reader(self._port.fileno())
        self._port.close()
        self._opener.stop()

    def _listen(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._port.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, _ = self._port.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory: the connection waits
                self._log.error("connection not accepted", detail=str(error))
                self._loop.remove_reader(self._port.fileno())
                self._loop.call_later(_RETRY_ACCEPT_SECONDS, self._listen)
                return
            connection.setblocking(False)
            self._opener.begin(self._factory, connection)


class TlsListener(PlainListener):
    """The only process, with TLS: each connection is secured before it is given on."""

    def __init__(self, port: socket.socket, handshaker: TlsHandshaker, log: Log) -> None:
        super().__init__(port, handshaker, log)


class WorkerInbox:
    """A worker: the supervisor accepts, and sends the descriptors over a socket pair."""

    def __init__(self, control: socket.socket, opener: _Opener) -> None:
        self._control = control
        self._opener = opener

    def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Take connections from the supervisor; it ends when the supervisor does."""
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._on_end = on_end
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._take)

    def stop(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._control.fileno())
        self._opener.stop()

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
            self._opener.begin(self._factory, connection)


def listen(address: str, port: int) -> socket.socket:
    """Open a listening socket whose connections inherit what a receiver wants of them.

    Raises `OSError`: the port cannot be opened.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    try:
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _peer_of(connection: socket.socket) -> str:
    try:
        host, port = connection.getpeername()[:2]
    except OSError:  # it has gone already
        return ""
    return f"{host}:{port}"
