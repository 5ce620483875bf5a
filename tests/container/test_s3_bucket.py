"""Covers bucket.py, connection.py, pool.py, retry.py, fetch.py, store.py: what S3 did not confirm, nobody believes.

Covers s3/connection.py.
"""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from storescp.s3.bucket import Bucket
from storescp.store import AlreadyExistsError, StoreError
from tests.testkit.s3_client import (
    DATA,
    KEY,
    REFUSALS,
    TROUBLES,
    WHOLE,
    always,
    first,
    put,
    upload,
    use,
)
from tests.testkit.s3_sink import Fault, Reply, S3Sink, error_document, reply


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
