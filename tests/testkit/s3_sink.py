"""A tiny S3 server that does as it is told: it stores what a PUT or a multipart upload brings, or fails on purpose.

An object becomes visible only when its request is whole, as in S3. Faults are chosen per request by
`S3Sink.fault`, a function of method and key; signatures are not checked, but `accepted_keys` are, if they are given.
"""

import contextlib
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered, byte for byte, to a request that was read whole; `is_stored`: after it was obeyed.

    The connection is closed afterwards, unless `keeps_open`; `pause_seconds` lie between its bytes, if any.
    """

    data: bytes
    is_stored: bool = False
    keeps_open: bool = False
    pause_seconds: float = 0.0


Fault = str | int | float | Reply | None
"""What to do with a request: None: obey; an int: answer with this status and store nothing; a float: obey
after so many seconds; a `Reply`; "hang": read and never answer; "reset": reset the connection half-way through the
body; "lost": store, then reset instead of answering; "deny": 403 without an effect; "early": answer 503 before the body
is read, and close; "continue": say 100 Continue, twice, then obey; "close": obey, and close unannounced."""

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(slots=True)
class Request:
    """A request as it came; `key` without the bucket."""

    method: str
    key: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def access_key_id(self) -> str:
        """Who signed it."""
        return self.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


class S3Sink:
    """One bucket server on 127.0.0.1; use as a context manager. `objects` maps keys (without bucket) to bytes."""

    def __init__(
        self, fault: Callable[[str, str], Fault] = lambda method, key: None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.fault = fault
        self.objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.overwritten: list[str] = []
        self.accepted_keys: set[str] | None = None  # access key ids; others get ExpiredToken
        self.seen: list[Request] = []
        self.page_size = 1000
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The endpoint, for AWS_ENDPOINT_URL_S3."""
        return f"http://127.0.0.1:{self.port}" if self._tls is None else f"https://localhost:{self.port}"

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
        self.cut()

    def cut(self) -> None:
        """Close all connections, as a server does with idle ones."""
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
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with self._lock:
                self._connections.add(connection)
            with connection.makefile("rb") as reader:
                while self._serve_one(connection, reader):
                    pass
        connection.close()
        with self._lock:
            self._connections.discard(connection)

    def _serve_one(self, connection: socket.socket, reader: BinaryIO) -> bool:
        """Serve a request; say whether another one may follow."""
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
        if fault == "early":
            return self._send(connection, 503, SLOW_DOWN) and False
        if fault == "reset":
            reader.read(length // 2)
            return self._reset(connection)
        request = Request(method, key, parse_qs(target.query, True), headers, reader.read(length))
        if len(request.body) < length:
            return False
        with self._lock:
            self.requests[method] += 1
            self.seen.append(request)
        return self._respond(connection, request, fault)

    def _respond(self, connection: socket.socket, request: Request, fault: Fault) -> bool:
        if fault == "hang":
            self._stopping.wait(600)
            return False
        if isinstance(fault, Reply) and not fault.is_stored:
            return self._reply(connection, fault)
        if isinstance(fault, float):
            time.sleep(fault)
        if fault == "continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 2)
        if fault == "deny":
            return self._send(connection, 403, error_document("AccessDenied"))
        if isinstance(fault, int):
            return self._send(connection, fault, error_document("Fault"))
        if self.accepted_keys is not None and request.access_key_id not in self.accepted_keys:
            return self._send(connection, 400, error_document("ExpiredToken"))
        status, body = self._obey(request)
        if fault == "lost":
            return self._reset(connection)
        if isinstance(fault, Reply):
            return self._reply(connection, fault)
        return self._send(connection, status, body, request) and fault != "close"

    def _obey(self, request: Request) -> tuple[int, bytes]:
        with self._lock:
            if request.method == "GET":
                return self._read(request)
            if "uploads" in request.query or "uploadId" in request.query:
                return self._multipart(request, request.query.get("uploadId", [""])[0])
            if request.method == "PUT":
                return self._create(request, request.body), b""
        return 501, error_document("NotImplemented")

    def _read(self, request: Request) -> tuple[int, bytes]:
        if request.key:
            found = self.objects.get(request.key)
            return (404, error_document("NoSuchKey")) if found is None else (200, found)
        prefix = request.query.get("prefix", [""])[0]
        after = request.query.get("continuation-token", [""])[0]
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page, rest = keys[: self.page_size], keys[self.page_size :]
        inner = "".join(f"<Contents><Key>{escape(quote(key))}</Key><Size>1</Size></Contents>" for key in page)
        following = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        return 200, f"<ListBucketResult>{following}{inner}</ListBucketResult>".encode()

    def _multipart(self, request: Request, upload_id: str) -> tuple[int, bytes]:
        if "uploads" in request.query:
            upload_id = f"upload-{len(self.seen)}"
            self.uploads[upload_id] = {}
            return 200, _xml("InitiateMultipartUploadResult", Key=request.key, UploadId=upload_id)
        if upload_id not in self.uploads:
            return 404, error_document("NoSuchUpload")
        if request.method == "PUT":
            self.uploads[upload_id][int(request.query["partNumber"][0])] = request.body
            return 200, b""
        parts = self.uploads.pop(upload_id)
        if request.method == "DELETE":
            return 204, b""
        status = self._create(request, b"".join(parts[number] for number in sorted(parts)))
        if status != 200:
            return status, error_document("PreconditionFailed")
        return 200, _xml("CompleteMultipartUploadResult", Key=request.key, ETag='"an-etag-1"')

    def _create(self, request: Request, body: bytes) -> int:
        if request.key in self.objects:
            if request.headers.get("if-none-match") == "*":
                return 412
            self.overwritten.append(request.key)
        self.objects[request.key] = body
        return 200

    def _send(self, connection: socket.socket, status: int, body: bytes, request: Request | None = None) -> bool:
        etag = ""
        if request is not None and request.method == "PUT" and status == 200:
            etag = f'ETag: "{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"\r\n'
        if status == 412 and not body:
            body = error_document("PreconditionFailed")
        head = f"HTTP/1.1 {status} Status\r\n{etag}Content-Length: {len(body)}\r\n\r\n"
        if status == 204:
            head = "HTTP/1.1 204 No Content\r\n\r\n"
        connection.sendall(head.encode() + body)
        return True

    def _reply(self, connection: socket.socket, reply: Reply) -> bool:
        if reply.pause_seconds:
            for place in range(len(reply.data)):
                connection.sendall(reply.data[place : place + 1])
                if self._stopping.wait(reply.pause_seconds):
                    return False
        else:
            connection.sendall(reply.data)
        return reply.keeps_open

    def _reset(self, connection: socket.socket) -> bool:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def error_document(code: str) -> bytes:
    """What S3 says in the body of a refusal."""
    return _xml("Error", Code=code, Message="Words that nobody should keep: Doe^John")


def reply(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A response with a length; `status` is code and phrase."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _xml(name: str, **fields: str) -> bytes:
    inner = "".join(f"<{field}>{escape(value)}</{field}>" for field, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?><{name}>{inner}</{name}>'.encode()
