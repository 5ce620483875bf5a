"""Covers bucket.py and retry.py where an object is written in parts: no step takes a refusal for a success.

Covers upload.py.
"""

from collections.abc import Callable, Iterator

import pytest

from storescp.store import AlreadyExistsError, StoreError
from tests.testkit.s3_client import INTERNAL_ERROR, KEY, REFUSALS, WHOLE, upload, use
from tests.testkit.s3_sink import Fault, Reply, S3Sink, reply


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
