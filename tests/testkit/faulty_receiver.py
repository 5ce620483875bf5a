"""A receiver whose store breaks its promises: `python -m tests.testkit.faulty_receiver`, environment as the receiver's.

FAULTY_STORE names what goes wrong with an object whose key holds "666": `put` raises at once, `begin` and `part` raise
in an upload, `wrong` answers with what no store answers.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storescp import __main__
from storescp.folder import Folder
from storescp.settings import Settings
from storescp.store import MultipartUpload

FAULT = os.environ.get("FAULTY_STORE", "")


class FaultyStore(Folder):
    """A folder with a mistake in it."""

    def put(self, key: str, chunks: Sequence[memoryview]) -> Any:
        """See `Store.put`."""
        if "666" not in key:
            return super().put(key, chunks)
        if FAULT == "put":
            raise RuntimeError("Doe^Jane")
        return _failed(ZeroDivisionError("Doe^Jane"))

    async def begin_upload(self, key: str) -> Any:
        """See `Store.begin_upload`."""
        if "666" in key and FAULT == "begin":
            raise KeyError("Doe^Jane")
        upload = await super().begin_upload(key)
        return _FaultyUpload(upload) if "666" in key else upload


class _FaultyUpload:
    def __init__(self, upload: MultipartUpload) -> None:
        self._upload = upload

    def put_part(self, number: int, chunks: Sequence[memoryview]) -> Any:
        if number == 2:
            raise RuntimeError("Doe^Jane")
        return self._upload.put_part(number, chunks)

    def complete(self) -> Any:
        return self._upload.complete()

    def abort(self) -> Any:
        return self._upload.abort()


def _failed(error: Exception) -> asyncio.Future[str]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def open_faulty_store(settings: Settings, environment: Mapping[str, str]) -> FaultyStore:
    """The factory that the receiver is given."""
    return FaultyStore(Path(settings.storage_dir), 10.0)


if __name__ == "__main__":
    __main__.main(open_faulty_store)
