"""Where a process gets its connections from: a port of its own, or the process that shares the port out."""

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from storescp.log import Log
from storescp.tls import failure_reason
from storescp.traces import HANDSHAKE_FAILED

ConnectionHandler = Callable[[socket.socket], None]
_BACKLOG: Final = 1024
_ACCEPTS_PER_TURN: Final = 64
_RETRY_ACCEPT_SECONDS: Final = 0.1
_MAXIMUM_HANDSHAKES: Final = 1024  # at once; beyond it the oldest is given up


class Listener(Protocol):
    """A source of connections."""

    def start(self, serve: ConnectionHandler, on_end: Callable[[], None]) -> None:
        """Begin to make connections, in a running loop; `on_end` is called if there can be no more."""

    def stop(self) -> None:
        """Make no more connections; those that are made live on."""


class _Opener(Protocol):
    """What turns an accepted socket into a connection of ours."""

    def begin(self, connection: socket.socket, serve: ConnectionHandler) -> None:
        """Give a connection to `serve`."""

    def stop(self) -> None:
        """Give up those that are not given yet."""


class PlainOpener:
    """Gives connections on as they are."""

    def begin(self, connection: socket.socket, serve: ConnectionHandler) -> None:
        """Give a connection to `serve`."""
        serve(connection)

    def stop(self) -> None:
        """Nothing to give up: a plain connection is given on at once."""


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
        self._under_way: dict[asyncio.Task[None], None] = {}  # oldest first

    def begin(self, connection: socket.socket, serve: ConnectionHandler) -> None:
        """Secure a connection and give it to `serve`; if there are too many at once, the oldest is given up."""
        task = asyncio.get_running_loop().create_task(self._secure(connection, serve))
        self._under_way[task] = None
        task.add_done_callback(self._under_way.pop)
        if len(self._under_way) > _MAXIMUM_HANDSHAKES:
            next(iter(self._under_way)).cancel()

    def stop(self) -> None:
        """Give up those that are not done."""
        for task in self._under_way:
            task.cancel()

    async def _secure(self, connection: socket.socket, serve: ConnectionHandler) -> None:
        peer = _peer_of(connection)
        secured: socket.socket = connection
        is_served = False
        try:
            async with asyncio.timeout(self._seconds):
                if not peer:
                    raise ConnectionResetError  # before `wrap_socket`, which would leave its half of it open
                secured = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                await _shake_hands(secured)
            is_served = True
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):  # as a load balancer's probe does
            self._log.debug("connection closed before the TLS handshake", peer=peer)
        except TimeoutError:
            self._log.warning(HANDSHAKE_FAILED, peer=peer, reason=f"it took more than {self._seconds:g} seconds")
        except OSError as error:  # ssl.SSLError is one
            self._log.warning(HANDSHAKE_FAILED, peer=peer, reason=failure_reason(error))
        finally:
            if not is_served:
                secured.close()
                self._connection_closed()
        if is_served:
            serve(secured)


async def _shake_hands(connection: ssl.SSLSocket) -> None:
    """Do the handshake of a server. Raises `OSError`: it failed."""
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            await _until_ready(connection, for_writing=False)
        except ssl.SSLWantWriteError:
            await _until_ready(connection, for_writing=True)
        else:
            return


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _until_ready(connection: socket.socket, for_writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    add(connection.fileno(), _set_done, ready)
    try:
        await ready
    finally:
        remove(connection.fileno())


class PlainListener:
    """The only process: it accepts for itself."""

    def __init__(self, port: socket.socket, opener: _Opener, log: Log) -> None:
        """`port`: a listening socket."""
        self._port = port
        self._opener = opener
        self._log = log
        self._is_open = True

    def start(self, serve: ConnectionHandler, on_end: Callable[[], None]) -> None:
        """Accept connections, until `stop`; `on_end` is never called."""
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._listen()

    def stop(self) -> None:
        """Accept no more connections, and close the port."""
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
            self._opener.begin(connection, self._serve)


class TlsListener(PlainListener):
    """The only process, with TLS: each connection is secured before it is given on."""

    def __init__(self, port: socket.socket, handshaker: TlsHandshaker, log: Log) -> None:
        super().__init__(port, handshaker, log)


class WorkerInbox:
    """A worker: the supervisor accepts, and sends the descriptors over a socket pair."""

    def __init__(self, control: socket.socket, opener: _Opener) -> None:
        self._control = control
        self._opener = opener

    def start(self, serve: ConnectionHandler, on_end: Callable[[], None]) -> None:
        """Take connections from the supervisor; it ends when the supervisor does."""
        self._loop = asyncio.get_running_loop()
        self._serve = serve
        self._on_end = on_end
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._take)

    def stop(self) -> None:
        """Take no more connections from the supervisor."""
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
            self._opener.begin(connection, self._serve)


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
