"""Who may connect, and how much of it one peer may have (registry.py, shares.py, slots.py)."""

import pytest

from storescp.log import Log
from storescp.metrics import Metrics
from storescp.pdu import AssociateRequest
from storescp.registry import Registry, WorkerReport
from storescp.settings import read_settings
from storescp.shares import MAXIMUM_REJECTIONS_PER_MINUTE, Shares, share_of
from storescp.slots import SharedCounts, Slots


class Connection:
    """A connection that does what it is told."""

    def __init__(self, registry: Registry, host: str = "10.0.0.1") -> None:
        self.registry = registry
        self.host = host
        self.peer = f"{host}:104"
        self.aborted = ""
        self.is_idle = True
        registry.connected(self)

    def abort(self, reason: str) -> None:
        self.aborted = reason
        self.registry.disconnected(self)

    def enforce_timeouts(self, monotonic_now: float, is_stopping: bool) -> None:
        raise AssertionError("not called here")


def registry(counts: SharedCounts, **environment: str) -> Registry:
    settings = read_settings({"LOG_LEVEL": "ERROR", **environment}, cores=1)
    slots = Slots(settings.maximum_associations, counts, 0)
    return Registry(settings, 100_000, slots, WorkerReport(0, SharedCounts(1)), Metrics("test"), Log("ERROR"))


def request(calling: str) -> AssociateRequest:
    return AssociateRequest(1, bytes(64), "STORESCP", calling, "1.2", ())


@pytest.mark.parametrize(
    ("maximum", "workers", "share"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (300, 1, 225), (300, 2, 114), (2, 2, 2), (8, 4, 3)],
)
def test_a_share_is_three_quarters_and_spread_over_workers(maximum: int, workers: int, share: int) -> None:
    assert share_of(maximum, workers) == share


@pytest.mark.parametrize("same", ["address", "title"])
def test_who_has_all_slots_loses_what_he_does_not_use_to_others(same: str) -> None:
    counts = SharedCounts(1)
    known = registry(counts, MAXIMUM_ASSOCIATIONS="8")

    def ask(number: int, host: str, title: str) -> Connection | None:
        connection = Connection(known, host)
        if not known.take_slot(connection, title):
            return None
        known.accepted(connection)
        return connection

    greedy = ("10.0.0.{}", "CT") if same == "title" else ("10.0.0.1", "CT{}")
    taken = [ask(number, *(part.format(number) for part in greedy)) for number in range(8)]
    connections = [connection for connection in taken if connection is not None]
    assert len(connections) == counts.total() == 8
    assert ask(9, *(part.format(9) for part in greedy)) is None  # not for one of its own
    connections[0].is_idle = False
    others = [ask(number, f"10.0.1.{number}", f"MR{number}") for number in range(3)]
    assert [other is not None for other in others] == [True, True, False]
    assert [connection.aborted != "" for connection in connections[:4]] == [False, True, True, False]
    for connection in (*connections, *filter(None, others)):
        known.return_slot(connection)
        known.disconnected(connection)  # and not a second time
    assert counts.total() == 0


def test_beyond_the_limit_the_oldest_that_has_ended_goes_first_then_the_oldest_of_who_has_too_many() -> None:
    known = registry(SharedCounts(1))
    limit = known._maximum_connections
    patient = Connection(known, "10.0.0.2")
    ended = Connection(known, "10.0.0.3")
    known.rejected(ended, request("CT"), "NoPresentationContext", 0.0)
    many = [Connection(known) for _ in range(limit - 2)]
    assert not any(connection.aborted for connection in (patient, ended, *many))
    one_more = Connection(known)
    assert ended.aborted
    again = Connection(known)
    assert many[0].aborted
    assert not any(connection.aborted for connection in (patient, one_more, again, *many[1:]))


def test_requests_that_come_in_pieces_are_bounded_together() -> None:
    known = registry(SharedCounts(1))
    first, second = Connection(known), Connection(known)
    known.pending_changed(first, 60_000)
    known.pending_changed(second, 40_000)
    assert not first.aborted
    known.pending_changed(second, 41_000)
    assert first.aborted
    assert not second.aborted


def test_who_is_rejected_all_the_time_does_not_linger() -> None:
    known = registry(SharedCounts(1))
    lingers = [
        known.rejected(Connection(known, host), request("CT"), "NoPresentationContext", moment)
        for host, moment in [("10.0.0.1", 5.0)] * MAXIMUM_REJECTIONS_PER_MINUTE
        + [("10.0.0.1", 6.0), ("10.0.0.2", 6.0), ("10.0.0.1", 61.0)]
    ]
    assert lingers == [True] * MAXIMUM_REJECTIONS_PER_MINUTE + [False, True, True]


def test_shares_count_what_is_taken_and_given_back() -> None:
    shares = Shares(1)
    shares.add("a", "b")
    shares.add("a", "c")
    assert [shares.is_exceeded_by(peer) for peer in "abcd"] == [True, False, False, False]
    shares.remove("a", "b")
    assert not shares.is_exceeded_by("a")
