"""An object on its way into the store while it still arrives: what the store pulls the chunks from."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from storescp.memory import MemoryBudget
from storescp.store import PART_BYTES, UploadAbandoned

CHUNK_BYTES: Final = 1024 * 1024
_BACKLOG_LIMIT: Final = 4 * CHUNK_BYTES


class Upload:
    """An asynchronous iterator of chunks; whoever fills it stops when `is_full`, until `on_room` is called."""

    def __init__(self, memory: MemoryBudget, on_room: Callable[[], None]) -> None:
        self._memory = memory
        self._on_room = on_room
        self._chunks: deque[tuple[bytearray, memoryview]] = deque()
        self._handed_over: deque[tuple[bytearray, memoryview]] = deque()
        self._puller: asyncio.Future[None] | None = None
        self._backlog_bytes = 0
        self._is_complete = False
        self._is_abandoned = False

    @property
    def is_full(self) -> bool:
        """Whether the store is behind by more than it should be."""
        return self._backlog_bytes > _BACKLOG_LIMIT

    @property
    def frees_memory_soon(self) -> bool:
        """Whether memory comes back without another byte being received."""
        self._collect()
        held = sum(len(view) for _, view in self._handed_over)
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
        self._handed_over.extend(self._chunks)
        self._chunks.clear()
        self._backlog_bytes = 0
        self._collect()
        for buffer, _ in self._handed_over:
            self._memory.give_back(buffer, is_unused=False)
        self._handed_over.clear()

    def __aiter__(self) -> "Upload":
        return self

    async def __anext__(self) -> memoryview:
        self._collect()
        while not self._chunks or self._is_abandoned:
            if self._is_abandoned:
                raise UploadAbandoned
            if self._is_complete:
                raise StopAsyncIteration
            self._puller = asyncio.get_running_loop().create_future()
            await self._puller
        chunk = self._chunks.popleft()
        self._handed_over.append(chunk)
        was_full = self.is_full
        self._backlog_bytes -= len(chunk[1])
        if was_full and not self.is_full:
            self._on_room()
        return chunk[1]

    def _wake(self) -> None:
        if self._puller is not None and not self._puller.done():
            self._puller.set_result(None)

    def _collect(self) -> None:
        """Give back the buffers that the store has let go of, which shows in their views."""
        while self._handed_over:
            buffer, view = self._handed_over[0]
            if not release(view):
                return
            self._handed_over.popleft()
            self._memory.give_back(buffer, is_unused=True)


def release(view: memoryview) -> bool:
    """Release a view unless somebody else, the store, still uses it."""
    try:
        view.release()
    except BufferError:
        return False
    return True
