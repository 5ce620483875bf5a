"""Covers storescp.s3: bucket, connection, pool, retry and fetch. What S3 did not confirm, no future ever confirms."""

import asyncio
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
import trustme
import uvloop

from storescp.s3.bucket import Bucket, open_bucket
from storescp.store import PART_BYTES, AlreadyExistsError, StoreError
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


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_confirmation_fails_at_once(name: str) -> None:
    fault, code = REFUSALS[name]
    with S3Sink(always(fault)) as sink:
        with pytest.raises(StoreError) as failed:
            use(sink, put)
        assert failed.value.code == code
        assert sink.objects == {}
        assert sink.requests["PUT"] == 1
        assert sink.requests["GET"] == 0


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_that_lasts_is_a_failure_in_time(name: str) -> None:
    with S3Sink(always(TROUBLES[name])) as sink:
        with pytest.raises(StoreError) as failed:
            use(sink, put, seconds=1)
        assert failed.value.code.isalnum()
        assert set(sink.objects) <= ({KEY} if name == "a reset instead of the answer" else set())


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_that_passes_is_tried_again(name: str) -> None:
    with S3Sink(first(TROUBLES[name])) as sink:
        use(sink, put, seconds=10)
        assert sink.objects == {KEY: DATA}
        assert sink.overwritten == []


HARMLESS: dict[str, Fault] = {
    "nothing": None,
    "100 Continue": "continue",
    "slow": 0.1,
    "an empty chunked body": Reply(
        b'HTTP/1.1 200 OK\r\nETag: "0123"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', is_stored=True
    ),
    "an end without a length": Reply(b'HTTP/1.1 200 OK\r\nETag: "0123"\r\n\r\n', is_stored=True),
    "byte by byte": Reply(reply("200 OK", ETag='"0123"'), is_stored=True, pause_seconds=0.001),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_s3_may_say_is_understood(name: str) -> None:
    with S3Sink(always(HARMLESS[name])) as sink:
        etag = use(sink, put)
        assert etag
        assert sink.objects == {KEY: DATA}
        [request] = sink.seen
        assert request.headers["if-none-match"] == "*"
        assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


def test_an_object_that_an_earlier_try_made_is_our_own() -> None:
    with S3Sink(first("lost")) as sink:
        assert use(sink, put) == ""  # its ETag is not known
        assert sink.requests["PUT"] == 2
        assert sink.objects == {KEY: DATA}
    with S3Sink(first(Reply(b"", is_stored=True))) as sink:
        use(sink, put)
        assert sink.objects == {KEY: DATA}


def test_an_object_of_somebody_else_is_a_failure_and_is_left_alone() -> None:
    with S3Sink() as sink:
        sink.objects[KEY] = b"theirs"
        with pytest.raises(AlreadyExistsError):
            use(sink, put)
        assert sink.objects[KEY] == b"theirs"
    with S3Sink(first("reset")) as sink:  # our first try was never whole, so it cannot have made it
        sink.objects[KEY] = b"theirs"
        with pytest.raises(AlreadyExistsError):
            use(sink, lambda bucket: bucket.put(KEY, (memoryview(bytes(20_000_000)),)))


def test_create_leaves_it_open_who_made_an_object() -> None:
    async def create(bucket: Bucket) -> None:
        await bucket.create(KEY, DATA)

    with S3Sink(first("lost")) as sink:
        with pytest.raises(AlreadyExistsError):
            use(sink, create)
        assert sink.objects == {KEY: DATA}
    with S3Sink() as sink:
        use(sink, create)
        assert sink.objects == {KEY: DATA}


def test_a_connection_is_used_again_and_a_stale_one_replaced_without_waiting() -> None:
    async def three(bucket: Bucket, cut: Callable[[], None]) -> None:
        for number in range(3):
            await bucket.put(f"{KEY}{number}", (memoryview(DATA),))
        cut()
        await asyncio.sleep(0.1)
        await bucket.put(f"{KEY}x", (memoryview(DATA),))

    with S3Sink() as sink:
        use(sink, lambda bucket: three(bucket, sink.cut))
        assert (len(sink.objects), sink.connections) == (4, 2)
    with S3Sink(first(None, "close")) as sink:  # it closes at the very moment in which we send
        use(sink, lambda bucket: three(bucket, lambda: None))
        assert len(sink.objects) == 4
        assert sink.connections <= 3


def test_many_at_once_share_connections_and_none_is_lost() -> None:
    async def many(bucket: Bucket) -> None:
        await asyncio.gather(*(bucket.put(f"{KEY}{number}", (memoryview(DATA),)) for number in range(600)))

    with S3Sink() as sink:
        use(sink, many, seconds=30)
        assert len(sink.objects) == 600
        assert sink.connections <= 384


def test_a_storm_of_slow_down_ends_with_everything_stored() -> None:
    count = iter(range(100_000))

    def storm(method: str, key: str) -> Fault:
        return Reply(reply("503 Slow Down", error_document("SlowDown")), keeps_open=True) if next(count) < 60 else None

    async def many(bucket: Bucket) -> None:
        await asyncio.gather(*(bucket.put(f"{KEY}{number}", (memoryview(DATA),)) for number in range(40)))

    with S3Sink(storm) as sink:
        use(sink, many, seconds=30)
        assert len(sink.objects) == 40
        assert sink.overwritten == []


def test_a_body_larger_than_the_kernels_buffers_arrives_as_it_is() -> None:
    data = bytearray(range(256)) * (9 * 4096)
    with S3Sink(always(0.2)) as sink:
        use(
            sink,
            lambda bucket: bucket.put(KEY, [memoryview(data)[i : i + 65_537] for i in range(0, len(data), 65_537)]),
        )
        assert sink.objects[KEY] == data


def test_after_cancelling_no_byte_is_sent_any_more() -> None:
    async def give_up(bucket: Bucket) -> None:
        data = bytearray(30_000_000)
        future = bucket.put(KEY, (memoryview(data),))
        await asyncio.sleep(0.2)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        data[:] = b"\1" * len(data)
        await asyncio.sleep(0.2)

    with S3Sink(always("hang")) as sink:
        use(sink, give_up, seconds=20)
    assert all(not any(request.body[-1000:]) for request in sink.seen)
    assert sink.objects == {}


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


def test_an_object_in_parts_is_create_only_too() -> None:
    with S3Sink() as sink:
        assert use(sink, upload(), seconds=20) == "an-etag-1"
        assert sink.objects == {KEY: WHOLE}
        [complete] = [request for request in sink.seen if b"CompleteMultipartUpload" in request.body]
        assert complete.headers["if-none-match"] == "*"
        assert complete.body.count(b"<PartNumber>") == 3
    with S3Sink() as sink:
        sink.objects[KEY] = b"theirs"
        with pytest.raises(AlreadyExistsError):
            use(sink, upload(), seconds=20)
        assert sink.objects == {KEY: b"theirs"}
        assert sink.uploads == {}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("step", ["begin", "part", "complete"])
def test_no_step_of_an_upload_takes_a_refusal_for_a_success(step: str, name: str) -> None:
    fault, _ = REFUSALS[name]
    with S3Sink(at_step(step, fault)) as sink:
        with pytest.raises(StoreError):
            use(sink, upload(), seconds=20)
        assert sink.objects == {}


def at_step(step: str, fault: Fault) -> Callable[[str, str], Fault]:
    """The fault for one kind of request; which POST is which shows in their order."""
    posts = iter(range(1_000_000))

    def choose(method: str, key: str) -> Fault:
        if method == "POST":
            return fault if step == ("complete" if next(posts) else "begin") else None
        return fault if (method, step) == ("PUT", "part") else None

    return choose


def test_a_completion_is_believed_only_with_its_result() -> None:
    answers: dict[str, tuple[list[Fault], bool]] = {
        "200, then an error": ([Reply(reply("200 OK", INTERNAL_ERROR))], True),
        "200, spaces, then an error": ([Reply(reply("200 OK", b"  \n " + INTERNAL_ERROR))], True),
        "200 and nothing": ([Reply(reply("200 OK"))], False),
        "500": ([500], True),
        "lost, and then NoSuchUpload proves nothing": (["lost"], False),
        "lost, and then it is there": ([Reply(b"", is_stored=True), Reply(reply("412 Precondition Failed"))], True),
        "stored, 500, and then it is there": (
            [Reply(reply("500 Error", INTERNAL_ERROR), is_stored=True), Reply(reply("412 Precondition Failed"))],
            True,
        ),
    }
    for name, (faults, is_stored) in answers.items():
        left: Iterator[Fault] = iter([None, *faults])
        with S3Sink(lambda method, key, left=left: next(left, None) if method == "POST" else None) as sink:  # type: ignore[misc]
            try:
                use(sink, upload(), seconds=20)
            except StoreError:
                assert not is_stored, name
            else:
                assert is_stored, name
                assert sink.objects == {KEY: WHOLE}, name


def test_a_completion_that_s3_keeps_alive_by_spaces_is_waited_for() -> None:
    result = b"<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>"
    slowly = Reply(reply("200 OK", b" " * 60 + result), is_stored=True, pause_seconds=0.006)  # longer than a try has
    with S3Sink(at_step("complete", slowly)) as sink:
        assert use(sink, upload(), seconds=2) == "e-1"
        assert sink.requests["POST"] == 2


def test_objects_are_listed_page_by_page_and_read() -> None:
    async def look(bucket: Bucket) -> tuple[list[str], bytes, str]:
        try:
            await bucket.get("commitments/none.json")
        except StoreError as error:
            return (
                await bucket.list("commitments/requests/"),
                await bucket.get("commitments/requests/a&b.json"),
                error.code,
            )
        raise AssertionError

    with S3Sink() as sink:
        sink.page_size = 3
        names = [f"commitments/requests/{name}.json" for name in ("a&b", "c d", "e", "ä", "<f>", "g", "h")]
        sink.objects |= dict.fromkeys(names, b"content") | {"incoming/x": b""}
        keys, content, code = use(sink, look)
        assert sorted(keys) == sorted(names)
        assert (content, code) == (b"content", "NoSuchKey")
        assert sink.requests["GET"] == 5


def test_probing_says_what_is_in_the_way_and_leaves_nothing() -> None:
    async def probe(bucket: Bucket) -> str:
        return await bucket.probe_write()

    with S3Sink() as sink:
        assert use(sink, probe) == ""
        assert (sink.objects, sink.uploads) == ({}, {})
        sink.fault = always("deny")
        assert use(sink, probe) == "the store cannot be written: AccessDenied"
    assert use(sink, probe) == "the store cannot be written: ConnectionRefused"


def test_health_tells_of_a_minute_without_a_success() -> None:
    async def fail(bucket: Bucket) -> None:
        now = asyncio.get_running_loop().time()
        with pytest.raises(StoreError):
            await put(bucket)
        assert bucket.health.needs_probe(now + 20)
        assert bucket.health.not_ready_reason(now + 30) == ""
        assert bucket.health.not_ready_reason(now + 70) == "the store has confirmed nothing for 60 seconds: HTTP403"
        sink.fault = always(None)
        await put(bucket)
        assert bucket.health.not_ready_reason(now + 1000) == ""

    with S3Sink(always(Reply(reply("403 Forbidden")))) as sink:
        use(sink, fail)


def tls_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_carries_large_bodies_and_is_verified(tmp_path: Any) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trusted = str(tmp_path / "ca.pem")
    data = memoryview(bytes(range(256)) * 40_000)
    with S3Sink(tls=tls_context(authority, "localhost")) as sink:
        for work in (put, upload()):
            use(sink, work, seconds=20, AWS_CA_BUNDLE=trusted)
            assert sink.objects.pop(KEY) in (DATA, WHOLE)
        use(sink, lambda bucket: bucket.put(KEY, (data,)), seconds=20, AWS_CA_BUNDLE=trusted)
        assert sink.objects[KEY] == data
        with pytest.raises(StoreError, match="CertificateVerifyFailed"):
            use(sink, put)
    with S3Sink(tls=tls_context(authority, "elsewhere.example")) as sink:
        with pytest.raises(StoreError, match="CertificateVerifyFailed"):
            use(sink, put, AWS_CA_BUNDLE=trusted)
        assert sink.objects == {}


def test_a_slow_store_keeps_the_loop_free() -> None:
    """A body that the kernel does not take waits without anybody turning in circles."""

    async def count(bucket: Bucket) -> float:
        future = bucket.put(KEY, (memoryview(bytes(20_000_000)),))
        began = time.process_time()
        await asyncio.sleep(1)
        spent = time.process_time() - began
        future.cancel()
        return spent

    listener_ready = threading.Event()
    with S3Sink(always("hang")) as sink:
        sink.fault = lambda method, key: listener_ready.wait(3) and None  # the body is not read meanwhile
        assert use(sink, count, seconds=20) < 0.5
        listener_ready.set()
