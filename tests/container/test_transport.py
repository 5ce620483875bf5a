"""Sockets as their owner wants to read them, plain and TLS (transport.py, listeners.py)."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field

import pytest
import trustme
import uvloop

from storescp.listeners import TlsHandshaker
from storescp.log import Log
from storescp.transport import HangupWatcher, Transport

SECONDS = 60.0  # more than any of this takes on a machine that is busy with other things


@dataclass
class Owner:
    """Takes what comes, `limit` bytes at a time."""

    limit: int = 65536
    taken: bytearray = field(default_factory=bytearray)
    largest: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    all_sent: asyncio.Event = field(default_factory=asyncio.Event)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 1

    def read_limit(self) -> int:
        return self.limit

    def received(self, data: memoryview) -> None:
        self.taken += data
        self.largest = max(self.largest, len(data))
        if len(self.taken) >= self.wanted:
            self.enough.set()

    def sent(self) -> None:
        self.all_sent.set()

    def connection_lost(self) -> None:
        self.lost.set()


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@contextlib.contextmanager
def connected(contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end, non-blocking, and the peer's, blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname(), timeout=SECONDS)
        ours, _ = listener.accept()
    if contexts is not None:
        server, client = contexts
        wrapped: list[ssl.SSLSocket] = []
        shaking = threading.Thread(target=lambda: wrapped.append(server.wrap_socket(ours, server_side=True)))
        shaking.start()
        peer = client.wrap_socket(peer, server_hostname="localhost")
        shaking.join()
        ours = wrapped[0]
    ours.setblocking(False)
    with peer, ours:
        yield ours, peer


@pytest.fixture(params=["plain", "TLS"])
def ends(
    request: pytest.FixtureRequest, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> Iterator[tuple[socket.socket, socket.socket]]:
    with connected(contexts if request.param == "TLS" else None) as pair:
        yield pair


def run(work: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(SECONDS):
            await work

    uvloop.run(limited())


def started(ours: socket.socket, owner: Owner) -> tuple[Transport, HangupWatcher]:
    loop = asyncio.get_running_loop()
    hangups = HangupWatcher(loop)
    transport = Transport(loop, ours, memoryview(bytearray(65536)), hangups)
    transport.start(owner)
    return transport, hangups


@pytest.mark.parametrize("limit", [1, 1000, 65536])
def test_no_more_is_read_than_the_owner_takes(ends: tuple[socket.socket, socket.socket], limit: int) -> None:
    ours, peer = ends
    data = bytes(range(256)) * (20 if limit == 1 else 4000)

    async def work() -> None:
        owner = Owner(limit, wanted=len(data))
        transport, _ = started(ours, owner)
        sending = threading.Thread(target=peer.sendall, args=(data,))
        sending.start()
        await owner.enough.wait()
        sending.join()
        assert bytes(owner.taken) == data
        assert owner.largest <= limit
        transport.abort()
        await owner.lost.wait()

    run(work())


def test_what_comes_while_nobody_reads_is_there_when_reading_goes_on(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, peer = ends

    async def work() -> None:
        owner = Owner(100, wanted=100)
        transport, _ = started(ours, owner)
        peer.sendall(bytes(5000))  # in one record of TLS, of which OpenSSL keeps the rest
        await owner.enough.wait()
        transport.pause_reading()
        taken = len(owner.taken)
        await asyncio.sleep(0.05)
        assert len(owner.taken) == taken < 5000
        owner.wanted = 5000
        owner.enough.clear()
        transport.resume_reading()
        await owner.enough.wait()
        assert len(owner.taken) == 5000
        transport.abort()
        await owner.lost.wait()

    run(work())


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("unread", [0, 5000])
def test_a_peer_that_goes_is_noticed_though_nobody_reads(
    ends: tuple[socket.socket, socket.socket], end: str, unread: int
) -> None:
    ours, peer = ends

    async def work() -> None:
        owner = Owner()
        transport, hangups = started(ours, owner)
        transport.pause_reading()
        assert not transport.is_reading
        peer.sendall(bytes(unread))
        if end == "RST":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await owner.lost.wait()
        assert owner.taken == b""
        transport.resume_reading()
        transport.pause_reading()
        transport.write(b"nobody is there")
        transport.abort()
        hangups.close()

    run(work())


def test_what_the_kernel_does_not_take_at_once_is_sent_later_and_then_the_end(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = ends
    data = bytes(range(256)) * 40_000

    async def work() -> None:
        owner = Owner()
        transport, _ = started(ours, owner)
        transport.write(data)
        transport.write(b"the last")
        assert transport.unsent_bytes
        transport.shut_down()
        loop = asyncio.get_running_loop()
        received = await loop.run_in_executor(None, receive, peer, len(data) + 8)
        await owner.all_sent.wait()
        assert received == data + b"the last"
        assert transport.unsent_bytes == 0
        peer.close()
        await owner.lost.wait()

    run(work())


def receive(peer: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (piece := peer.recv(65536)):
        received += piece
    return bytes(received)


def test_a_handshake_that_never_comes_is_given_up_and_its_socket_closed(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with connected(None) as (ours, peer):

        async def work() -> None:
            closed = asyncio.Event()
            handshaker = TlsHandshaker(contexts[0], 0.05, Log("ERROR"), closed.set)
            handshaker.begin(ours, lambda connection: pytest.fail("it was served"))
            await closed.wait()
            assert peer.recv(1) == b""

        run(work())
