"""An object on its way into the store in parts, while it still arrives."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from storescp.part import Part
from storescp.store import MultipartUpload, Store

PARTS_AT_ONCE: Final = 2


class Upload:
    """A multipart upload that takes parts as they are filled.

    `result` is done when the store has confirmed the whole object (its ETag), or failed, or when it was cancelled: then
    all memory has been given back, and the store touches none of it any more.
    """

    def __init__(self, store: Store, key: str, on_part_stored: Callable[[], None]) -> None:
        """`on_part_stored` is called each time when memory of a part was given back."""
        self._store = store
        self._key = key
        self._on_part_stored = on_part_stored
        self._parts: deque[Part] = deque()
        self._is_complete = False
        self._changed = asyncio.Event()
        self._under_way: set[asyncio.Future[None]] = set()
        self._failure: BaseException | None = None
        self.result: asyncio.Task[str] = asyncio.get_running_loop().create_task(self._run())
        self.result.add_done_callback(lambda _: self._release())

    @property
    def is_behind(self) -> bool:
        """Whether as many parts wait for the store as may."""
        return len(self._parts) + len(self._under_way) >= PARTS_AT_ONCE

    def push(self, part: Part) -> None:
        """Store a part, which belongs to the upload from now on."""
        self._parts.append(part)
        self._changed.set()

    def complete(self) -> None:
        """Take note that there are no more parts."""
        self._is_complete = True
        self._changed.set()

    def abandon(self) -> None:
        """Have the store discard the object."""
        self.result.cancel()

    async def _run(self) -> str:
        target = await self._store.begin_upload(self._key)
        try:
            await self._put_parts(target)
            return await target.complete()
        except BaseException:
            for future in tuple(self._under_way):
                future.cancel()
            if self._under_way:
                await asyncio.wait(tuple(self._under_way))
            target.abort()
            raise

    async def _put_parts(self, target: MultipartUpload) -> None:
        """Put parts until there are no more, and all are stored. Raises `StoreError`: one failed."""
        number = 0
        while True:
            self._changed.clear()
            while self._parts:
                number += 1
                self._put_part(target, number, self._parts.popleft())
            if self._is_complete and not self._under_way:
                return
            await self._changed.wait()
            if self._failure is not None:
                raise self._failure

    def _put_part(self, target: MultipartUpload, number: int, part: Part) -> None:
        try:
            future = target.put_part(number, part.views())
        except BaseException:
            part.release()
            raise
        self._under_way.add(future)

        def stored(future: asyncio.Future[None]) -> None:
            part.release()
            self._under_way.discard(future)
            self._changed.set()
            if future.cancelled():
                return
            self._failure = self._failure or future.exception()
            if self._failure is None:
                self._on_part_stored()

        future.add_done_callback(stored)

    def _release(self) -> None:
        while self._parts:
            self._parts.popleft().release()
