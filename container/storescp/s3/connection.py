"""One keep-alive connection to an HTTP server: a request goes out from where its bytes lie, a response comes back.

The socket is ours and does not block; asyncio only tells when it can be read or written. So nothing of a body is copied
or held back on our side: what the kernel has not taken yet still lies in the caller's buffers.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from storescp.s3.response import MalformedResponse, Response, ResponseReader

_READ_BYTES: Final = 64 * 1024
_VECTORS: Final = 64  # buffers for one sendmsg
_BYTES_AT_ONCE: Final = 512 * 1024  # over TLS, before others have their turn
_CONNECT_SECONDS: Final = 5.0
_READ_BUFFER: Final = memoryview(bytearray(_READ_BYTES))  # of the process: it is emptied before another socket is read


class ExchangeFailed(Exception):
    """There is no response. `code` says why, in a word; `was_sent`: the server may have acted on the request."""

    def __init__(self, code: str, was_sent: bool, is_stale: bool = False) -> None:
        """`is_stale`: the connection had been used before and was closed before a byte of this response came."""
        super().__init__(code)
        self.code = code
        self.was_sent = was_sent
        self.is_stale = is_stale


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """When an exchange is given up.

    At `deadline` (the loop's clock), and `try_seconds` after the last byte of the request was sent, or, if it
    `is_patient`, after the last byte of the response was received: that of an operation which S3 keeps alive by spaces.
    """

    try_seconds: float
    deadline: float
    is_patient: bool = False


class Connection:
    """A connected socket, plain or with TLS; one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.is_open = True
        self.idle_since = 0.0
        self._loop = loop
        self._socket = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._descriptor = sock.fileno()
        self._exchanges = 0
        self._unsent: list[memoryview] = []
        self._is_writing = False  # whether we wait until the socket can be written
        self._reader: ResponseReader | None = None
        self._future: asyncio.Future[Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._limits = TimeLimits(0.0, 0.0)
        self._last_progress = 0.0
        loop.add_reader(self._descriptor, self._on_readable)

    async def exchange(
        self,
        head: bytes,
        chunks: Sequence[memoryview],
        reader: ResponseReader,
        limits: TimeLimits,
    ) -> Response:
        """Send a request and return the response.

        Raises `ExchangeFailed`; the connection is closed then, and when the caller is cancelled.
        """
        self._exchanges += 1
        self._unsent = [memoryview(head), *chunks]
        self._reader = reader
        self._limits = limits
        self._last_progress = self._loop.time()
        future: asyncio.Future[Response] = self._loop.create_future()
        self._future = future
        self._watch()
        self._send()
        try:
            return await future
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._future = self._reader = None
            if self._unsent or not future.done() or future.cancelled():
                self.close()

    def close(self) -> None:
        """Close at once; bytes that were not sent are not touched any more."""
        if not self.is_open:
            return
        self.is_open = False
        self._unsent = []
        self._loop.remove_reader(self._descriptor)
        if self._is_writing:
            self._loop.remove_writer(self._descriptor)
        self._socket.close()
        if self._timer is not None:
            self._timer.cancel()

    # Time

    def _watch(self) -> None:
        monotonic_now = self._loop.time()
        due = min(self._last_progress + self._limits.try_seconds, self._limits.deadline)
        if monotonic_now >= due:
            self._fail("TimedOut")
        else:
            self._timer = self._loop.call_at(due, self._watch)

    # Writing

    def _send(self) -> None:
        """Send what the kernel takes; what it does not take waits until the socket can be written."""
        try:
            sent = self._send_tls() if self._tls is not None else self._send_plain()
        except OSError as error:
            self._on_broken(error)
            return
        if sent:
            self._last_progress = self._loop.time()
        if self._is_writing is not bool(self._unsent):
            self._is_writing = bool(self._unsent)
            if self._is_writing:
                self._loop.add_writer(self._descriptor, self._send)
            else:
                self._loop.remove_writer(self._descriptor)

    def _send_plain(self) -> int:
        try:
            sent = self._socket.sendmsg(self._unsent[:_VECTORS])
        except (BlockingIOError, InterruptedError):
            return 0
        self._advance(sent)
        return sent

    def _send_tls(self) -> int:
        """One record after another, encrypted from where it lies into the kernel."""
        assert self._tls is not None
        total = 0
        while self._unsent and total < _BYTES_AT_ONCE:
            try:
                sent = self._tls.send(self._unsent[0])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                break
            self._advance(sent)
            total += sent
        return total

    def _advance(self, sent: int) -> None:
        unsent = self._unsent
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.pop(0))
        if sent:
            unsent[0] = unsent[0][sent:]

    # Reading

    def _on_readable(self) -> None:
        while self.is_open:
            try:
                count = self._socket.recv_into(_READ_BUFFER)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                count = 0
            except OSError as error:
                self._fail(code_of(error))
                return
            self._take(count)
            if self._tls is None:  # OpenSSL may hold more that was read already; the kernel tells again
                return

    def _take(self, count: int) -> None:
        reader = self._reader
        if reader is None:  # nobody has asked: the server closes, or says something we do not understand
            self.close()
            return
        if self._limits.is_patient:
            self._last_progress = self._loop.time()
        try:
            response = reader.feed(_READ_BUFFER[:count]) if count else reader.end()
        except MalformedResponse:
            self._fail("ConnectionClosed" if not count else "MalformedResponse")
            return
        if response is not None:
            self._answer(response)

    def _on_broken(self, error: OSError) -> None:
        """The server takes no more; it may have said why."""
        if self._reader is not None:
            self._on_readable()
        if self._future is not None and not self._future.done():
            self._fail(code_of(error))

    def _answer(self, response: Response) -> None:
        future = self._future
        if self._unsent or not response.keeps_open:  # answered before the request was whole: what follows is unknown
            self.close()
        if future is not None and not future.done():
            future.set_result(response)

    def _fail(self, code: str) -> None:
        future, reader = self._future, self._reader
        was_sent = not self._unsent
        is_stale = self._exchanges > 1 and reader is not None and not reader.has_begun and code != "TimedOut"
        self.close()
        if future is not None and not future.done():
            future.set_exception(ExchangeFailed(code, was_sent, is_stale))


async def connect(
    loop: asyncio.AbstractEventLoop, host: str, port: int, tls: ssl.SSLContext | None, deadline: float
) -> Connection:
    """Connect to the first address of `host` that answers. Raises `ExchangeFailed`."""
    seconds = min(_CONNECT_SECONDS, deadline - loop.time())
    try:
        async with asyncio.timeout(seconds):
            addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ExchangeFailed("TimedOut", was_sent=False) from None
    except OSError:
        raise ExchangeFailed("HostNotFound", was_sent=False) from None
    code = "HostNotFound"
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            async with asyncio.timeout(min(_CONNECT_SECONDS, deadline - loop.time())):
                return Connection(loop, await _open(loop, sock, address, host, tls))
        except TimeoutError:
            code = "TimedOut"
            sock.close()
        except OSError as error:
            code = code_of(error)
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise ExchangeFailed(code, was_sent=False)


async def _open(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, address: object, host: str, tls: ssl.SSLContext | None
) -> socket.socket:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await loop.sock_connect(sock, address)  # type: ignore[arg-type]
    if tls is None:
        return sock
    secured = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                await _until(loop, secured.fileno(), loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _until(loop, secured.fileno(), loop.add_writer, loop.remove_writer)
            else:
                return secured
    except BaseException:
        secured.close()
        raise


async def _until(
    loop: asyncio.AbstractEventLoop, descriptor: int, add: Callable[..., object], remove: Callable[[int], bool]
) -> None:
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    add(descriptor, wake)
    try:
        await future
    finally:
        remove(descriptor)


def code_of(error: OSError) -> str:
    """A word for logs: OpenSSL's reason, or the exception's name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "CertificateVerifyFailed"
    if isinstance(error, ssl.SSLError):
        return "TlsFailed"
    return type(error).__name__.removesuffix("Error")
