"""stow.py and pacing.py: what StoreDICOM's answers say, how batches are divided, and how the pace adapts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_lambda.aws import ListedObject, StoreAnswer
from import_lambda.errors import AwsError, Refused, TryLater, error_of
from import_lambda.pacing import LARGEST_WINDOW, Pace
from import_lambda.stow import read_search_answer, read_store_answer, requests_of


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def item(uid: str, tag: str = "00081155", **elements: int) -> dict[str, Any]:
    numbers = {name.removeprefix("t"): {"vr": "US", "Value": [value]} for name, value in elements.items()}
    return {tag: {"vr": "UI", "Value": [uid]}} | numbers


# Status and document, and what is read out of it.
ANSWERS: dict[str, tuple[int, Any, StoreAnswer]] = {
    "all stored": (200, {"00081199": sequence(item("1.2"), item("1.3"))}, StoreAnswer({"1.2": (), "1.3": ()}, {})),
    "warned": (202, {"00081199": sequence(item("1.2", t00081196=45330))}, StoreAnswer({"1.2": (45330,)}, {})),
    "all failed": (409, {"00081198": sequence(item("1.2", t00081197=0x110))}, StoreAnswer({}, {"1.2": 0x110})),
    "failed, by its own UID": (
        200,
        {"00081198": sequence(item("1.2", "00080018", t00081197=0xC000))},
        StoreAnswer({}, {"1.2": 0xC000}),
    ),
    "failed without a reason": (202, {"00081198": sequence(item("1.2"))}, StoreAnswer({}, {"1.2": 0})),
    "failed without a name": (409, {"00081198": sequence({})}, StoreAnswer({}, {})),
    "stored and failed": (
        200,
        {"00081199": sequence(item("1.2")), "00081198": sequence(item("1.2", t00081197=1))},
        StoreAnswer({}, {"1.2": 1}),
    ),
    "empty sequences": (200, {"00081199": {"vr": "SQ"}, "00081198": {"vr": "SQ", "Value": []}}, StoreAnswer({}, {})),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_says_what_became_of_each_instance(name: str) -> None:
    status, document, expected = ANSWERS[name]
    assert read_store_answer(status, "", json.dumps(document).encode()) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b"null", b'{"00081199": []}', b'{"00081199": {"Value": 1}}', b"[" * 100_000],
)
def test_an_answer_that_cannot_be_read_is_a_lost_one(body: bytes) -> None:
    with pytest.raises(TryLater):
        read_store_answer(200, "", body)
    with pytest.raises(TryLater):
        read_search_answer(200, "", body if body not in {b"[]", b"{}"} else b"[1]")


@given(st.binary(max_size=100), st.integers(100, 599))
def test_any_answer_is_an_answer_or_an_error_of_ours(body: bytes, status: int) -> None:
    for read in (read_store_answer, read_search_answer):
        try:
            read(status, "", body)
        except AwsError as error:
            assert error.code


# Status, error code, and whether trying again can help.
STATUSES = [
    (429, "ThrottlingException", True),
    (503, "", True),
    (500, "InternalServerException", True),
    (403, "AccessDeniedException", False),
    (400, "ValidationException:http://x/", False),
    (302, "", False),
]


@pytest.mark.parametrize(("status", "code", "is_passing"), STATUSES)
def test_another_status_is_an_error_of_its_kind(status: int, code: str, is_passing: bool) -> None:
    for read in (read_store_answer, read_search_answer):
        with pytest.raises(TryLater if is_passing else Refused) as raised:
            read(status, code, b'{"message": "DOE^JANE"}')
        assert raised.value.code == (code.partition(":")[0] or f"HTTP{status}")


def test_a_search_shows_instances_with_their_warnings_and_204_is_none() -> None:
    found: list[dict[str, Any]] = [
        {"00080018": {"vr": "UI", "Value": ["1.2"]}},
        {"00080018": {"vr": "UI", "Value": ["1.3"]}},
    ]
    found[1]["00081196"] = {"vr": "US", "Value": [45330]}
    assert read_search_answer(200, "", json.dumps(found).encode()) == {"1.2": (), "1.3": (45330,)}
    assert read_search_answer(204, "", b"") == {}


@given(st.lists(st.integers(0, 60), min_size=1, max_size=50), st.integers(1, 50), st.integers(1, 10))
def test_a_batch_is_divided_whole_and_in_order(sizes: list[int], max_bytes: int, max_instances: int) -> None:
    objects = [ListedObject(str(number), size, "e", 0.0) for number, size in enumerate(sizes)]
    requests = list(requests_of(objects, max_bytes, max_instances))
    assert [listed for request in requests for listed in request] == objects
    for request in requests:
        assert len(request) <= max_instances
        assert sum(listed.bytes for listed in request) <= max_bytes or len(request) == 1


THROTTLED, BROKEN, DENIED = error_of("ThrottlingException", 429), TryLater("HTTP500"), Refused("AccessDeniedException")


def test_the_pace_grows_by_one_halves_when_throttled_and_never_stops_for_good() -> None:
    pace = Pace()
    for _ in range(10):
        pace.learn([None] * pace.window, 0.0)
    assert pace.window == LARGEST_WINDOW
    pace.learn([None, THROTTLED], 0.0)
    assert (pace.window, pace.is_aside(0.0)) == (LARGEST_WINDOW // 2, False)
    for _ in range(10):
        pace.learn([THROTTLED], 0.0)
    assert pace.window == 1
    assert pace.is_aside(1.0)
    assert not pace.is_aside(901.0)


def test_one_bad_moment_does_not_stop_it_and_a_refusal_does() -> None:
    pace = Pace()
    pace.learn([BROKEN], 0.0)
    assert not pace.is_aside(1.0)
    pace.learn([BROKEN], 0.0)
    assert pace.is_aside(1.0)
    pace = Pace()
    pace.learn([DENIED], 0.0)
    assert pace.is_aside(899.0)
