"""The memory that image data may take in one process: claims on it, granted before a byte is buffered (ADR 9).

Every association has a *first stage* of its own, from its acceptance to its end: small objects and requests without a
data set never wait. What does not fit into it needs a *claim*. Claims come from two pools:

- the *entry* pool: a claim of the size that the object probably has;
- the *completion* pool: what such a claim lacks to a whole part (`MemoryPlan.part_bytes`), and whole parts.

A claim on a whole part is final: its holder fills the part, has it stored, and releases it without asking for more. So
the completion pool empties whatever waits, and with it the entry pool: nobody waits in a circle. Requests are served
first come, first served; one peer has at most half of each pool, and is passed over while it has.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple

KIB: Final = 1024
MIB: Final = 1024 * KIB
SMALLEST_CHUNK_BYTES: Final = 16 * KIB
LARGEST_CHUNK_BYTES: Final = 256 * KIB
READ_BYTES: Final = 256 * KIB  # of the one buffer that all connections of a process read into
_PENDING_BYTES: Final = 4 * MIB  # of requests for an association that have not arrived whole, together
_PLAIN_BYTES: Final = 8 * KIB  # of an association's own: its objects, a command set, what was read and not taken
_TLS_BYTES: Final = 40 * KIB  # OpenSSL's state, a record being read and one being written
_SMALLEST_PART: Final = 5 * MIB  # the least that S3 allows for a part
_LARGEST_PART: Final = 8 * MIB

Peer = tuple[str, str]
"""Whom a claim is counted to: address and calling AE title."""


class MemoryPlan(NamedTuple):
    """How a process's memory is shared out, in bytes; `associations` is how many it can have."""

    budget_bytes: int
    associations: int
    pending_bytes: int
    first_stage_bytes: int
    part_bytes: int
    entry_bytes: int
    completion_bytes: int


def plan_memory(budget_bytes: int, associations: int, is_tls: bool) -> MemoryPlan:
    """Share `budget_bytes` of a process out so that `associations`, or as many as fit, have their first stage.

    The rest is for claims. A budget of 32 MiB is enough for two parts in the completion pool and some entries.
    """
    own_bytes = _PLAIN_BYTES + (_TLS_BYTES if is_tls else 0)
    first_stage = 4 * SMALLEST_CHUNK_BYTES
    while first_stage > SMALLEST_CHUNK_BYTES and associations * (first_stage + own_bytes) > budget_bytes // 4:
        first_stage //= 2
    associations = min(associations, budget_bytes // 2 // (first_stage + own_bytes))
    pending = min(_PENDING_BYTES, budget_bytes // 16)
    for_claims = budget_bytes - READ_BYTES - pending - associations * (first_stage + own_bytes)
    part = min(_LARGEST_PART, max(_SMALLEST_PART, for_claims // 16 // MIB * MIB))
    completion = max(2 * part, for_claims // 2)
    return MemoryPlan(budget_bytes, associations, pending, first_stage, part, for_claims - completion, completion)


class _Pool:
    """Bytes of which one peer may have half."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.peer_limit_bytes = size_bytes // 2
        self.used_bytes = 0
        self.used_by_peer: defaultdict[Peer, int] = defaultdict(int)

    def is_within_share(self, peer: Peer, size: int) -> bool:
        return self.used_by_peer[peer] + size <= self.peer_limit_bytes

    def has_room(self, size: int) -> bool:
        return self.used_bytes + size <= self.size_bytes

    def take(self, peer: Peer, size: int) -> None:
        self.used_bytes += size
        self.used_by_peer[peer] += size

    def give_back(self, peer: Peer, size: int) -> None:
        self.used_bytes -= size
        self.used_by_peer[peer] -= size
        if not self.used_by_peer[peer]:
            del self.used_by_peer[peer]


class Claim:
    """Bytes that its holder may fill; to be released once, when the last of them is no longer needed."""

    __slots__ = ("_holdings", "_memory", "peer")

    def __init__(self, memory: "Memory", peer: Peer) -> None:
        self._memory = memory
        self._holdings: list[tuple[_Pool, int]] = []
        self.peer = peer

    @property
    def size_bytes(self) -> int:
        """How many bytes may be filled."""
        return sum(size for _, size in self._holdings)

    def release(self) -> None:
        """Give all of it back; those who wait are served. A second call does nothing."""
        holdings, self._holdings = self._holdings, []
        for pool, size in holdings:
            pool.give_back(self.peer, size)
        if holdings:
            self._memory.serve()

    def shrink(self, size_bytes: int) -> None:
        """Give back what is not needed: the claim is final now, and so many bytes of it stay."""
        surplus = self.size_bytes - size_bytes
        while surplus > 0:
            pool, size = self._holdings.pop()
            kept = max(0, size - surplus)
            pool.give_back(self.peer, size - kept)
            surplus -= size - kept
            if kept:
                self._holdings.append((pool, kept))
        self._memory.serve()

    def add(self, pool: _Pool, size: int) -> None:
        """Count bytes of a pool to this claim; for `Memory` only."""
        pool.take(self.peer, size)
        self._holdings.append((pool, size))


class Request:
    """A claim, or more of one, that was asked for: `claim` is there once it was granted."""

    __slots__ = ("_growing", "_memory", "_on_grant", "claim", "is_cancelled", "size_bytes")

    def __init__(self, memory: "Memory", growing: Claim | None, size_bytes: int, on_grant: Callable[[], None]) -> None:
        self._memory = memory
        self._growing = growing
        self._on_grant = on_grant
        self.size_bytes = size_bytes
        self.claim: Claim | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Ask no longer. What was granted already stays with its claim, whose holder releases it."""
        self.is_cancelled = True
        self._memory.forget(self)

    def announce(self) -> None:
        """Tell the holder of the grant, unless he has gone; for `Memory` only."""
        if not self.is_cancelled:
            self._on_grant()


class Memory:
    """The claims of one process. It knows neither a clock nor a loop: `defer` calls what it is given, soon."""

    def __init__(self, plan: MemoryPlan, defer: Callable[[Callable[[], None]], object]) -> None:
        self.plan = plan
        self.associations = 0
        self.chunks = Chunks(plan.budget_bytes - READ_BYTES)
        self._defer = defer
        self._entry = _Pool(plan.entry_bytes)
        self._completion = _Pool(plan.completion_bytes)
        self._growing: dict[Request, Peer] = {}  # first come, first served
        self._entering: dict[Request, Claim] = {}

    @property
    def claimed_bytes(self) -> int:
        """Bytes of the memory that objects claim at the moment."""
        return self._entry.used_bytes + self._completion.used_bytes

    @property
    def is_short(self) -> bool:
        """Whether an object waits for memory."""
        return bool(self._growing or self._entering)

    @property
    def largest_entry_bytes(self) -> int:
        """What a claim that may grow can have at most."""
        return min(self._entry.peer_limit_bytes, self.plan.part_bytes)

    def admit(self) -> bool:
        """Take a first stage for a new association; return False if there is none left."""
        if self.associations >= self.plan.associations:
            return False
        self.associations += 1
        return True

    def dismiss(self) -> None:
        """Return the first stage of an association that has ended."""
        self.associations -= 1

    def request(self, peer: Peer, size_bytes: int, on_grant: Callable[[], None]) -> Request:
        """Ask for a claim of a part's size, or a smaller one, which may grow once.

        The request that is returned has its `claim` if that was granted at once; else `on_grant` is called later.
        """
        size = self.plan.part_bytes
        if size_bytes < size:
            size = min(_round_up(size_bytes), self.largest_entry_bytes)
        request = Request(self, None, size, on_grant)
        self._entering[request] = Claim(self, peer)
        self.serve(request)
        return request

    def request_growth(self, claim: Claim, on_grant: Callable[[], None]) -> Request:
        """Ask for what a claim lacks to a part; it may not be asked for a second time."""
        request = Request(self, claim, self.plan.part_bytes - claim.size_bytes, on_grant)
        self._growing[request] = claim.peer
        self.serve(request)
        return request

    def forget(self, request: Request) -> None:
        """Take a request out of the queues."""
        if self._growing.pop(request, None) is not None or self._entering.pop(request, None) is not None:
            self.serve()

    def serve(self, asking: Request | None = None) -> None:
        """Grant what can be granted, in order; a peer that has its share is passed over, and nobody else.

        Who is `asking` just now sees for himself whether he was granted it; others are told.
        """
        is_growth_served = True  # or passed over: what is left of the completion pool is for others
        for request in tuple(self._growing):
            claim = request._growing
            assert claim is not None
            if self._grow(request, claim):
                del self._growing[request]
                if request is not asking:
                    self._defer(request.announce)
            elif self._completion.is_within_share(claim.peer, request.size_bytes):
                is_growth_served = False
                break
        for request, claim in tuple(self._entering.items()):
            if self._enter(request, claim, is_growth_served):
                del self._entering[request]
                if request is not asking:
                    self._defer(request.announce)
            elif self._is_within_share(request, claim.peer):
                break

    def _grow(self, request: Request, claim: Claim) -> bool:
        return self._take(self._completion, request, claim)

    def _enter(self, request: Request, claim: Claim, is_growth_served: bool) -> bool:
        if self._take(self._entry, request, claim):
            return True
        is_final = request.size_bytes == self.plan.part_bytes
        return is_final and is_growth_served and self._take(self._completion, request, claim)

    def _take(self, pool: _Pool, request: Request, claim: Claim) -> bool:
        if not (pool.has_room(request.size_bytes) and pool.is_within_share(claim.peer, request.size_bytes)):
            return False
        claim.add(pool, request.size_bytes)
        request.claim = claim
        return True

    def _is_within_share(self, request: Request, peer: Peer) -> bool:
        is_final = request.size_bytes == self.plan.part_bytes
        return self._entry.is_within_share(peer, request.size_bytes) or (
            is_final and self._completion.is_within_share(peer, request.size_bytes)
        )


class Chunks:
    """Buffers in powers of two, used again: their pages are mapped already, which saves more than copying costs."""

    def __init__(self, limit_bytes: int) -> None:
        """`limit_bytes`: of those in use and those kept together; what is in use is bounded by the claims."""
        self._limit = limit_bytes
        self._idle: defaultdict[int, list[bytearray]] = defaultdict(list)
        self._idle_bytes = 0
        self.bytes_in_use = 0

    def take(self, size: int) -> bytearray:
        """Return a buffer of `size` bytes, a power of two, its content undefined."""
        self.bytes_in_use += size
        idle = self._idle[size]
        if idle:
            self._idle_bytes -= size
            return idle.pop()
        self._trim()
        return bytearray(size)

    def give_back(self, chunk: bytearray) -> None:
        """Return a buffer that nobody has a view of any more."""
        size = len(chunk)
        self.bytes_in_use -= size
        self._idle_bytes += size
        self._idle[size].append(chunk)

    def _trim(self) -> None:
        """Let go of idle buffers, largest first, until what is allocated is within the limit."""
        for size in sorted(self._idle, reverse=True):
            while self._idle[size] and self.bytes_in_use + self._idle_bytes > self._limit:
                self._idle[size].pop()
                self._idle_bytes -= size


def chunk_bytes(wanted: int, at_most: int) -> int:
    """Size of the next chunk: the power of two that holds `wanted` bytes, within `at_most` and the largest chunk."""
    size = max(SMALLEST_CHUNK_BYTES, 1 << (max(wanted, 1) - 1).bit_length())
    largest = 1 << (min(at_most, LARGEST_CHUNK_BYTES).bit_length() - 1)
    return min(size, largest)


def _round_up(size: int) -> int:
    return -(-max(size, 1) // SMALLEST_CHUNK_BYTES) * SMALLEST_CHUNK_BYTES
