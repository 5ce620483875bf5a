"""What a sender really puts on the wire: a proxy on loopback that reads along and changes nothing.

It knows no more of DICOM than PS3.8 section 9.3 (PDUs) and PS3.7 section 6.3 (command sets), and nothing of the
receiver, whose store it is held against.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

A_ASSOCIATE_AC, P_DATA_TF = 0x02, 0x04
C_STORE_RQ = 0x0001
SUCCESS = 0x0000


@dataclass(frozen=True)
class DataSet:
    """One complete data set as it was sent: transfer syntax of its context, SHA-256 of its bytes, and the answer."""

    transfer_syntax_uid: str
    sha256: str
    status: int


@dataclass
class Conversation:
    """One association, both directions."""

    transfer_syntaxes: dict[int, str] = field(default_factory=dict)
    command: bytearray = field(default_factory=bytearray)
    response: bytearray = field(default_factory=bytearray)
    data_set: hashlib._Hash = field(default_factory=hashlib.sha256)
    message_id: int = 0
    sent: dict[int, tuple[str, str]] = field(default_factory=dict)

    def from_sender(self, pdu_type: int, body: bytes) -> Iterator[DataSet]:
        if pdu_type == P_DATA_TF:
            for context_id, control, data in pdvs(body):
                if control & 1:
                    self.command += data
                    if control & 2:
                        elements = command_elements(bytes(self.command))
                        self.command.clear()
                        self.message_id = number(elements[0x0110])
                        self.data_set = hashlib.sha256()
                else:
                    self.data_set.update(data)
                    if control & 2:
                        self.sent[self.message_id] = (self.transfer_syntaxes[context_id], self.data_set.hexdigest())
        yield from ()

    def from_receiver(self, pdu_type: int, body: bytes) -> Iterator[DataSet]:
        if pdu_type == A_ASSOCIATE_AC:
            self.transfer_syntaxes = dict(accepted_contexts(body))
        elif pdu_type == P_DATA_TF:
            for _, control, data in pdvs(body):
                self.response += data
                if control & 2:
                    elements = command_elements(bytes(self.response))
                    self.response.clear()
                    if sent := self.sent.pop(number(elements[0x0120]), None):
                        yield DataSet(*sent, status=number(elements[0x0900]))


class Wiretap:
    """Listens on `port` (any free one) and passes on to `target_port`; `data_sets` grows as answers come."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.data_sets: list[DataSet] = []
        self.failures: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Wiretap:
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20), self._loop
        )
        self._server = starting.result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = Conversation()
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        await asyncio.gather(
            self._pass_on(reader, target_writer, conversation.from_sender),
            self._pass_on(target_reader, writer, conversation.from_receiver),
        )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listen) -> None:  # type: ignore[no-untyped-def]
        """Copy until the end; a PDU is heard before it is passed on, so nobody can answer what was not heard."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readexactly(6)
                pdu_type, length = struct.unpack(">BxI", head)
                body = await reader.readexactly(length)
                self.data_sets += listen(pdu_type, body)
                writer.write(head + body)
                await writer.drain()


def pdvs(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Context id, message control header and data of each presentation data value (PS3.8 9.3.5.1)."""
    at = 0
    while at < len(body):
        length, context_id, control = struct.unpack_from(">IBB", body, at)
        yield context_id, control, body[at + 6 : at + 4 + length]
        at += 4 + length


def accepted_contexts(body: bytes) -> Iterator[tuple[int, str]]:
    """Context id and transfer syntax of each accepted presentation context of an A-ASSOCIATE-AC (PS3.8 9.3.3.2)."""
    at = 68
    while at < len(body):
        item_type, length = struct.unpack_from(">BxH", body, at)
        if item_type == 0x21 and body[at + 6] == 0:
            yield body[at + 4], body[at + 12 : at + 4 + length].decode("ascii").rstrip("\0 ")
        at += 4 + length


def command_elements(command: bytes) -> dict[int, bytes]:
    """Element number and value of each element of a command set (implicit VR little endian, group 0000)."""
    elements, at = {}, 0
    while at < len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        elements[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


def number(value: bytes) -> int:
    return int.from_bytes(value, "little")
