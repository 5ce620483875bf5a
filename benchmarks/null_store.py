"""The receiver with a store that keeps nothing: `python -m benchmarks.null_store`, environment as the receiver's.

It is what the receiver itself can do, a bound for every store. Only the benchmark has it: the product has no switch
for it.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from storescp import __main__
from storescp.store import StoreHealth

T = TypeVar("T")


class NullStore:
    """A store, and its own upload, that answers at once for everything."""

    def __init__(self) -> None:
        self.answer_seconds = 60.0
        self.health = StoreHealth()

    def put(self, key: str, chunks: Sequence[memoryview]) -> asyncio.Future[str]:
        return _done("")

    async def begin_upload(self, key: str) -> "NullStore":
        return self

    def put_part(self, number: int, chunks: Sequence[memoryview]) -> asyncio.Future[None]:
        return _done(None)

    def complete(self) -> asyncio.Future[str]:
        return _done("")

    def abort(self) -> asyncio.Future[None]:
        return _done(None)

    async def create(self, key: str, data: bytes) -> None:
        return

    async def get(self, key: str) -> bytes:
        return b""

    async def list(self, prefix: str) -> list[str]:
        return []

    async def probe_write(self) -> str:
        return ""

    async def close(self) -> None:
        return


def _done(result: T) -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(result)
    return future


if __name__ == "__main__":
    __main__.main(lambda settings, environment: NullStore())
