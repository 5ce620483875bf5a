"""A store that costs as little as a store can: reads the whole body of a PUT, answers 200, keeps the key.

`python -m benchmarks.sink PORT [LATENCY_MS]` speaks as much of S3's path-style HTTP as an uploader needs: PUT,
multipart upload, HEAD, an empty listing, DELETE; connections stay open. `GET /-/stored` answers what was stored
as JSON: {"objects": distinct `.dcm` keys, "bytes": body bytes read, "uids": the keys' last parts without `.dcm`}.
A part of a multipart upload is no object; its completion is. Linux only: a body's bytes are read with MSG_TRUNC, which
drops them in the kernel, so that the sink takes as little as it can of the cores that receiver and senders share.
"""

import contextlib
import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

_HEAD_BYTES = 1 << 16
_NOWHERE = bytearray(1 << 26)  # nothing is written into it: it says how much may be dropped at once
_MULTIPART = (
    '<?xml version="1.0"?><InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>'
    "<UploadId>upload-1</UploadId></InitiateMultipartUploadResult>"
)
_COMPLETE = '<?xml version="1.0"?><CompleteMultipartUploadResult><ETag>"0"</ETag></CompleteMultipartUploadResult>'
_EMPTY_LIST = (
    '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>'
)


def _reply(status: str, body: str) -> bytes:
    head = f'HTTP/1.1 {status}\r\nETag: "0"\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}'
    return f"{head}\r\n\r\n{body}".encode()


_STORED = _reply("200 OK", "")


class Stored:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.bytes = 0

    def add(self, path: str) -> None:
        if path.endswith(".dcm"):
            self.keys.add(path)

    def as_json(self) -> str:
        uids = sorted({unquote(key).rpartition("/")[2].removesuffix(".dcm") for key in self.keys})
        return json.dumps({"objects": len(self.keys), "bytes": self.bytes, "uids": uids})


AnswerLater = Callable[["Connection", bytes], None]


class Connection:
    """One keep-alive HTTP/1.1 connection; `is_open` until the peer has closed it."""

    def __init__(self, peer: socket.socket, stored: Stored, answer_later: AnswerLater) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_open = True
        self._socket = peer
        self._stored = stored
        self._answer_later = answer_later
        self._head = b""
        self._remaining = 0
        self._method = self._target = ""
        self._in_body = False

    def readable(self) -> None:
        """Take what has arrived: a head's bytes are looked at, a body's dropped where they are, in the kernel."""
        if self._in_body:
            count = self._socket.recv_into(_NOWHERE, min(self._remaining, len(_NOWHERE)), socket.MSG_TRUNC)
            self._took(count)
            self.is_open = count > 0
        else:
            data = self._socket.recv(_HEAD_BYTES)
            self._feed(data)
            self.is_open = bool(data)

    def send(self, reply: bytes) -> None:
        """Answer; a sender that is gone by now misses nothing."""
        with contextlib.suppress(OSError):
            self._socket.sendall(reply)

    def close(self) -> None:
        self.is_open = False
        self._socket.close()

    def _feed(self, data: bytes) -> None:
        head, end, body = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return
        self._head = b""
        self._begin(head.decode("latin-1"))
        if len(body) > self._remaining:
            raise ValueError("the sink takes one request at a time")
        self._took(len(body))

    def _took(self, count: int) -> None:
        self._remaining -= count
        self._stored.bytes += count
        if self._in_body and self._remaining == 0:
            self._in_body = False
            self._finish()

    def _begin(self, head: str) -> None:
        self._method, self._target, _ = head.split(" ", 2)
        lowered = head.lower()
        if "\r\ntransfer-encoding:" in lowered:
            raise ValueError("the sink reads bodies with a Content-Length only")
        _, _, length = lowered.partition("\r\ncontent-length:")
        self._remaining = int(length.partition("\r\n")[0] or "0")
        self._in_body = True
        if "\r\nexpect: 100-continue" in lowered:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _finish(self) -> None:
        if self._method == "PUT" and "?" not in self._target:
            self._stored.add(self._target)
            reply = _STORED
        else:
            status, body = self._answer()
            reply = _reply(status, "" if self._method == "HEAD" else body)
        if self._method in ("PUT", "POST"):
            self._answer_later(self, reply)
        else:
            self.send(reply)

    def _answer(self) -> tuple[str, str]:
        """Status line and body; what counts as stored is counted here, when the whole body has been read."""
        url = urlsplit(self._target)
        path, query = unquote(url.path), parse_qs(url.query, keep_blank_values=True)
        match self._method:
            case "PUT" if "uploadId" in query:
                return "200 OK", ""
            case "POST" if "uploads" in query:
                return "200 OK", _MULTIPART
            case "POST" if "uploadId" in query:
                self._stored.add(path)
                return "200 OK", _COMPLETE
            case "GET" if path == "/-/stored":
                return "200 OK", self._stored.as_json()
            case "GET":
                return "200 OK", _EMPTY_LIST
            case "HEAD" if path.strip("/").count("/") == 0:
                return "200 OK", ""
            case "DELETE":
                return "204 No Content", ""
            case _:
                return "404 Not Found", ""


def serve(port: int, latency_seconds: float) -> None:
    """Listen on 127.0.0.1 until killed; one thread, one epoll. A PUT's or POST's answer leaves so much later."""
    stored = Stored()
    connections: dict[int, Connection] = {}
    answers: deque[tuple[float, Connection, bytes]] = deque()  # in the order in which they are due

    def answer(connection: Connection, reply: bytes) -> None:
        if latency_seconds:
            answers.append((time.monotonic() + latency_seconds, connection, reply))
        else:
            connection.send(reply)

    with socket.create_server(("127.0.0.1", port), backlog=4096) as listener, select.epoll() as epoll:
        epoll.register(listener, select.EPOLLIN)
        while True:
            ready = epoll.poll(max(0.0, answers[0][0] - time.monotonic()) if answers else None)
            while answers and answers[0][0] <= time.monotonic():
                _, connection, reply = answers.popleft()
                connection.send(reply)
            for descriptor, _ in ready:
                if descriptor == listener.fileno():
                    peer, _ = listener.accept()
                    connections[peer.fileno()] = Connection(peer, stored, answer)
                    epoll.register(peer, select.EPOLLIN)
                    continue
                connection = connections[descriptor]
                _read(connection)
                if not connection.is_open:
                    epoll.unregister(descriptor)
                    connections.pop(descriptor).close()


def _read(connection: Connection) -> None:
    try:
        connection.readable()
    except ConnectionError:
        connection.is_open = False


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2] if len(sys.argv) > 2 else 0) / 1000)
