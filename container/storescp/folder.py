"""Objects in a folder, for trials and tests: each is written aside, forced to the disk and then linked to its name.

A link is create only, as in the bucket: nothing is ever written over. Calls that may block run in threads.
"""

import asyncio
import contextlib
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from storescp.store import AlreadyExistsError, StoreError, StoreHealth

_ASIDE: Final = ".partial"
_THREADS: Final = 8
_VECTORS: Final = 512  # buffers for one writev (IOV_MAX is 1024)

T = TypeVar("T")
IsGivenUp = Callable[[], bool]
Work = Callable[[IsGivenUp], T]


def prepare(root: Path) -> None:
    """Make the folder and try it. Raises `OSError`: objects cannot be written there."""
    aside = root / _ASIDE
    aside.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=aside) as trial:
        linked = Path(f"{trial.name}.link")
        os.link(trial.name, linked)
        linked.unlink()


class Folder:
    """A `storescp.store.Store` below a folder; keys are paths."""

    def __init__(self, root: Path, answer_seconds: float) -> None:
        """`root` was prepared by `prepare`."""
        self.answer_seconds = answer_seconds
        self.health = StoreHealth()
        self._root = root
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "folder")
        self._known: set[str] = set()  # folders that are durable
        self._lock = threading.Lock()

    def put(self, key: str, chunks: Sequence[memoryview]) -> asyncio.Future[str]:
        """See `Store.put`; a file has no ETag."""
        return self.run(lambda is_given_up: self._write(key, chunks, is_given_up))

    async def begin_upload(self, key: str) -> "FolderUpload":
        """See `Store.begin_upload`."""
        return FolderUpload(self, key, await self.run(lambda _: self.open_aside()))

    async def create(self, key: str, data: bytes) -> None:
        """See `Store.create`."""
        await self.run(lambda is_given_up: self._write(key, (memoryview(data),), is_given_up))

    async def get(self, key: str) -> bytes:
        """See `Store.get`."""
        return await self.run(lambda _: (self._root / key).read_bytes())

    async def list(self, prefix: str) -> list[str]:
        """See `Store.list`."""
        return list(await self.run(lambda _: self._list(prefix)))

    async def probe_write(self) -> str:
        """See `Store.probe_write`."""
        try:
            await self.run(lambda _: self.discard(self.open_aside()))
        except StoreError as error:
            return f"the folder cannot be written: {error.code}"
        return ""

    async def close(self) -> None:
        """See `Store.close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def run(self, work: Work[T]) -> asyncio.Future[T]:
        """Do what may block in a thread; it can ask whether it was given up. Raises `StoreError` (from the future)."""
        given_up = threading.Event()

        def translated() -> T:
            try:
                return work(given_up.is_set)
            except FileExistsError:
                raise AlreadyExistsError from None
            except FileNotFoundError:
                raise StoreError("NoSuchKey") from None
            except OSError as error:
                raise StoreError(os.strerror(error.errno) if error.errno else type(error).__name__) from None

        def note(future: asyncio.Future[T]) -> None:
            if future.cancelled():
                given_up.set()
            self._note(future)

        future = self._loop.run_in_executor(self._threads, translated)
        future.add_done_callback(note)
        return future

    def _note(self, future: asyncio.Future[T]) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, StoreError) and error.code not in ("NoSuchKey", "AlreadyExists"):
            self.health.failed(error.code, self._loop.time())
        elif error is None:
            self.health.succeeded()

    def _write(self, key: str, chunks: Sequence[memoryview], is_given_up: IsGivenUp) -> str:
        descriptor, path = self.open_aside()
        try:
            write_all(descriptor, chunks, is_given_up)
            self.publish(descriptor, path, key)
        finally:
            self.discard((descriptor, path))
        return ""

    def open_aside(self) -> tuple[int, Path]:
        """Open a new file that nobody takes for an object; return its descriptor and its path."""
        path = self._root / _ASIDE / uuid.uuid4().hex
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), path

    def publish(self, descriptor: int, path: Path, key: str) -> None:
        """Give a file that is whole its name, durably. Raises `FileExistsError`."""
        os.fsync(descriptor)
        target = self._root / key
        self._make_folder(target.parent)
        try:
            os.link(path, target)
        except FileNotFoundError:  # somebody has tidied up: make the folder again
            with self._lock:
                self._known.clear()
            self._make_folder(target.parent)
            os.link(path, target)
        _sync_folder(target.parent)

    def discard(self, aside: tuple[int, Path]) -> None:
        """Close and remove the file; the object that it may have become stays."""
        descriptor, path = aside
        os.close(descriptor)
        path.unlink()

    def _make_folder(self, folder: Path) -> None:
        """Make a folder whose name is durable in its parent, and so on upwards."""
        name = str(folder)
        with self._lock:
            if name in self._known:
                return
        if folder != self._root:
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.parent)
        with self._lock:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known.add(name)

    def _list(self, prefix: str) -> Sequence[str]:
        top = self._root / prefix.rpartition("/")[0]
        keys = []
        for folder, names, files in os.walk(top):
            names[:] = [name for name in names if name != _ASIDE]
            keys += [str((Path(folder) / file).relative_to(self._root)) for file in files]
        return sorted(key for key in keys if key.startswith(prefix))


class FolderUpload:
    """A `storescp.store.MultipartUpload`; parts may be written in any order, but are kept in order of their numbers."""

    def __init__(self, folder: Folder, key: str, aside: tuple[int, Path]) -> None:
        self._folder = folder
        self._key = key
        self._aside: tuple[int, Path] | None = aside
        self._lock = threading.Lock()
        self._parts: dict[int, Sequence[memoryview]] = {}  # that came before their turn
        self._next = 1

    def put_part(self, number: int, chunks: Sequence[memoryview]) -> asyncio.Future[None]:
        """See `MultipartUpload.put_part`."""
        return self._folder.run(lambda is_given_up: self._put_part(number, chunks, is_given_up))

    def complete(self) -> asyncio.Future[str]:
        """See `MultipartUpload.complete`."""
        return self._folder.run(lambda _: self._complete())

    def abort(self) -> asyncio.Future[None]:
        """See `MultipartUpload.abort`."""
        return self._folder.run(lambda _: self._abort())

    def _put_part(self, number: int, chunks: Sequence[memoryview], is_given_up: IsGivenUp) -> None:
        with self._lock:
            if self._aside is None:
                raise StoreError("NoSuchUpload")
            self._parts[number] = chunks if number == self._next else [memoryview(b"".join(chunks))]
            try:
                while self._next in self._parts:
                    write_all(self._aside[0], self._parts.pop(self._next), is_given_up)
                    self._next += 1
            except (OSError, StoreError):  # how much of the part is there is not known: nothing is to be made of it
                aside, self._aside = self._aside, None
                self._folder.discard(aside)
                raise

    def _complete(self) -> str:
        with self._lock:
            if self._aside is None or self._parts:
                raise StoreError("InvalidPart")
            aside, self._aside = self._aside, None
        try:
            self._folder.publish(*aside, self._key)
        finally:
            self._folder.discard(aside)
        return ""

    def _abort(self) -> None:
        with self._lock:
            aside, self._aside = self._aside, None
        if aside is not None:
            with contextlib.suppress(OSError):
                self._folder.discard(aside)


def write_all(descriptor: int, chunks: Sequence[memoryview], is_given_up: IsGivenUp) -> None:
    """Write all bytes of the chunks. Raises `OSError`. Raises `StoreError`: it was given up meanwhile.

    Then the chunks may have served for something else already, and what was written is worth nothing.
    """
    left = [chunk for chunk in chunks if len(chunk)]
    while left:
        written = os.writev(descriptor, left[:_VECTORS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
        if is_given_up():
            raise StoreError("GivenUp")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
