"""A store that costs as little as a store can: reads the whole body of a PUT, answers 200, keeps the key.

`python -m benchmarks.sink PORT [LATENCY_MS]` speaks as much of S3's path-style HTTP as an uploader needs: PUT,
multipart upload, HEAD, an empty listing, DELETE; connections stay open. `GET /-/stored` answers what was stored
as JSON: {"objects": distinct `.dcm` keys, "bytes": body bytes read, "uids": the keys' last parts without `.dcm`}.
A part of a multipart upload is no object; its completion is.
"""

import asyncio
import json
import sys
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import uvloop

_BUFFER_BYTES = 1 << 17  # small enough to stay in a core's cache beside what the receiver has there
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


class Connection(asyncio.BufferedProtocol):
    """One keep-alive HTTP/1.1 connection; bodies are read into one buffer that all connections share."""

    _buffer = memoryview(bytearray(_BUFFER_BYTES))

    def __init__(self, stored: Stored, latency_seconds: float) -> None:
        self._stored = stored
        self._latency_seconds = latency_seconds
        self._head = b""
        self._remaining = 0
        self._method = self._target = ""
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._in_body and nbytes < self._remaining:
            self._remaining -= nbytes
            self._stored.bytes += nbytes
            return
        self._feed(bytes(self._buffer[:nbytes]))

    def _feed(self, data: bytes) -> None:
        while data:
            if not self._in_body:
                head, end, data = (self._head + data).partition(b"\r\n\r\n")
                self._head = b"" if end else head
                if not end:
                    return
                self._begin(head.decode("latin-1"))
            taken = min(self._remaining, len(data))
            self._remaining -= taken
            self._stored.bytes += taken
            data = data[taken:]
            if self._remaining == 0:
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
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _finish(self) -> None:
        if self._method == "PUT" and "?" not in self._target:
            self._stored.add(self._target)
            reply = _STORED
        else:
            status, body = self._answer()
            reply = _reply(status, "" if self._method == "HEAD" else body)
        if self._latency_seconds and self._method in ("PUT", "POST"):
            asyncio.get_running_loop().call_later(self._latency_seconds, self._transport.write, reply)
        else:
            self._transport.write(reply)

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


async def serve(port: int, latency_seconds: float) -> None:
    """Listen on 127.0.0.1 until cancelled or killed."""
    stored = Stored()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stored, latency_seconds), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2] if len(sys.argv) > 2 else 0) / 1000))
