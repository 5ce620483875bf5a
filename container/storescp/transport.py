"""A connection as its owner wants to read it: when he can take bytes, and only as many as he can take.

It works on the socket itself, plain or TLS. asyncio's transports read ahead: with TLS up to half a MiB for each
connection, whatever the owner says, and one that is paused does not notice that its peer has gone.
"""

import asyncio
import contextlib
import errno
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol

_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux
_NOT_NOW: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Owner(Protocol):
    """Whose connection it is. None of its methods raises."""

    def read_limit(self) -> int:
        """How many bytes it can take now; at least one."""

    def received(self, data: memoryview) -> None:
        """Take bytes, which are valid during this call only."""

    def sent(self) -> None:
        """Everything that was to be sent is with the kernel now."""

    def connection_lost(self) -> None:
        """The connection is gone, whoever closed it. This is the last call."""


class HangupWatcher:
    """Notices that the peer of a connection has closed it, or has died, although nobody reads from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._look)

    def watch(self, descriptor: int, on_hangup: Callable[[], None]) -> None:
        """Call `on_hangup` once when the peer has gone."""
        self._callbacks[descriptor] = on_hangup
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def unwatch(self, descriptor: int) -> None:
        """Watch no longer; to be called before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        self._callbacks.clear()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _look(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback()


class Transport:
    """A connected socket, non-blocking, plain or with TLS whose handshake is done."""

    __slots__ = (
        "_hangups",
        "_has_ended",
        "_is_reading",
        "_is_tls",
        "_is_writing",
        "_loop",
        "_owner",
        "_read_view",
        "_shuts_down",
        "_socket",
        "_unsent",
        "peer_address",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, read_view: memoryview, hangups: HangupWatcher
    ) -> None:
        """`read_view`: where to read to; all connections share it, since it is emptied before another one reads."""
        self._loop = loop
        self._socket = connection
        self._is_tls = isinstance(connection, ssl.SSLSocket)
        self._read_view = read_view
        self._hangups = hangups
        self._unsent = bytearray()
        self._is_reading = self._is_writing = self._has_ended = self._shuts_down = False
        try:
            host, port = connection.getpeername()[:2]
            self.peer_address = (str(host), int(port))
        except OSError:  # it has gone already, which the first read will show
            self.peer_address = ("", 0)

    @property
    def peer_certificate(self) -> dict[str, Any]:
        """The peer's verified certificate as `ssl.SSLSocket.getpeercert` has it; empty if there is none."""
        return (self._socket.getpeercert() or {}) if isinstance(self._socket, ssl.SSLSocket) else {}

    def start(self, owner: Owner) -> None:
        """Begin to read from the peer, for `owner`."""
        self._owner = owner
        self.resume_reading()

    @property
    def is_reading(self) -> bool:
        """Whether the transport reads what the peer sends."""
        return self._is_reading

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return len(self._unsent)

    def resume_reading(self) -> None:
        """Read when there is something."""
        if self._is_reading or self._has_ended:
            return
        self._is_reading = True
        self._hangups.unwatch(self._socket.fileno())
        self._loop.add_reader(self._socket.fileno(), self._read)
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._loop.call_soon(self._read)  # what OpenSSL has, the kernel does not report

    def pause_reading(self) -> None:
        """Read nothing, and yet notice when the peer goes."""
        if not self._is_reading or self._has_ended:
            return
        self._is_reading = False
        self._loop.remove_reader(self._socket.fileno())
        self._hangups.watch(self._socket.fileno(), self._end)

    def write(self, data: bytes) -> None:
        """Send bytes, now or when the kernel takes them."""
        if self._has_ended:
            return
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except _NOT_NOW:
                sent = 0
            except OSError:
                self._loop.call_soon(self._end)
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._socket.fileno(), self._write)

    def shut_down(self) -> None:
        """Say that no more follows, once everything is sent."""
        self._shuts_down = True
        if not self._unsent:
            self._say_goodbye()

    def abort(self) -> None:
        """Close at once; `connection_lost` is called soon."""
        if not self._has_ended:
            self._loop.call_soon(self._end)

    def _read(self) -> None:
        if not self._is_reading or self._has_ended:
            return
        limit = min(self._owner.read_limit(), len(self._read_view))
        try:
            received = self._fill(limit) if self._is_tls else self._socket.recv_into(self._read_view, limit)
        except _NOT_NOW:
            return
        except OSError:
            self._end()
            return
        if not received:
            self._end()
            return
        self._acknowledge()
        self._owner.received(self._read_view[:received])
        if self._is_tls and self._is_reading and not self._has_ended and self._pending():
            self._loop.call_soon(self._read)

    def _pending(self) -> int:
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.pending()

    def _fill(self, limit: int) -> int:
        """Read as many records of TLS as there are, up to `limit` bytes; 0: the peer has closed."""
        filled = 0
        while filled < limit:
            try:
                received = self._socket.recv_into(self._read_view[filled:limit])
            except _NOT_NOW:
                if filled:
                    break
                raise
            if not received:
                break
            filled += received
        return filled

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except _NOT_NOW:
            return
        except OSError:
            self._end()
            return
        del self._unsent[:sent]
        if self._unsent:
            return
        self._is_writing = False
        self._loop.remove_writer(self._socket.fileno())
        if self._shuts_down:
            self._say_goodbye()
        self._owner.sent()

    def _say_goodbye(self) -> None:
        if not self._is_tls and not self._has_ended:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    self._loop.call_soon(self._end)

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge at once.

        A sender with Nagle's algorithm on holds its second small segment until the first is acknowledged, and
        the kernel forgets this option after a while, so it is set after every read.
        """
        if _QUICKACK is not None:
            try:  # noqa: SIM105 (this runs at every read, and a context manager costs as much as the call)
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:  # the peer has gone; the next read shows it
                pass

    def _end(self) -> None:
        """Close the socket, once, and tell the owner."""
        if self._has_ended:
            return
        self._has_ended = True
        descriptor = self._socket.fileno()
        if self._is_reading:
            self._loop.remove_reader(descriptor)
        if self._is_writing:
            self._loop.remove_writer(descriptor)
        self._hangups.unwatch(descriptor)
        self._unsent.clear()
        self._close_notify()
        self._socket.close()
        self._owner.connection_lost()

    def _close_notify(self) -> None:
        """Tell a peer of TLS that what it read was all (RFC 8446 6.1), if the kernel takes it at once."""
        if isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # it has gone, or its own close_notify has not come yet
                self._socket.unwrap()
