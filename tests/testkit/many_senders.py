"""Many senders at once in one process, each at its own pace, and one that asks C-ECHO all the while."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.testkit.raw_sender import associate_request, data_set, echo_command, pdu, pdv, store_command

SUCCESS = 0x0000
_PIECES_PER_SECOND = 10
_LARGEST_PIECE = 64 * 1024
_ZEROS = bytes(_LARGEST_PIECE)


@dataclass(frozen=True)
class Sender:
    """One association: objects of `sizes` bytes, one after the other, at `bytes_per_second` (0: as fast as may be)."""

    name: str
    sizes: Sequence[int]
    bytes_per_second: float = 0.0
    calling: str = "MANY"


@dataclass
class Result:
    """Statuses by sender's name, in order; how often C-ECHO was answered, and the longest wait for it in seconds."""

    statuses: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    echoes: int = 0
    longest_echo_seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def acknowledged(self) -> int:
        return sum(status == SUCCESS for statuses in self.statuses.values() for status in statuses)


class Peer:
    """A connection to a receiver."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def associate(cls, port: int, calling: str, context: ssl.SSLContext | None = None) -> "Peer":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        peer = cls(reader, writer)
        writer.write(associate_request(calling=calling.encode()))
        pdu_type, _ = await peer.receive()
        assert pdu_type == 0x02, f"{calling} was not accepted: PDU type {pdu_type}"
        return peer

    async def receive(self) -> tuple[int, bytes]:
        pdu_type, length = struct.unpack(">BxI", await self._reader.readexactly(6))
        return pdu_type, await self._reader.readexactly(length)

    async def status(self) -> int:
        """The status of the next response."""
        pdu_type, body = await self.receive()
        assert pdu_type == 0x04, f"PDU type {pdu_type}, {body.hex()}"
        place = body.index(struct.pack("<HHI", 0, 0x0900, 2))
        return int.from_bytes(body[place + 8 : place + 10], "little")

    async def store(self, instance: str, size: int, bytes_per_second: float) -> int:
        """Send an object whose pixels are `size` zeros, and return the status."""
        self._writer.write(pdu(0x04, pdv(1, 3, store_command(instance))))
        begun = data_set(instance)
        begun = begun[:-4] + struct.pack("<I", size)
        self._writer.write(pdu(0x04, pdv(1, 0 if size else 2, begun)))
        piece = _LARGEST_PIECE
        if bytes_per_second:
            piece = max(1, min(piece, int(bytes_per_second / _PIECES_PER_SECOND)))
        loop = asyncio.get_running_loop()
        started = loop.time()
        for sent in range(0, size, piece):
            data = _ZEROS[: min(piece, size - sent)]
            self._writer.write(pdu(0x04, pdv(1, 2 if sent + len(data) >= size else 0, data)))
            await self._writer.drain()
            if bytes_per_second:
                await asyncio.sleep(max(0.0, started + (sent + len(data)) / bytes_per_second - loop.time()))
        return await self.status()

    async def echo(self) -> int:
        self._writer.write(pdu(0x04, pdv(3, 3, echo_command())))
        return await self.status()

    async def release(self) -> None:
        self._writer.write(pdu(0x05, bytes(4)))
        assert (await self.receive())[0] == 0x06
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def send_all(port: int, senders: Sequence[Sender], context: ssl.SSLContext | None = None) -> Result:
    """Let all senders send at once; C-ECHO is asked for on an association of its own until the last has its answer."""
    result = Result()
    asking_peer = await Peer.associate(port, "ECHO", context)
    sending = asyncio.gather(*(_send(port, sender, result, context) for sender in senders))
    asking = asyncio.ensure_future(_ask(asking_peer, result))
    waited: set[asyncio.Future[Any]] = {sending, asking}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            asking.result()
        await sending
    finally:
        for future in waited:
            future.cancel()
        await asyncio.wait(waited)
        await asking_peer.close()
    return result


async def _send(port: int, sender: Sender, result: Result, context: ssl.SSLContext | None) -> None:
    statuses = result.statuses[sender.name] = []
    peer = None
    try:
        peer = await Peer.associate(port, sender.calling, context)
        for number, size in enumerate(sender.sizes):
            statuses.append(await peer.store(f"1.2.{sender.name}.{number}", size, sender.bytes_per_second))
        await peer.release()
    except (AssertionError, OSError, EOFError) as error:
        result.failures[sender.name] = f"{type(error).__name__}: {error}"
    finally:
        if peer is not None:
            await peer.close()


async def _ask(peer: Peer, result: Result) -> None:
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time()
        async with asyncio.timeout(60):
            assert await peer.echo() == SUCCESS
        result.echoes += 1
        result.longest_echo_seconds = max(result.longest_echo_seconds, loop.time() - asked)
        await asyncio.sleep(0.05)
