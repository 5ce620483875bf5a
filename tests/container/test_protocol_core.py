"""The protocol core alone: any splitting of the same bytes means the same; any bytes end in an event or an abort."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storescp.acceptance import Policy, answer
from storescp.dimse import Command, DimseError, MessageReader, decode_command
from storescp.pdu import AssociateReject, PduError, decode_associate_request
from storescp.state_table import State
from storescp.upper_layer import (
    AssociateRequested,
    Fragment,
    Indication,
    ReleaseRequested,
    UpperLayer,
    Violation,
)
from tests.testkit.raw_sender import associate_request, data_set, echo_command, pdu, pdv, store_command

MAXIMUM = 4096
POLICY = Policy("STORESCP", False, frozenset(), frozenset(), MAXIMUM)


def run(pieces: list[bytes]) -> list[object]:
    """Feed an acceptor that agrees to everything; fragments of one value are joined, however they were cut."""
    layer = UpperLayer(MAXIMUM)
    events: list[object] = []
    value: list[object] | None = None
    for piece in pieces:
        for event in layer.receive(memoryview(piece)):
            if isinstance(event, Fragment):
                if value is None:
                    value = [event.context_id, event.is_command, b""]
                    events.append(value)
                assert isinstance(value[2], bytes)
                value[2] += bytes(event.data)
                if event.is_last:
                    value.append("last")
                    value = None
                continue
            value = None
            events.append(event if not isinstance(event, Violation) else (event.answer, event.message))
            react(layer, event)
    return [*events, layer.state]


def react(layer: UpperLayer, event: Indication) -> None:
    if isinstance(event, AssociateRequested):
        decision = answer(event.request, POLICY)
        if isinstance(decision, AssociateReject):
            layer.reject(decision)
        else:
            layer.accept(decision)
    elif isinstance(event, ReleaseRequested):
        layer.release()


values = st.builds(
    pdv, st.sampled_from([1, 3, 5]), st.integers(0, 3), st.binary(max_size=60) | st.just(store_command("1.2.3"))
)
well_formed = st.one_of(
    st.lists(values, min_size=1, max_size=4).map(lambda pieces: pdu(0x04, b"".join(pieces))),
    st.just(pdu(0x04, pdv(1, 3, store_command("1.2.3")))),
    st.just(pdu(0x04, pdv(1, 2, data_set("1.2.3")))),
    st.just(pdu(0x04, pdv(3, 3, echo_command()))),
    st.just(pdu(0x05, bytes(4))),
    st.just(pdu(0x07, bytes((0, 0, 2, 1)))),
)
malformed = st.one_of(
    st.builds(pdu, st.integers(0, 255), st.binary(max_size=40)),
    st.builds(
        lambda kind, length, rest: struct.pack(">BxI", kind, length) + rest,
        st.integers(0, 8),
        st.integers(0, 0xFFFFFFFF),
        st.binary(max_size=30),
    ),
    st.binary(max_size=60),
)
conversations = st.builds(
    lambda begin, rest: begin + b"".join(rest),
    st.sampled_from([b"", associate_request()]),
    st.lists(well_formed | malformed, max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(conversations, st.lists(st.integers(0, 5000), max_size=12))
def test_any_splitting_of_the_same_bytes_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    whole = run([data])
    assert run(pieces) == whole
    assert run([data[i : i + 1] for i in range(len(data))]) == whole


@settings(max_examples=300, deadline=None)
@given(conversations)
def test_any_bytes_end_in_events_or_an_abort_and_nothing_is_hoarded(data: bytes) -> None:
    layer = UpperLayer(MAXIMUM)
    reader = MessageReader(frozenset({1, 3}))
    try:
        for event in layer.receive(memoryview(data)):
            if isinstance(event, Fragment):
                message = reader.take(event)
                assert message is None or isinstance(message, Command | Fragment)
            else:
                react(layer, event)
                if isinstance(event, Violation):
                    assert event.answer[:6] == b"\x07\0\0\0\0\4"
                    assert layer.state is State.AWAITING_CLOSE
    except DimseError as error:
        assert str(error)
        assert layer.abort() == bytes.fromhex("07000000000400000000")
    assert layer.held_bytes <= len(data)
    assert layer.state is not State.AWAITING_CLOSE or layer.held_bytes == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_body_of_a_request_is_decoded_or_refused(body: bytes) -> None:
    for candidate in (body, associate_request()[6:74] + body):
        try:
            request = decode_associate_request(candidate)
        except PduError as error:
            assert str(error)
        else:
            assert len(request.fixed_fields) == 64


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 200))
def test_any_command_set_is_decoded_or_refused(data: bytes, cut: int) -> None:
    for candidate in (data, store_command("1.2.3")[:cut] + data, struct.pack("<HHII", 0, 0, 4, len(data)) + data):
        try:
            command = decode_command(1, candidate)
        except DimseError as error:
            assert str(error)
        else:
            assert 0 <= command.field < 0x8000


def test_an_answer_without_its_question_is_a_mistake_of_ours() -> None:
    layer = UpperLayer(MAXIMUM)
    with pytest.raises(RuntimeError, match="AWAITING_ASSOCIATE_REQUEST"):
        layer.release()


@pytest.mark.parametrize(
    ("pdus", "state", "artim"),
    [
        (b"", State.AWAITING_ASSOCIATE_REQUEST, True),
        (associate_request(), State.ESTABLISHED, False),
        (associate_request() + pdu(0x05, bytes(4)), State.AWAITING_CLOSE, True),
        (associate_request(version=2), State.AWAITING_CLOSE, True),
        (associate_request() + pdu(0x07, bytes(4)), State.IDLE, False),
        (associate_request() + associate_request(), State.AWAITING_CLOSE, True),
    ],
)
def test_states_and_artim_follow_the_table(pdus: bytes, state: State, artim: bool) -> None:
    layer = UpperLayer(0)
    for event in layer.receive(memoryview(pdus)):
        react(layer, event)
    assert layer.state is state
    assert layer.artim_runs is artim
