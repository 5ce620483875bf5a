"""The state machine of an association acceptor: PS3.8 table 9-10, as far as an acceptor comes (section 9.2).

`TRANSITIONS` is the table: event and state to action and next state. The code reads it, a test walks every cell of it
and of the standard's own, and the conformance statement prints it. An acceptor that never asks for anything is never in
Sta4, Sta5, Sta7 or Sta9 to Sta12; a cell that is empty in the standard is missing here.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from storescp.pdu import PduType


class State(Enum):
    """States of PS3.8 tables 9-6 to 9-9 in which an acceptor can be."""

    IDLE = "Sta1"
    AWAITING_ASSOCIATE_REQUEST = "Sta2"
    AWAITING_ASSOCIATE_DECISION = "Sta3"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE_DECISION = "Sta8"
    AWAITING_CLOSE = "Sta13"


class Event(Enum):
    """Events of PS3.8 table 9-10 that an acceptor can meet: PDUs of the peer, decisions of ours, the connection."""

    ASSOCIATE_AC = "Evt3"
    ASSOCIATE_RJ = "Evt4"
    CONNECTED = "Evt5"
    ASSOCIATE_RQ = "Evt6"
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    SEND_DATA = "Evt9"
    DATA = "Evt10"
    RELEASE_RQ = "Evt12"
    RELEASE_RP = "Evt13"
    RELEASE = "Evt14"
    ABORT_REQUEST = "Evt15"
    ABORT = "Evt16"
    CONNECTION_CLOSED = "Evt17"
    ARTIM_EXPIRED = "Evt18"
    INVALID_PDU = "Evt19"


class Action(Enum):
    """Actions of PS3.8 tables 9-6 to 9-9 that an acceptor takes, in few words."""

    AE_5 = "answer the connection, start ARTIM"
    AE_6 = "stop ARTIM, indicate the request"
    AE_7 = "send A-ASSOCIATE-AC"
    AE_8 = "send A-ASSOCIATE-RJ, start ARTIM"
    DT_1 = "send P-DATA-TF"
    DT_2 = "indicate P-DATA"
    AR_2 = "indicate the release"
    AR_4 = "send A-RELEASE-RP, start ARTIM"
    AR_5 = "stop ARTIM: the peer has closed"
    AR_7 = "send P-DATA-TF before the release is answered"
    AA_1 = "send A-ABORT, start ARTIM"
    AA_2 = "stop ARTIM, close"
    AA_3 = "indicate the abort, close"
    AA_4 = "indicate that the connection was lost"
    AA_5 = "stop ARTIM: nothing was asked for"
    AA_6 = "ignore"
    AA_8 = "send A-ABORT as provider, indicate it, start ARTIM"

    @property
    def label(self) -> str:
        """The standard's name, such as ``AE-5``."""
        return self.name.replace("_", "-")


class Transition(NamedTuple):
    """A cell of the table."""

    action: Action
    next_state: State


EVENT_OF_PDU: Final = {
    PduType.A_ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
    PduType.A_ASSOCIATE_AC: Event.ASSOCIATE_AC,
    PduType.A_ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
    PduType.P_DATA_TF: Event.DATA,
    PduType.A_RELEASE_RQ: Event.RELEASE_RQ,
    PduType.A_RELEASE_RP: Event.RELEASE_RP,
    PduType.A_ABORT: Event.ABORT,
}
# After these the association is over, and what is to be sent is an A-ABORT.
VIOLATIONS: Final = frozenset({Action.AA_1, Action.AA_8})
# In these the ARTIM timer runs (PS3.8 9.1.5).
ARTIM_STATES: Final = frozenset({State.AWAITING_ASSOCIATE_REQUEST, State.AWAITING_CLOSE})

_STA1, _STA2, _STA3, _STA6, _STA8, _STA13 = State
_CELLS: Final[dict[Event, dict[State, tuple[Action, State]]]] = {
    Event.CONNECTED: {_STA1: (Action.AE_5, _STA2)},
    Event.ASSOCIATE_RQ: {
        _STA2: (Action.AE_6, _STA3),
        _STA3: (Action.AA_8, _STA13),
        _STA6: (Action.AA_8, _STA13),
        _STA8: (Action.AA_8, _STA13),
        _STA13: (Action.AA_6, _STA13),
    },
    Event.ACCEPT: {_STA3: (Action.AE_7, _STA6)},
    Event.REJECT: {_STA3: (Action.AE_8, _STA13)},
    Event.SEND_DATA: {_STA6: (Action.DT_1, _STA6), _STA8: (Action.AR_7, _STA8)},
    Event.DATA: {
        _STA2: (Action.AA_1, _STA13),
        _STA3: (Action.AA_8, _STA13),
        _STA6: (Action.DT_2, _STA6),
        _STA8: (Action.AA_8, _STA13),
        _STA13: (Action.AA_6, _STA13),
    },
    Event.RELEASE_RQ: {
        _STA2: (Action.AA_1, _STA13),
        _STA3: (Action.AA_8, _STA13),
        _STA6: (Action.AR_2, _STA8),
        _STA8: (Action.AA_8, _STA13),
        _STA13: (Action.AA_6, _STA13),
    },
    Event.RELEASE: {_STA8: (Action.AR_4, _STA13)},
    Event.ABORT_REQUEST: dict.fromkeys((_STA2, _STA3, _STA6, _STA8, _STA13), (Action.AA_1, _STA13)),
    Event.ABORT: {
        _STA2: (Action.AA_2, _STA1),
        _STA3: (Action.AA_3, _STA1),
        _STA6: (Action.AA_3, _STA1),
        _STA8: (Action.AA_3, _STA1),
        _STA13: (Action.AA_6, _STA13),
    },
    Event.CONNECTION_CLOSED: {
        _STA1: (Action.AA_5, _STA1),
        _STA2: (Action.AA_5, _STA1),
        _STA3: (Action.AA_4, _STA1),
        _STA6: (Action.AA_4, _STA1),
        _STA8: (Action.AA_4, _STA1),
        _STA13: (Action.AR_5, _STA1),
    },
    Event.ARTIM_EXPIRED: {_STA2: (Action.AA_2, _STA1), _STA13: (Action.AA_2, _STA1)},
    # What an acceptor never asked for: A-ASSOCIATE-AC, A-ASSOCIATE-RJ, A-RELEASE-RP, and what is no PDU at all.
    **{
        event: {
            _STA2: (Action.AA_1, _STA13),
            _STA3: (Action.AA_8, _STA13),
            _STA6: (Action.AA_8, _STA13),
            _STA8: (Action.AA_8, _STA13),
            _STA13: (Action.AA_6, _STA13),
        }
        for event in (Event.ASSOCIATE_AC, Event.ASSOCIATE_RJ, Event.RELEASE_RP, Event.INVALID_PDU)
    },
}
TRANSITIONS: Final = {(event, state): Transition(*cell) for event, row in _CELLS.items() for state, cell in row.items()}


class Deviation(NamedTuple):
    """Where the table is not the standard's, and why; `standard` is what the cell says there."""

    event: Event
    state: State
    standard: str
    reason: str


_TOLD_ALREADY: Final = "the peer has been told; after an error its bytes have no PDU boundaries, so nothing is read"
_ABORT_TWICE: Final = "stopping may meet an association that has just ended: one more A-ABORT is harmless"
DEVIATIONS: Final = (
    Deviation(Event.ASSOCIATE_RQ, State.AWAITING_CLOSE, "AA-7 Sta13", _TOLD_ALREADY),
    Deviation(Event.INVALID_PDU, State.AWAITING_CLOSE, "AA-7 Sta13", _TOLD_ALREADY),
    Deviation(Event.ABORT, State.AWAITING_CLOSE, "AA-2 Sta1", _TOLD_ALREADY + "; its close ends the state"),
    Deviation(Event.ABORT_REQUEST, State.AWAITING_ASSOCIATE_REQUEST, "", "a receiver that stops may say so"),
    Deviation(Event.ABORT_REQUEST, State.AWAITING_CLOSE, "", _ABORT_TWICE),
    Deviation(Event.CONNECTION_CLOSED, State.IDLE, "", "after an A-ABORT of the peer we close, and then see the close"),
)


def cells() -> Iterable[tuple[Event, State, Transition | None]]:
    """Every cell, row by row: event, state, and the transition, or None where the event cannot happen."""
    for event in Event:
        for state in State:
            yield event, state, TRANSITIONS.get((event, state))
