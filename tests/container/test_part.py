"""The memory of a part, and how an object asks for it step by step (part.py, filling.py, upload.py)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storescp.filling import PartFiller
from storescp.memory import KIB, MIB, Memory, plan_memory
from storescp.part import AssociationMemory, FirstStage, Part
from storescp.store import Store, StoreError
from storescp.upload import PARTS_AT_ONCE, Upload

PEER = ("10.0.0.1", "CT1")


class Process:
    """A process's memory, and one association in it."""

    def __init__(self, budget: int = 32) -> None:
        self.deferred: list[Callable[[], None]] = []
        self.memory = Memory(plan_memory(budget * MIB, 4, False), self.deferred.append)
        assert self.memory.admit()
        self.first_stage = FirstStage(self.memory)
        self.association = AssociationMemory(self.memory, PEER, self.first_stage)
        self.told = 0

    def filler(self, expected: int = 0) -> PartFiller:
        return PartFiller(self.association, b"head", expected, self.tell)

    def tell(self) -> None:
        self.told += 1

    def is_as_before(self) -> bool:
        return self.memory.claimed_bytes == self.memory.chunks.bytes_in_use == 0 and self.first_stage.is_free


@given(st.lists(st.integers(0, 400_000), max_size=12), st.sampled_from([0, 1000, 500_000, 5_000_000]))
def test_what_is_written_is_what_is_viewed_however_it_is_cut(sizes: list[int], expected: int) -> None:
    process = Process()
    filler = process.filler(expected)
    sent = bytearray(b"head")
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        place = 0
        while place < size:
            if not filler.room and not filler.grow():
                break
            taken = data[place : place + filler.room]
            filler.write(taken)
            sent += taken
            place += len(taken)
    part = filler.take()
    assert part is not None
    assert b"".join(part.views()) == sent == part.whole()
    assert part.size == len(sent) == filler.size
    part.release()
    part.release()
    filler.drop()
    assert process.is_as_before()


def test_a_small_object_takes_its_associations_own_memory_and_claims_nothing() -> None:
    process = Process()
    filler = process.filler()
    filler.write(bytes(2048))
    assert process.memory.claimed_bytes == 0
    assert not process.first_stage.is_free
    other = process.filler()  # beside it, in the same association
    assert 0 < process.memory.claimed_bytes <= 64 * KIB
    for each in (filler, other):
        each.drop()
    assert process.is_as_before()


def test_an_object_claims_what_the_last_one_had_and_gives_back_what_it_does_not_need() -> None:
    process = Process()
    filler = process.filler(expected=700_000)
    assert process.memory.claimed_bytes >= 700_000
    filler.write(bytes(100_000))
    part = filler.take()
    assert part is not None
    assert process.memory.claimed_bytes < 700_000
    part.release()
    assert process.is_as_before()


def test_an_object_that_waits_for_growth_goes_on_when_it_is_granted() -> None:
    process = Process()
    plan = process.memory.plan
    others = [process.memory.request((str(n), ""), plan.part_bytes, process.tell) for n in range(20)]
    filler = process.filler()
    filler.write(bytes(filler.room))
    assert filler.grow()
    assert filler.is_waiting
    assert filler.room == 0
    for other in others:
        other.cancel()
        if other.claim is not None:
            other.claim.release()
    while process.deferred:
        process.deferred.pop(0)()
    assert process.told
    assert filler.room > 0
    filler.drop()
    assert process.memory.claimed_bytes == 0


@pytest.mark.parametrize("is_told", [False, True])
def test_who_goes_while_a_grant_is_on_its_way_leaves_nothing_behind(is_told: bool) -> None:
    process = Process()
    plan = process.memory.plan
    others = [process.memory.request((str(n), ""), plan.part_bytes, process.tell) for n in range(20)]
    filler = process.filler(expected=plan.part_bytes)
    filler.write(bytes(filler.room))
    filler.grow()
    for other in others:
        other.cancel()
        if other.claim is not None:
            other.claim.release()
    if is_told:
        while process.deferred:
            process.deferred.pop(0)()
    filler.drop()
    while process.deferred:
        process.deferred.pop(0)()
    assert process.is_as_before()


def test_a_first_stage_goes_back_when_the_association_is_over_and_nobody_reads_it_any_more() -> None:
    process = Process()
    filler = process.filler()
    process.first_stage.close()
    assert process.memory.associations == 1
    filler.drop()
    assert process.memory.associations == 0


class PartsStore:
    """A store whose uploads do what the test tells them."""

    def __init__(self) -> None:
        self.parts: list[asyncio.Future[None]] = []
        self.sizes: list[int] = []
        self.is_aborted = False

    async def begin_upload(self, key: str) -> "PartsStore":
        return self

    def put_part(self, number: int, chunks: Sequence[memoryview]) -> asyncio.Future[None]:
        assert number == len(self.parts) + 1
        self.sizes.append(sum(map(len, chunks)))
        self.parts.append(asyncio.get_running_loop().create_future())
        return self.parts[-1]

    def complete(self) -> asyncio.Future[str]:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        done.set_result("etag")
        return done

    def abort(self) -> None:
        self.is_aborted = True


def part_of(process: Process) -> Part:
    filler = process.filler(expected=300_000)
    filler.write(bytes(200_000))
    taken = filler.take()
    assert taken is not None
    return taken


async def end_upload(process: Process, end: str) -> None:
    """Push three parts, of which the first is stored unless all is over before that; then let it end."""
    store, stored = PartsStore(), []
    upload = Upload(cast(Store, store), "key", lambda: stored.append(1))
    for _ in range(PARTS_AT_ONCE):
        assert not upload.is_behind
        upload.push(part_of(process))
    assert upload.is_behind
    if end != "abandoned at once":
        await asyncio.sleep(0.01)
        assert store.sizes == [200_004] * PARTS_AT_ONCE
        store.parts[0].set_result(None)
        await asyncio.sleep(0.01)
        assert (stored, upload.is_behind) == ([1], False)
    upload.push(part_of(process))
    if end == "stored":
        upload.complete()
        await asyncio.sleep(0.01)
        for future in store.parts[1:]:
            future.set_result(None)
        assert await upload.result == "etag"
        return
    await asyncio.sleep(0)
    if end == "fails":
        store.parts[1].set_exception(StoreError("SlowDown"))
    else:
        upload.abandon()
    await asyncio.wait({upload.result})
    assert upload.result.cancelled() or isinstance(upload.result.exception(), StoreError)
    assert store.is_aborted


@pytest.mark.parametrize("end", ["stored", "fails", "abandoned", "abandoned at once"])
def test_an_upload_gives_all_memory_back_however_it_ends(end: str) -> None:
    process = Process(64)
    asyncio.run(end_upload(process, end))
    assert process.is_as_before()
