"""A tiny S3 server that does as it is told: it stores what a PUT or a multipart upload brings, or fails on purpose.

An object becomes visible only when its request is whole, as in S3. Faults are chosen per request by
`S3Sink.fault`, a function of method and key; signatures are not checked.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

Fault = str | int | float | None
"""What to do with a request: None: obey; an int: answer with this status and store nothing; a float: obey
after so many seconds; "hang": read and never answer; "reset": reset the connection half-way through the body;
"lost": store, then reset instead of answering; "deny": 403 without an effect."""


@dataclass(slots=True)
class _Request:
    method: str
    key: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


class S3Sink:
    """One bucket server on 127.0.0.1; use as a context manager. `objects` maps keys (without bucket) to bytes."""

    def __init__(self, fault: Callable[[str, str], Fault] = lambda method, key: None) -> None:
        self.fault = fault
        self.objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.overwritten: list[str] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The endpoint, for AWS_ENDPOINT_URL_S3."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything: from now on connections are refused."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = tuple(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def instances(self) -> dict[str, bytes]:
        """The objects below incoming/, by SOP instance UID; the last one of each."""
        return {
            key.rsplit("/", 1)[1].removesuffix(".dcm"): data
            for key, data in sorted(self.objects.items())
            if key.startswith("incoming/")
        }

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while self._serve_one(connection, reader):
                pass
        reader.close()
        connection.close()
        with self._lock:
            self._connections.discard(connection)

    def _serve_one(self, connection: socket.socket, reader) -> bool:  # type: ignore[no-untyped-def]
        words = reader.readline().split()
        if len(words) != 3:
            return False
        headers = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        target = urlsplit(words[1].decode())
        method, key = words[0].decode(), unquote(target.path).lstrip("/").partition("/")[2]
        length = int(headers.get("content-length", "0"))
        fault = self.fault(method, key)
        if fault == "reset":
            reader.read(length // 2)
            return self._reset(connection)
        request = _Request(method, key, parse_qs(target.query, True), headers, reader.read(length))
        if len(request.body) < length:
            return False
        with self._lock:
            self.requests[method] += 1
        if fault == "hang":
            self._stopping.wait(600)
            return False
        if fault == "deny":
            fault = 403
        if isinstance(fault, float):
            time.sleep(fault)
        if isinstance(fault, int):
            return self._answer(connection, fault, b"<Error><Code>Fault</Code></Error>")
        status, body = self._obey(request)
        if fault == "lost":
            return self._reset(connection)
        return self._answer(connection, status, body)

    def _obey(self, request: _Request) -> tuple[int, bytes]:
        with self._lock:
            upload_id = request.query.get("uploadId", [""])[0]
            if request.method == "POST" and "uploads" in request.query:
                upload_id = f"upload-{self.requests['POST']}"
                self.uploads[upload_id] = {}
                return 200, _xml("InitiateMultipartUploadResult", Key=request.key, UploadId=upload_id)
            if upload_id and "uploads" not in request.query and upload_id not in self.uploads:
                return 404, _xml("Error", Code="NoSuchUpload")
            if request.method == "PUT" and upload_id:
                self.uploads[upload_id][int(request.query["partNumber"][0])] = request.body
                return 200, b""
            if request.method == "POST" and upload_id:
                parts = self.uploads.pop(upload_id)
                self._store(request.key, b"".join(parts[number] for number in sorted(parts)))
                return 200, _xml("CompleteMultipartUploadResult", Key=request.key, ETag="x")
            if request.method == "DELETE" and upload_id:
                self.uploads.pop(upload_id, None)
                return 204, b""
            if request.method == "PUT":
                if request.headers.get("if-none-match") == "*" and request.key in self.objects:
                    return 412, _xml("Error", Code="PreconditionFailed")
                self._store(request.key, request.body)
                return 200, b""
        return 501, _xml("Error", Code="NotImplemented")

    def _store(self, key: str, body: bytes) -> None:
        if key in self.objects:
            self.overwritten.append(key)
        self.objects[key] = body

    def _answer(self, connection: socket.socket, status: int, body: bytes) -> bool:
        head = f'HTTP/1.1 {status} Status\r\nETag: "x"\r\nContent-Length: {len(body)}\r\n\r\n'
        if status == 204:
            head = "HTTP/1.1 204 No Content\r\n\r\n"
        connection.sendall(head.encode() + body)
        return True

    def _reset(self, connection: socket.socket) -> bool:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def _xml(name: str, **fields: str) -> bytes:
    inner = "".join(f"<{field}>{value}</{field}>" for field, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?><{name}>{inner}</{name}>'.encode()
