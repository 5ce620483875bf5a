"""An object on its way into the store while it still arrives: what is pulled into the parts of an upload."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from storescp.memory import MemoryBudget
from storescp.store import PART_BYTES, MultipartUpload, Store

PARTS_AT_ONCE: Final = 2
CHUNK_BYTES: Final = 1024 * 1024
_BACKLOG_LIMIT: Final = 4 * CHUNK_BYTES


class UploadAbandoned(Exception):
    """The object is not to be completed; the store discards what it has of it."""


class Upload:
    """An asynchronous iterator of chunks; whoever fills it stops when `is_full`, until `on_room` is called."""

    def __init__(self, memory: MemoryBudget, on_room: Callable[[], None]) -> None:
        self._memory = memory
        self._on_room = on_room
        self._chunks: deque[tuple[bytearray, memoryview]] = deque()
        self._handed_over: dict[int, tuple[bytearray, memoryview]] = {}  # by the view's identity
        self._puller: asyncio.Future[None] | None = None
        self._backlog_bytes = 0
        self._is_complete = False
        self._is_abandoned = False

    @property
    def is_full(self) -> bool:
        """Whether the store is behind by more than it should be."""
        return self._backlog_bytes > _BACKLOG_LIMIT

    def frees_memory_soon(self) -> bool:
        """Say whether memory comes back without another byte being received."""
        held = sum(len(view) for _, view in self._handed_over.values())
        return self._is_complete or bool(self._chunks) or held > PART_BYTES + CHUNK_BYTES

    def push(self, buffer: bytearray, used: int) -> None:
        """Hand a buffer over, of which the first `used` bytes count."""
        self._chunks.append((buffer, memoryview(buffer)[:used]))
        self._backlog_bytes += used
        self._wake()

    def complete(self) -> None:
        """There will be no more chunks."""
        self._is_complete = True
        self._wake()

    def abandon(self) -> None:
        """Make the store discard the object."""
        self._is_abandoned = True
        self._wake()

    def close(self) -> None:
        """Give all memory back: the store is done with the object."""
        for buffer, _ in (*self._handed_over.values(), *self._chunks):
            self._memory.give_back(buffer, is_unused=True)
        self._handed_over.clear()
        self._chunks.clear()
        self._backlog_bytes = 0

    def give_back(self, chunks: Sequence[memoryview]) -> None:
        """Give the memory of chunks back that the store has."""
        for chunk in chunks:
            held = self._handed_over.pop(id(chunk), None)
            if held is not None:
                self._memory.give_back(held[0], is_unused=True)

    def __aiter__(self) -> "Upload":
        return self

    async def __anext__(self) -> memoryview:
        while not self._chunks or self._is_abandoned:
            if self._is_abandoned:
                raise UploadAbandoned
            if self._is_complete:
                raise StopAsyncIteration
            self._puller = asyncio.get_running_loop().create_future()
            await self._puller
        chunk = self._chunks.popleft()
        self._handed_over[id(chunk[1])] = chunk
        was_full = self.is_full
        self._backlog_bytes -= len(chunk[1])
        if was_full and not self.is_full:
            self._on_room()
        return chunk[1]

    def _wake(self) -> None:
        if self._puller is not None and not self._puller.done():
            self._puller.set_result(None)


async def stream(store: Store, key: str, upload: Upload) -> str:
    """Write an object in parts while it arrives, `PARTS_AT_ONCE`; return its ETag.

    Raises `UploadAbandoned`, `StoreError`: the parts are discarded.
    """
    target = await store.begin_upload(key)
    under_way: set[asyncio.Future[None]] = set()
    try:
        number, part, size = 0, [], 0
        async for chunk in upload:
            part.append(chunk)
            size += len(chunk)
            if size < PART_BYTES:
                continue
            if len(under_way) >= PARTS_AT_ONCE:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    future.result()
            number += 1
            under_way.add(_put_part(target, number, part, upload))
            part, size = [], 0
        if part:
            under_way.add(_put_part(target, number + 1, part, upload))
        await asyncio.gather(*under_way)
        return await target.complete()
    except BaseException:
        for future in under_way:
            future.cancel()
        if under_way:
            await asyncio.wait(under_way)
        target.abort()
        raise


def _put_part(target: MultipartUpload, number: int, part: list[memoryview], upload: Upload) -> asyncio.Future[None]:
    future = target.put_part(number, part)
    future.add_done_callback(lambda done: upload.give_back(part))
    return future
