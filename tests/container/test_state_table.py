"""PS3.8 table 9-10: the standard's own cells, ours, and what the upper layer does in each of them.

Covers storescp.state_table and storescp.upper_layer.

Covers upper_layer.py.
"""

from collections.abc import Callable

import pytest

from storescp.acceptance import LOCAL_LIMIT_EXCEEDED, Policy, answer
from storescp.pdu import AssociateAccept
from storescp.state_table import ARTIM_STATES, DEVIATIONS, Event, State, Transition, cells
from storescp.upper_layer import Aborted, AssociateRequested, Indication, ReleaseRequested, UpperLayer, Violation
from tests.testkit.raw_sender import associate_request, echo_command, pdu, pdv

# PS3.8 table 9-10, columns Sta1, Sta2, Sta3, Sta6, Sta8, Sta13; an empty cell cannot happen. AE-6 chooses between Sta3
# and Sta13; here the choice is Evt8, which comes to the same.
STANDARD = """
Evt3  |          | AA-1 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-6 Sta13
Evt4  |          | AA-1 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-6 Sta13
Evt5  | AE-5 Sta2 |           |            |            |            |
Evt6  |          | AE-6 Sta3  | AA-8 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-7 Sta13
Evt7  |          |            | AE-7 Sta6  |            |            |
Evt8  |          |            | AE-8 Sta13 |            |            |
Evt9  |          |            |            | DT-1 Sta6  | AR-7 Sta8  |
Evt10 |          | AA-1 Sta13 | AA-8 Sta13 | DT-2 Sta6  | AA-8 Sta13 | AA-6 Sta13
Evt12 |          | AA-1 Sta13 | AA-8 Sta13 | AR-2 Sta8  | AA-8 Sta13 | AA-6 Sta13
Evt13 |          | AA-1 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-6 Sta13
Evt14 |          |            |            |            | AR-4 Sta13 |
Evt15 |          |            | AA-1 Sta13 | AA-1 Sta13 | AA-1 Sta13 |
Evt16 |          | AA-2 Sta1  | AA-3 Sta1  | AA-3 Sta1  | AA-3 Sta1  | AA-2 Sta1
Evt17 |          | AA-5 Sta1  | AA-4 Sta1  | AA-4 Sta1  | AA-4 Sta1  | AR-5 Sta1
Evt18 |          | AA-2 Sta1  |            |            |            | AA-2 Sta1
Evt19 |          | AA-1 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-8 Sta13 | AA-7 Sta13
"""
POLICY = Policy("STORESCP", False, frozenset(), frozenset(), 16384)
PDUS = {
    Event.ASSOCIATE_AC: pdu(0x02, bytes(100)),
    Event.ASSOCIATE_RJ: pdu(0x03, bytes(4)),
    Event.ASSOCIATE_RQ: associate_request(),
    Event.DATA: pdu(0x04, pdv(3, 3, echo_command())),
    Event.RELEASE_RQ: pdu(0x05, bytes(4)),
    Event.RELEASE_RP: pdu(0x06, bytes(4)),
    Event.ABORT: pdu(0x07, bytes(4)),
    Event.INVALID_PDU: pdu(0x42, b"what is this?"),
}


def standard() -> dict[tuple[Event, State], str]:
    found: dict[tuple[Event, State], str] = {}
    for line in STANDARD.strip().splitlines():
        name, *columns = (part.strip() for part in line.split("|"))
        found |= {(Event(name), state): cell for state, cell in zip(State, columns, strict=True)}
    return found


def text(transition: Transition | None) -> str:
    return f"{transition.action.label} {transition.next_state.value}" if transition else ""


def test_our_table_is_the_standards_but_for_the_deviations_that_are_listed() -> None:
    ours = {(event, state): text(transition) for event, state, transition in cells()}
    theirs = standard()
    assert ours.keys() == theirs.keys()
    different = {cell: theirs[cell] for cell in ours if ours[cell] != theirs[cell]}
    assert different == {(deviation.event, deviation.state): deviation.standard for deviation in DEVIATIONS}
    assert all(deviation.reason for deviation in DEVIATIONS)


def accepted() -> AssociateAccept:
    layer = UpperLayer(16384)
    [request] = layer.receive(memoryview(associate_request()))
    assert isinstance(request, AssociateRequested)
    accept = answer(request.request, POLICY)
    assert isinstance(accept, AssociateAccept)
    return accept


def in_state(state: State) -> UpperLayer:
    """An upper layer that came into a state by the table's own ways."""
    layer = UpperLayer(16384)
    if state is State.IDLE:
        layer.connection_closed()
    if state in (State.IDLE, State.AWAITING_ASSOCIATE_REQUEST):
        return layer
    assert len(list(layer.receive(memoryview(associate_request())))) == 1
    if state is State.AWAITING_ASSOCIATE_DECISION:
        return layer
    layer.accept(accepted())
    if state is State.AWAITING_RELEASE_DECISION:
        assert list(layer.receive(memoryview(PDUS[Event.RELEASE_RQ]))) == [ReleaseRequested()]
    elif state is State.AWAITING_CLOSE:
        layer.abort()
    return layer


def bring_about(layer: UpperLayer, event: Event) -> list[Indication] | bytes:
    """Let an event happen: what is indicated for a PDU, what is to be sent for a decision."""
    if event in PDUS:
        return list(layer.receive(memoryview(PDUS[event])))
    if event is Event.CONNECTION_CLOSED:
        layer.connection_closed()
        return b""
    if event is Event.ARTIM_EXPIRED:
        layer.artim_expired()
        return b""
    decisions: dict[Event, Callable[[], bytes]] = {
        Event.ACCEPT: lambda: layer.accept(accepted()),
        Event.REJECT: lambda: layer.reject(LOCAL_LIMIT_EXCEEDED),
        Event.RELEASE: layer.release,
        Event.ABORT_REQUEST: layer.abort,
    }
    return decisions[event]()


CELLS = [cell for cell in cells() if cell[0] not in (Event.CONNECTED, Event.SEND_DATA)]


@pytest.mark.parametrize(("event", "state", "transition"), CELLS, ids=lambda value: getattr(value, "value", ""))
def test_the_upper_layer_does_what_the_table_says(event: Event, state: State, transition: Transition | None) -> None:
    layer = in_state(state)
    assert layer.state is state
    if transition is None:
        if event in PDUS:
            assert bring_about(layer, event) == []
        else:
            with pytest.raises(RuntimeError, match=state.name):
                bring_about(layer, event)
        assert layer.state is state
        return
    came = bring_about(layer, event)
    assert layer.state is transition.next_state
    assert layer.artim_runs is (transition.next_state in ARTIM_STATES)
    assert layer.held_bytes == 0
    assert_action(transition.action.label, came)


def assert_action(label: str, came: list[Indication] | bytes) -> None:
    first_bytes = {"AE-7": 0x02, "AE-8": 0x03, "AR-4": 0x06}
    if isinstance(came, bytes):
        if label in first_bytes:
            assert came[0] == first_bytes[label]
        else:
            assert came[:1] == (b"\x07" if label == "AA-1" else b"")
    elif label in ("AA-1", "AA-8"):
        [violation] = came
        assert isinstance(violation, Violation)
        assert violation.answer[0] == 0x07
    elif label == "AA-6":
        assert came == []
    else:
        [indication] = came
        kinds = {"AE-6": AssociateRequested, "AR-2": ReleaseRequested, "AA-2": Aborted, "AA-3": Aborted}
        assert isinstance(indication, kinds.get(label, tuple))


def test_data_is_indicated_in_one_state_only() -> None:
    """P-DATA has a way of its own through the code, which must not be wider than the table."""
    indicated = [state for state in State if any(map(is_data, bring_about(in_state(state), Event.DATA)))]
    assert indicated == [State.ESTABLISHED]


def is_data(indication: object) -> bool:
    return getattr(indication, "is_command", False)
