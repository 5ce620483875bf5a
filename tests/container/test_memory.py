"""Who may buffer what (memory.py, ADR 9): a model of senders explores interleavings of claims, growth and ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storescp.memory import KIB, MIB, READ_BYTES, Chunks, Claim, Memory, Peer, Request, chunk_bytes, plan_memory


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("associations", [1, 2, 300, 600, 1000, 100_000])
@pytest.mark.parametrize("budget", [32, 48, 64, 96, 192, 1024, 16_384])
def test_a_plan_fits_its_budget_and_lets_two_peers_fill_a_part_each(
    budget: int, associations: int, is_tls: bool
) -> None:
    plan = plan_memory(budget * MIB, associations, is_tls)
    own = plan.first_stage_bytes + (48 if is_tls else 8) * KIB
    assert READ_BYTES + plan.associations * own + plan.entry_bytes + plan.completion_bytes <= budget * MIB
    assert 5 * MIB <= plan.part_bytes <= 8 * MIB
    assert plan.completion_bytes >= 2 * plan.part_bytes
    assert plan.entry_bytes >= 2 * MIB
    assert 16 * KIB <= plan.first_stage_bytes <= 64 * KIB
    if associations <= 600 and budget >= 192:
        assert plan.associations == associations
        assert plan.entry_bytes + plan.completion_bytes >= budget * MIB // 2


def test_with_the_defaults_every_association_has_64_kib_and_a_part_is_8_mib() -> None:
    plan = plan_memory(192 * MIB, 300, False)
    assert (plan.associations, plan.first_stage_bytes, plan.part_bytes) == (300, 64 * KIB, 8 * MIB)


PEERS: list[Peer] = [("10.0.0.1", "CT1"), ("10.0.0.1", "CT2"), ("10.0.0.2", "CT1"), ("10.0.0.3", "MR")]


@dataclass(eq=False)
class Sender:
    """An object that arrives: it enters, may grow, and ends."""

    peer: Peer
    claim: Claim | None = None
    request: Request | None = None
    told: int = 0
    shrunk: bool = False
    log: list[str] = field(default_factory=list)

    def granted(self) -> None:
        self.told += 1
        self.settle()

    def settle(self) -> None:
        if self.request is not None and self.request.claim is not None:
            self.claim, self.request = self.request.claim, None


class Senders(RuleBasedStateMachine):
    """The first peer is stuck until the end: it never finishes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.deferred: list[Callable[[], None]] = []
        self.senders: list[Sender] = []

    @initialize(budget=st.sampled_from([32, 40, 64, 192]), associations=st.sampled_from([1, 300]), tls=st.booleans())
    def begin(self, budget: int, associations: int, tls: bool) -> None:
        self.plan = plan_memory(budget * MIB, associations, tls)
        self.memory = Memory(self.plan, self.deferred.append)

    @rule(peer=st.sampled_from(PEERS), size=st.sampled_from([1, 70_000, 600_000, MIB, 4 * MIB, 8 * MIB, 100 * MIB]))
    def enter(self, peer: Peer, size: int) -> None:
        sender = Sender(peer)
        sender.request = self.memory.request(peer, size, sender.granted)
        sender.settle()
        self.senders.append(sender)

    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        growable = [sender for sender in self.senders if self.may_grow(sender)]
        if growable:
            self.ask_to_grow(data.draw(st.sampled_from(growable)))

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A sender ends, or goes: whether it holds something, waits, or was granted something and not told yet."""
        others = [sender for sender in self.senders if sender.peer != PEERS[0]]
        if others:
            self.go(data.draw(st.sampled_from(others)))

    @rule(data=st.data())
    def shrink(self, data: st.DataObject) -> None:
        holders = [s for s in self.senders if s.claim is not None and s.request is None and s.peer != PEERS[0]]
        if holders:
            sender = data.draw(st.sampled_from(holders))
            assert sender.claim is not None
            sender.claim.shrink(min(sender.claim.size_bytes, 16 * KIB))
            sender.shrunk = True

    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        """Deferred calls come in order, but everything else may come between."""
        if self.deferred:
            self.deferred.pop(0)()

    @invariant()
    def books_are_right(self) -> None:
        if not hasattr(self, "memory"):
            return
        held = [sender.claim for sender in self.senders if sender.claim is not None]
        held += [
            s.request.claim for s in self.senders if s.request and s.request.claim and s.request.claim is not s.claim
        ]
        assert sum(claim.size_bytes for claim in held) == self.memory.claimed_bytes
        for pool, size in (
            (self.memory._entry, self.plan.entry_bytes),
            (self.memory._completion, self.plan.completion_bytes),
        ):
            assert 0 <= pool.used_bytes <= size
            assert sum(pool.used_by_peer.values()) == pool.used_bytes
            assert all(used <= size // 2 for used in pool.used_by_peer.values())
        assert all(claim.size_bytes <= self.plan.part_bytes for claim in held)

    def teardown(self) -> None:
        if not hasattr(self, "memory"):
            return
        self.let_finish([sender for sender in self.senders if sender.peer != PEERS[0]])
        assert {sender.peer for sender in self.senders} <= {PEERS[0]}
        self.let_finish(list(self.senders))
        assert self.memory.claimed_bytes == 0
        assert not self.memory.is_short

    def let_finish(self, senders: list[Sender]) -> None:
        """Whoever can go on does: as long as somebody can, and nobody is left waiting."""
        while senders:
            while self.deferred:
                self.deferred.pop(0)()
            ready = [sender for sender in senders if sender.request is None]
            assert ready, "everybody waits"
            for sender in ready:
                if self.may_grow(sender):
                    self.ask_to_grow(sender)
                else:
                    self.go(sender)
                    senders.remove(sender)

    def may_grow(self, sender: Sender) -> bool:
        claim = sender.claim
        is_whole = claim is None or claim.size_bytes == self.plan.part_bytes
        return not is_whole and sender.request is None and not sender.shrunk

    def ask_to_grow(self, sender: Sender) -> None:
        assert sender.claim is not None
        sender.request = self.memory.request_growth(sender.claim, sender.granted)
        sender.settle()

    def go(self, sender: Sender) -> None:
        self.senders.remove(sender)
        if sender.request is not None:
            sender.request.cancel()
            if sender.request.claim is not None and sender.request.claim is not sender.claim:
                sender.request.claim.release()
        if sender.claim is not None:
            sender.claim.release()
            sender.claim.release()  # a second time gives nothing back


TestSenders = Senders.TestCase
TestSenders.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_whoever_waits_is_served_in_order() -> None:
    deferred: list[Callable[[], None]] = []
    memory = Memory(plan_memory(64 * MIB, 1, False), deferred.append)
    served: list[int] = []
    requests = [memory.request(("host", str(n)), 100 * MIB, partial(served.append, n)) for n in range(40)]
    held = [request.claim for request in requests if request.claim is not None]
    assert 0 < len(held) < 20
    while held:
        held.pop(0).release()
        while deferred:
            deferred.pop(0)()
            claim = requests[served[-1]].claim
            assert claim is not None
            held.append(claim)
    assert served == sorted(served)
    assert memory.claimed_bytes == 0


def test_no_more_associations_are_admitted_than_have_their_first_stage() -> None:
    memory = Memory(plan_memory(32 * MIB, 100_000, False), lambda call: None)
    admitted = 0
    while memory.admit():
        admitted += 1
    assert admitted == memory.plan.associations < 1000
    memory.dismiss()
    assert memory.admit()
    assert not memory.admit()


def test_chunks_are_used_again_and_never_exceed_their_limit() -> None:
    chunks = Chunks(MIB)
    small = [chunks.take(16 * KIB) for _ in range(64)]
    for chunk in small:
        chunks.give_back(chunk)
    assert chunks.take(16 * KIB) is small[-1]
    chunks.give_back(small[-1])
    large = [chunks.take(256 * KIB) for _ in range(4)]
    assert chunks.bytes_in_use == MIB
    assert chunks._idle_bytes == 0
    assert {len(chunk) for chunk in large} == {256 * KIB}


@pytest.mark.parametrize(
    ("wanted", "at_most", "size"),
    [(1, 64, 16), (17, 64, 32), (600, 1024, 256), (600, 48, 32), (1, 16, 16), (200, 256, 256)],
)
def test_a_chunk_is_as_large_as_what_is_wanted_within_what_is_granted(wanted: int, at_most: int, size: int) -> None:
    assert chunk_bytes(wanted * KIB, at_most * KIB) == size * KIB
