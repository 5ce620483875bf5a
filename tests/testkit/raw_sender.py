"""A DICOM sender made of bytes, for what well-behaved libraries do not do. It shares no code with the receiver."""

import socket
import struct
from dataclasses import dataclass
from typing import Self

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"


@dataclass(frozen=True)
class Response:
    """A response's command set, decoded."""

    field: int
    message_id: int
    status: int
    comment: str


def item(item_type: int, value: bytes) -> bytes:
    """An item of an A-ASSOCIATE-RQ."""
    return struct.pack(">BxH", item_type, len(value)) + value


def pdu(pdu_type: int, body: bytes) -> bytes:
    """A PDU."""
    return struct.pack(">BxI", pdu_type, len(body)) + body


def context_item(context_id: int, abstract_syntax: str, *transfer_syntaxes: str) -> bytes:
    """A proposed presentation context."""
    syntaxes = b"".join(item(0x40, syntax.encode()) for syntax in transfer_syntaxes)
    return item(0x20, bytes((context_id, 0, 0, 0)) + item(0x30, abstract_syntax.encode()) + syntaxes)


def associate_request(
    called: bytes = b"STORESCP",
    calling: bytes = b"RAW",
    contexts: bytes | None = None,
    version: int = 1,
    application_context: str = "1.2.840.10008.3.1.1.1",
    maximum_length: int = 16384,
    user_items: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ; titles are padded with spaces to 16 bytes."""
    if contexts is None:
        contexts = context_item(1, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) + context_item(3, VERIFICATION, IMPLICIT_LITTLE)
    body = struct.pack(">H2x", version) + called.ljust(16) + calling.ljust(16) + bytes(32)
    user = item(0x51, struct.pack(">I", maximum_length)) + item(0x52, b"1.2.3.4") + user_items
    return pdu(0x01, body + item(0x10, application_context.encode()) + contexts + item(0x50, user))


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    """A presentation data value; control: 1 command, 2 last fragment."""
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def command_element(element: int, value: bytes) -> bytes:
    """An element of a command set, padded to even length."""
    return struct.pack("<HHI", 0, element, len(value) + len(value) % 2) + value + bytes(len(value) % 2)


def command_set(elements: bytes, group_length: int | None = None) -> bytes:
    """A command set with its group length, right unless another one is given."""
    length = len(elements) if group_length is None else group_length
    return command_element(0x0000, struct.pack("<I", length)) + elements


def store_command(
    instance: str, message_id: int = 1, sop_class: str = CT_IMAGE_STORAGE, group_length: int | None = None
) -> bytes:
    """A C-STORE-RQ's command set."""
    return command_set(
        command_element(0x0002, sop_class.encode())
        + command_element(0x0100, struct.pack("<H", 0x0001))
        + command_element(0x0110, struct.pack("<H", message_id))
        + command_element(0x0700, struct.pack("<H", 0))
        + command_element(0x0800, struct.pack("<H", 0x0000))
        + command_element(0x1000, instance.encode()),
        group_length,
    )


def echo_command(message_id: int = 1, field: int = 0x0030) -> bytes:
    """A C-ECHO-RQ's command set, or another request's without a data set."""
    return command_set(
        command_element(0x0002, VERIFICATION.encode())
        + command_element(0x0100, struct.pack("<H", field))
        + command_element(0x0110, struct.pack("<H", message_id))
        + command_element(0x0800, struct.pack("<H", 0x0101))
    )


def explicit_element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian with a short length."""
    padding = (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value) + len(padding)) + value + padding


def data_set(
    instance: str, sop_class: str = CT_IMAGE_STORAGE, study: str = "1.2.3", series: str = "1.2.3.4", pixels: bytes = b""
) -> bytes:
    """A small data set, or one of any size."""
    return (
        explicit_element(0x0008, 0x0016, b"UI", sop_class.encode())
        + explicit_element(0x0008, 0x0018, b"UI", instance.encode())
        + explicit_element(0x0010, 0x0010, b"PN", b"Secret^Name")
        + (explicit_element(0x0020, 0x000D, b"UI", study.encode()) if study else b"")
        + (explicit_element(0x0020, 0x000E, b"UI", series.encode()) if series else b"")
        + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels))
        + pixels
    )


class RawSender:
    """A connection to a receiver."""

    def __init__(self, port: int, associate: bool = True, source: str = "127.0.0.1", **request: object) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        if associate:
            self.send(associate_request(**request))  # type: ignore[arg-type]
            assert self.receive_pdu()[0] == 0x02

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_command(self, command: bytes, context_id: int = 1) -> None:
        """Send a command set in one PDU."""
        self.send(pdu(0x04, pdv(context_id, 3, command)))

    def send_data(self, data: bytes, context_id: int = 1, size: int = 100_000, last: bool = True) -> None:
        """Send a data set, or its beginning, in PDUs of `size` bytes."""
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            control = 2 if last and start + size >= len(data) else 0
            self.send(pdu(0x04, pdv(context_id, control, piece)))

    def store(self, instance: str, message_id: int = 1, data: bytes | None = None) -> Response:
        """Send an instance and wait for its response."""
        self.send_command(store_command(instance, message_id))
        self.send_data(data_set(instance) if data is None else data)
        return self.receive_response()

    def receive_pdu(self) -> tuple[int, bytes]:
        """Receive a PDU: its type and body; type 0: the connection was closed or reset."""
        try:
            header = self._receive(6)
            pdu_type, length = struct.unpack(">BxI", header)
            return pdu_type, self._receive(length)
        except (EOFError, ConnectionError):
            return 0, b""

    def receive_response(self) -> Response:
        """Receive one response."""
        pdu_type, body = self.receive_pdu()
        assert pdu_type == 0x04, (pdu_type, body)
        length, _, control = struct.unpack_from(">IBB", body)
        assert control == 3
        assert length == len(body) - 4
        elements = {}
        position = 6
        while position < len(body):
            group, element, size = struct.unpack_from("<HHI", body, position)
            assert group == 0
            elements[element] = body[position + 8 : position + 8 + size]
            position += 8 + size
        number = {element: int.from_bytes(value, "little") for element, value in elements.items()}
        assert number[0] == len(body) - 6 - 12
        assert number[0x0800] == 0x0101
        comment = elements.get(0x0902, b"").decode().strip()
        return Response(number[0x0100], number[0x0120], number[0x0900], comment)

    def release(self) -> None:
        """Release the association and expect the answer."""
        self.send(pdu(0x05, bytes(4)))
        assert self.receive_pdu() == (0x06, bytes(4))
        self.socket.close()

    def is_closed_by_peer(self) -> bool:
        """Wait for the end of the connection; whatever still comes is dropped."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = self.socket.recv(size - len(received))
            if not piece:
                raise EOFError
            received += piece
        return bytes(received)
