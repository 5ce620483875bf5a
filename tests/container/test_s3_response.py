"""Covers response.py: whole responses however they are cut, and a refusal for everything else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storescp.s3.response import MalformedResponse, Response, ResponseReader

LIMIT = 1000
WHOLE = {
    "with a length": (b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 3\r\n\r\nabc', 200, b"abc", True),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "no phrase": (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 503, b"", True),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
    "closing": (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200,
        b"",
        True,
    ),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n",
        200,
        b"abc0123456789",
        True,
    ),
    "chunked with a trailer": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        200,
        b"",
        True,
    ),
    "chunked and a length": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
        200,
        b"a",
        False,
    ),
    "a length twice, the same": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        200,
        b"a",
        True,
    ),
    "followed by what nobody asked for": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n",
        200,
        b"a",
        False,
    ),
}
MALFORMED = {
    "garbage": b"\x00\x01\x02\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "another version": b"HTTP/2 200\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000,
    "endless interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nETag\r\n\r\n",
    "a header that goes on": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "too long": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks that are too long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
    "a chunk without a size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "a chunk of another size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    "an endless chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 50_000,
    "an endless trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 10_000,
    "no end": b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2000),
}


def read(pieces: list[bytes]) -> Response | None:
    reader = ResponseReader(LIMIT)
    for piece in pieces:
        response = reader.feed(piece)
        if response is not None:
            return response
    return None


@pytest.mark.parametrize("name", WHOLE)
@settings(deadline=None)
@given(data=st.data())
def test_a_response_is_the_same_however_it_is_cut(name: str, data: st.DataObject) -> None:
    content, status, body, keeps_open = WHOLE[name]
    places = sorted(data.draw(st.sets(st.integers(1, len(content) - 1), max_size=6)))
    pieces = [content[a:b] for a, b in zip([0, *places], [*places, len(content)], strict=True)]
    response = read(pieces)
    assert response is not None
    assert (response.status, response.body) == (status, body)
    if "followed" not in name:
        assert response.keeps_open is keeps_open
    assert read([content[index : index + 1] for index in range(len(content))]) is not None


def test_what_follows_a_response_makes_its_connection_useless() -> None:
    response = read([WHOLE["followed by what nobody asked for"][0]])
    assert response is not None
    assert not response.keeps_open


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_response_is_refused_and_bounded(name: str) -> None:
    with pytest.raises(MalformedResponse) as refused:
        read([MALFORMED[name]])
    assert "\\x" not in str(refused.value)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 "):
        reader = ResponseReader(LIMIT)
        try:
            reader.feed(prefix + data)
            reader.end()
        except MalformedResponse:
            pass


def test_the_connections_end_is_the_end_of_a_body_without_a_length_alone() -> None:
    reader = ResponseReader(LIMIT)
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc") is None
    assert (response := reader.end()).body == b"abc"
    assert not response.keeps_open
    for cut in (b"", b"HTTP/1.1 200 OK\r\n", WHOLE["with a length"][0][:-1], WHOLE["chunked"][0][:-1]):
        reader = ResponseReader(LIMIT)
        assert reader.feed(cut) is None
        assert reader.has_begun == bool(cut)
        with pytest.raises(MalformedResponse):
            reader.end()


def test_the_response_to_head_has_no_body() -> None:
    response = ResponseReader(LIMIT, has_body=False).feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    assert response is not None
    assert response.body == b""
