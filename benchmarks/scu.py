"""A small Store SCU for what dcmtk's cannot do: an operations window, a trickle, a thousand idle associations.

Blocking sockets with default settings; nothing of the receiver is imported. Layouts are those of PS3.8 section 9.3
and PS3.7 annex E; numbers are big endian in PDUs and little endian in command sets.
"""

import socket
import struct
import time
from collections.abc import Iterable
from threading import Event
from typing import Self

from benchmarks.data import CT_IMAGE_STORAGE, MULTI_FRAME_GRAYSCALE_WORD, Instance

_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_EXPLICIT_LITTLE_ENDIAN = b"1.2.840.10008.1.2.1"
_CONTEXT_IDS = {CT_IMAGE_STORAGE: 1, MULTI_FRAME_GRAYSCALE_WORD: 3}
_A_ASSOCIATE_AC, _P_DATA_TF, _A_RELEASE_RP = 0x02, 0x04, 0x06
_LARGEST_FRAGMENT = 131_072 - 12
SUCCESS = 0x0000


class AssociationFailed(Exception):
    """The peer rejected, aborted or went away; the message says which."""


class Association:
    """One association that proposes the benchmark's two SOP classes; `window` 1 is PS3.7's synchronous default."""

    def __init__(self, port: int, *, window: int = 1, timeout_seconds: float = 60) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_seconds)
        self._window = window
        self._message_id = 0
        self._waiting: dict[int, str] = {}
        self._response = b""
        self.statuses: dict[str, int] = {}
        self._socket.sendall(_associate_rq(window))
        kind, body = self._read_pdu()
        if kind != _A_ASSOCIATE_AC:
            raise AssociationFailed(f"the association was answered with a PDU of type {kind:#04x}")
        accepted = _accepted(body)
        self._fragment_bytes = min(accepted.get("maximum_length") or _LARGEST_FRAGMENT, _LARGEST_FRAGMENT) - 6
        self._window = min(window, accepted.get("operations_performed", 1) or window)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def window(self) -> int:
        """Operations that may be outstanding, as the peer accepted them."""
        return self._window

    def store_all(self, instances: Iterable[Instance]) -> int:
        """Send them, up to the window at a time; how many were answered with success. `statuses` says which."""
        for instance in instances:
            while len(self._waiting) >= self._window:
                self._receive()
            self._begin(instance)
            self._send(instance)
        while self._waiting:
            self._receive()
        return sum(status == SUCCESS for status in self.statuses.values())

    def trickle(self, instance: Instance, bytes_per_second: int, stop: Event) -> bool:
        """Send one instance slowly, ten small writes a second; whether it was sent wholly before `stop` was set."""
        self._begin(instance)
        data = b"".join(instance.chunks)
        step = bytes_per_second // 10
        for start in range(0, len(data), step):
            if stop.wait(0.1):
                return False
            fragment = data[start : start + step]
            last = start + step >= len(data)
            self._socket.sendall(_fragment_head(self._context(instance), len(fragment), 2 if last else 0) + fragment)
        self._receive()
        return True

    def release(self) -> None:
        """A-RELEASE, and wait for its answer."""
        self._socket.sendall(struct.pack(">BxIxxxx", 0x05, 4))
        kind, _ = self._read_pdu()
        if kind != _A_RELEASE_RP:
            raise AssociationFailed(f"the release was answered with a PDU of type {kind:#04x}")
        self._socket.close()

    def _context(self, instance: Instance) -> int:
        return _CONTEXT_IDS[instance.sop_class_uid]

    def _begin(self, instance: Instance) -> None:
        self._message_id = self._message_id % 65_535 + 1
        self._waiting[self._message_id] = instance.sop_instance_uid
        command = _c_store_rq(instance, self._message_id)
        self._socket.sendall(_fragment_head(self._context(instance), len(command), 3) + command)

    def _send(self, instance: Instance) -> None:
        left = instance.length_bytes
        for chunk in instance.chunks:
            view = memoryview(chunk)
            for start in range(0, len(view), self._fragment_bytes):
                fragment = view[start : start + self._fragment_bytes]
                left -= len(fragment)
                head = _fragment_head(self._context(instance), len(fragment), 0 if left else 2)
                sent = self._socket.sendmsg([head, fragment])
                if sent < len(head) + len(fragment):
                    self._socket.sendall((head + fragment.tobytes())[sent:])

    def _receive(self) -> None:
        """Read one PDU and note the statuses it brings."""
        kind, body = self._read_pdu()
        if kind != _P_DATA_TF:
            raise AssociationFailed(f"a response was expected, a PDU of type {kind:#04x} came")
        at = 0
        while at < len(body):
            (length,) = struct.unpack_from(">I", body, at)
            self._response += body[at + 6 : at + 4 + length]
            if body[at + 5] & 2:
                message_id, status = _c_store_rsp(self._response)
                self.statuses[self._waiting.pop(message_id)] = status
                self._response = b""
            at += 4 + length

    def _read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._read(6))
        return kind, self._read(length)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._socket.recv(length - len(data))
            if not more:
                raise AssociationFailed("the peer closed the connection")
            data += more
        return data


def wait_until_listening(port: int, timeout_seconds: float = 30) -> None:
    """Return when something accepts connections on the port; raises AssociationFailed after the timeout."""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssociationFailed(f"nothing listened on port {port} within {timeout_seconds:.0f} s")


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _associate_rq(window: int) -> bytes:
    """A-ASSOCIATE-RQ, PS3.8 section 9.3.2; the asynchronous operations window is PS3.7 D.3.3.3."""
    contexts = b"".join(
        _item(0x20, struct.pack(">Bxxx", identifier) + _item(0x30, uid.encode()) + _item(0x40, _EXPLICIT_LITTLE_ENDIAN))
        for uid, identifier in _CONTEXT_IDS.items()
    )
    user = _item(0x51, struct.pack(">I", 16_384)) + _item(0x52, b"2.25.1")
    if window != 1:
        user += _item(0x53, struct.pack(">HH", window, 1))
    body = struct.pack(">Hxx16s16s32x", 1, b"ANY-SCP".ljust(16), b"BENCH".ljust(16))
    body += _item(0x10, _APPLICATION_CONTEXT) + contexts + _item(0x50, user)
    return struct.pack(">BxI", 0x01, len(body)) + body


def _accepted(body: bytes) -> dict[str, int]:
    """What the sender has to keep to, of an A-ASSOCIATE-AC's body (PS3.8 section 9.3.3)."""
    found: dict[str, int] = {}
    at = 68
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        if kind == 0x21 and body[at + 6] != 0:
            raise AssociationFailed(f"presentation context {body[at + 4]} was refused with {body[at + 6]}")
        if kind == 0x51:
            (found["maximum_length"],) = struct.unpack_from(">I", body, at + 4)
        if kind == 0x53:
            # Of the two numbers the first is the requestor's: operations that it may invoke.
            (found["operations_performed"],) = struct.unpack_from(">H", body, at + 4)
        at += 4 if kind == 0x50 else 4 + length
    return found


def _fragment_head(context_id: int, length: int, control: int) -> bytes:
    """P-DATA-TF and PDV heads for one fragment; control bit 0 says command, bit 1 last (PS3.8 annex E.2)."""
    return struct.pack(">BxIIBB", _P_DATA_TF, length + 6, length + 2, context_id, control)


def _c_store_rq(instance: Instance, message_id: int) -> bytes:
    """Command set of a C-STORE-RQ (PS3.7 section 9.3.1.1), implicit VR little endian."""

    def element(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, tag, len(value)) + value

    def uid(value: str) -> bytes:
        return value.encode() + b"\0" * (len(value) % 2)

    elements = element(0x0002, uid(instance.sop_class_uid))
    elements += element(0x0100, struct.pack("<H", 1)) + element(0x0110, struct.pack("<H", message_id))
    elements += element(0x0700, struct.pack("<H", 0)) + element(0x0800, struct.pack("<H", 0))
    elements += element(0x1000, uid(instance.sop_instance_uid))
    return element(0x0000, struct.pack("<I", len(elements))) + elements


def _c_store_rsp(command: bytes) -> tuple[int, int]:
    """Message ID responded to and status of a C-STORE-RSP."""
    values: dict[int, bytes] = {}
    at = 0
    while at < len(command):
        _, tag, length = struct.unpack_from("<HHI", command, at)
        values[tag] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return struct.unpack("<H", values[0x0120])[0], struct.unpack("<H", values[0x0900])[0]
