"""The receiver with a store that keeps nothing: `python -m benchmarks.null_store`, environment as the receiver's.

It is what the receiver itself can do, a bound for every store. Only the benchmark has it: the product has no switch
for it. The replacement happens before the receiver's workers are forked.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from storescp import __main__, server
from storescp.store import Store


class NullStore(Store):
    """Answers at once for everything; of a streamed object it pulls the chunks."""

    def __init__(self) -> None:
        super().__init__(None, answer_seconds=60)

    def put(self, key: str, data: memoryview) -> asyncio.Future[Any]:
        return _done()

    def put_stream(self, key: str, chunks: AsyncIterator[memoryview]) -> asyncio.Future[Any]:
        return asyncio.ensure_future(_exhaust(chunks))

    def create(self, key: str, data: bytes) -> asyncio.Future[Any]:
        return _done()


def _done() -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def _exhaust(chunks: AsyncIterator[memoryview]) -> None:
    async for _ in chunks:
        pass


if __name__ == "__main__":
    setattr(server, "open_store", lambda settings, environment: NullStore())  # noqa: B010
    __main__.main()
