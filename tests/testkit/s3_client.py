"""A bucket client against a sink, and what a store may answer that is no success: for all tests of the S3 client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from storescp.s3.bucket import Bucket, open_bucket
from storescp.store import PART_BYTES, StoreError
from tests.testkit.s3_sink import Fault, Reply, S3Sink, error_document, reply

T = TypeVar("T")
KEY = "incoming/20261123T200315123Z-9f3a61c2-0001/1.2/1.2.3/1.2.3.4.dcm"
KEYS = {"AWS_ACCESS_KEY_ID": "AN-ID", "AWS_SECRET_ACCESS_KEY": "a-secret"}
DATA = bytes(range(256)) * 40
INTERNAL_ERROR = error_document("InternalError")


def use(sink: S3Sink, work: Callable[[Bucket], Awaitable[T]], seconds: float = 2.0, **environment: str) -> T:
    """Do something with a bucket of the sink; a call has `seconds`, a try of it 0.4 of them."""

    async def main() -> T:
        bucket = open_bucket("landing", sink.url, KEYS | environment, seconds, seconds * 0.4)
        try:
            return await work(bucket)
        finally:
            await bucket.close()

    return uvloop.run(main())


async def put(bucket: Bucket) -> str:
    return await bucket.put(KEY, (memoryview(DATA)[:100], memoryview(b""), memoryview(DATA)[100:]))


def first(*faults: Fault) -> Callable[[str, str], Fault]:
    """These faults in turn, then none."""
    left = iter(faults)
    return lambda method, key: next(left, None)


def always(fault: Fault) -> Callable[[str, str], Fault]:
    return lambda method, key: fault


# What never is a success, however often it is tried, and the code that the log will show.
REFUSALS: dict[str, tuple[Fault, str]] = {
    "303 to what says 200": (Reply(reply("303 See Other", Location="/landing/elsewhere")), "HTTP303"),
    "301": (Reply(reply("301 Moved Permanently", error_document("PermanentRedirect"))), "PermanentRedirect"),
    "307": (Reply(reply("307 Temporary Redirect", Location="/landing/elsewhere")), "HTTP307"),
    "202": (Reply(reply("202 Accepted", ETag='"x"')), "HTTP202"),
    "201": (Reply(reply("201 Created", ETag='"x"')), "HTTP201"),
    "204": (Reply(b'HTTP/1.1 204 No Content\r\nETag: "x"\r\n\r\n'), "HTTP204"),
    "206": (Reply(reply("206 Partial Content", ETag='"x"')), "HTTP206"),
    "200 with an error document": (Reply(reply("200 OK", error_document("AccessDenied"), ETag='"x"')), "AccessDenied"),
    "200 with a page": (Reply(reply("200 OK", b"<html>Welcome!</html>", ETag='"x"')), "NotConfirmed"),
    "200 without an ETag": (Reply(reply("200 OK")), "NotConfirmed"),
    "200 with an empty ETag": (Reply(reply("200 OK", ETag='""')), "NotConfirmed"),
    "200 with an ETag of no quotes": (Reply(reply("200 OK", ETag="x")), "NotConfirmed"),
    "403": ("deny", "AccessDenied"),
    "404": (Reply(reply("404 Not Found", error_document("NoSuchBucket"))), "NoSuchBucket"),
    "412 at once": (Reply(reply("412 Precondition Failed")), "AlreadyExists"),
    "an error code that is none": (Reply(reply("400 Bad Request", error_document("Doe^John"))), "HTTP400"),
}
# What is tried again until the time is up.
TROUBLES: dict[str, Fault] = {
    "500": 500,
    "503 SlowDown": Reply(reply("503 Slow Down", error_document("SlowDown")), keeps_open=True),
    "429": 429,
    "200 with InternalError": Reply(reply("200 OK", INTERNAL_ERROR, ETag='"x"')),
    "409": Reply(reply("409 Conflict", error_document("ConditionalRequestConflict"))),
    "a busy server before the body": "early",
    "a reset half-way": "reset",
    "a reset instead of the answer": "lost",
    "silence": "hang",
    "a response cut short": Reply(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 5\r\n\r\n<ab'),
    "a head cut short": Reply(b'HTTP/1.1 200 OK\r\nETag: "x'),
    "chunks cut short": Reply(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<ab'),
    "garbage": Reply(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"),
    "an endless head": Reply(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000),
    "an endless body": Reply(reply("200 OK", bytes(200_000), ETag='"x"')),
    "a byte now and then": Reply(reply("500 Error", INTERNAL_ERROR), pause_seconds=0.1),
}


def upload(parts: int = 3, etags: list[str] | None = None) -> Callable[[Bucket], Awaitable[str]]:
    async def write(bucket: Bucket) -> str:
        target = await bucket.begin_upload(KEY)
        chunks = [bytes([number]) * (PART_BYTES if number < parts else 100) for number in range(1, parts + 1)]
        try:
            half = PART_BYTES // 2
            await asyncio.gather(
                *(
                    target.put_part(number, (memoryview(chunk)[:half], memoryview(chunk)[half:]))
                    for number, chunk in enumerate(chunks, 1)
                )
            )
            return await target.complete()
        except StoreError:
            await target.abort()
            raise

    return write


WHOLE = b"\1" * PART_BYTES + b"\2" * PART_BYTES + b"\3" * 100
