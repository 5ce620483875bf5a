"""Reading an HTTP/1.1 response from bytes as they come (RFC 9112). Nothing here does I/O, and everything is bounded."""

import re
from dataclasses import dataclass
from typing import Final

_MAXIMUM_HEAD: Final = 32 * 1024
_MAXIMUM_INTERIM: Final = 8  # responses with a status of 1xx before the final one
_END: Final = b"\r\n\r\n"
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


class MalformedResponse(Exception):
    """What came is no HTTP response, or more than is read. The message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response that has arrived whole."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    keeps_open: bool  # whether the connection may carry another request


class ResponseReader:
    """Takes bytes of one response to one request."""

    def __init__(self, body_limit: int, has_body: bool = True) -> None:
        """`body_limit` in bytes; `has_body`: False for the response to a HEAD request."""
        self._body_limit = body_limit
        self._has_body = has_body
        self._data = bytearray()
        self._interim = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._keeps_open = False
        self._length: int | None = None  # None: chunked, or until the connection's end
        self._is_chunked = False
        self._body: bytearray | None = None  # what was taken out of its chunks

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the response has come."""
        return bool(self._data or self._status or self._interim)

    def feed(self, data: bytes | memoryview) -> Response | None:
        """Take bytes; return the response once it is whole. Raises `MalformedResponse`."""
        self._data += data
        while not self._status:
            end = self._data.find(_END)
            if end > _MAXIMUM_HEAD or (end < 0 and len(self._data) > _MAXIMUM_HEAD):
                raise MalformedResponse("the response's head is too long")
            if end < 0:
                return None
            head = bytes(self._data[:end])
            del self._data[: end + len(_END)]
            self._take_head(head)
        return self._chunked() if self._is_chunked else self._sized()

    def end(self) -> Response:
        """The connection has ended: return the response if that is its end. Raises `MalformedResponse`."""
        if not self._status or self._is_chunked or self._length is not None:
            raise MalformedResponse("the response is cut short")
        return self._whole(bytes(self._data))

    def _take_head(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        matched = _STATUS_LINE.fullmatch(lines[0])
        if matched is None:
            raise MalformedResponse("this is no HTTP response")
        status = int(matched[2])
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > _MAXIMUM_INTERIM:
                raise MalformedResponse("unexpected interim responses")
            return
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            if not colon or not _NAME.fullmatch(name):
                raise MalformedResponse("a header line is malformed")
            if name == "content-length" and headers.get(name, value) != value:
                raise MalformedResponse("the response's length is ambiguous")
            headers[name] = value
        self._status, self._headers = status, headers
        connection = headers.get("connection", "").lower()
        self._keeps_open = matched[1] == "1" and "close" not in connection
        self._find_length(headers)

    def _find_length(self, headers: dict[str, str]) -> None:
        """RFC 9112 section 6.3."""
        if not self._has_body or self._status in (204, 304):
            self._length = 0
        elif "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise MalformedResponse("an unknown transfer encoding")
            self._keeps_open = self._keeps_open and "content-length" not in headers
            self._is_chunked, self._body = True, bytearray()
        elif "content-length" in headers:
            if not re.fullmatch(r"[0-9]{1,18}", headers["content-length"]):
                raise MalformedResponse("the response's length is malformed")
            self._length = int(headers["content-length"])
            self._bound(self._length)
        else:
            self._keeps_open = False

    def _bound(self, size: int) -> None:
        if size > self._body_limit:
            raise MalformedResponse("the response's body is too long")

    def _sized(self) -> Response | None:
        self._bound(len(self._data) if self._length is None else 0)
        if self._length is None or len(self._data) < self._length:
            return None
        if len(self._data) > self._length:  # more than was asked for: this connection is not to be trusted again
            self._keeps_open = False
        return self._whole(bytes(self._data[: self._length]))

    def _chunked(self) -> Response | None:
        """RFC 9112 section 7.1."""
        assert self._body is not None
        while True:
            end = self._data.find(b"\r\n")
            if end > _MAXIMUM_HEAD or (end < 0 and len(self._data) > _MAXIMUM_HEAD):
                raise MalformedResponse("a chunk's size is too long")
            if end < 0:
                return None
            matched = _SIZE_LINE.fullmatch(self._data, 0, end)
            if matched is None:
                raise MalformedResponse("a chunk's size is malformed")
            size = int(matched[1], 16)
            self._bound(len(self._body) + size)
            if not size:
                return self._trailer(end)
            if len(self._data) < end + 2 + size + 2:
                return None
            if self._data[end + 2 + size : end + 4 + size] != b"\r\n":
                raise MalformedResponse("a chunk's size is wrong")
            self._body += self._data[end + 2 : end + 2 + size]
            del self._data[: end + 4 + size]

    def _trailer(self, end: int) -> Response | None:
        """The last chunk is there, up to `end`: skip what fields follow, up to an empty line."""
        stop = self._data.find(_END, end)
        if stop < 0:
            if len(self._data) > _MAXIMUM_HEAD:
                raise MalformedResponse("the trailer is too long")
            return None
        if len(self._data) > stop + len(_END):
            self._keeps_open = False
        return self._whole(bytes(self._body or b""))

    def _whole(self, body: bytes) -> Response:
        return Response(self._status, self._headers, body, self._keeps_open)
