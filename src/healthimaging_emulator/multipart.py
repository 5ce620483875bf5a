"""multipart/related as DICOMweb uses it (RFC 2387, PS3.18 8.6.1.2): read without copying the parts, and written."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from email.message import Message


class MalformedMultipartError(Exception):
    """The body is not what its Content-Type says."""


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters."""
    message = Message()
    message["Content-Type"] = content_type
    parameters = {name.lower(): value for name, value in message.get_params(failobj=[])[1:]}
    return message.get_content_type() if content_type else "", parameters


def parts(body: bytes, boundary: str) -> Iterator[memoryview]:
    """The content of each part, as views of `body`. Raises MalformedMultipartError: a delimiter is missing."""
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    view = memoryview(body)
    position = _after_first_delimiter(body, delimiter)
    while not body.startswith(b"--", position):
        begin = _content_begin(body, position)
        end = body.find(b"\r\n" + delimiter, begin - 2)
        if end < 0:
            raise MalformedMultipartError("The last part has no closing delimiter")
        yield view[begin : max(begin, end)]
        position = end + 2 + len(delimiter)


def _after_first_delimiter(body: bytes, delimiter: bytes) -> int:
    if body.startswith(delimiter):
        return len(delimiter)
    position = body.find(b"\r\n" + delimiter)
    if position < 0:
        raise MalformedMultipartError("The boundary of the Content-Type is not in the body")
    return position + 2 + len(delimiter)


def _content_begin(body: bytes, position: int) -> int:
    """Where the content of a part begins, whose delimiter ends at `position`."""
    line_end = body.find(b"\r\n", position)
    if line_end < 0 or body[position:line_end].strip(b" \t"):
        raise MalformedMultipartError("A delimiter is not followed by a line break")
    if body.startswith(b"\r\n", line_end + 2):
        return line_end + 4  # no header at all
    headers_end = body.find(b"\r\n\r\n", line_end)
    if headers_end < 0:
        raise MalformedMultipartError("A part has headers without an end")
    return headers_end + 4


def build(contents: Iterable[tuple[str, bytes]], type_of_parts: str) -> tuple[str, bytes]:
    """Content-Type and body of parts given as header block (`Content-Type: ...`) and content."""
    boundary = uuid.uuid4().hex
    body = bytearray()
    for headers, content in contents:
        body += f"--{boundary}\r\n{headers}\r\n\r\n".encode()
        body += content
        body += b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return f'multipart/related; type="{type_of_parts}"; boundary={boundary}', bytes(body)
