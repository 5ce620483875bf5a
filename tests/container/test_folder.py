"""Covers folder.py and opening.py: what has a name is whole and on the disk, and nothing is written over."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop

from storescp.folder import Folder, prepare
from storescp.store import AlreadyExistsError, StoreError

T = TypeVar("T")
KEY = "incoming/b/1/2/3.dcm"


def use(root: Path, work: Callable[[Folder], Awaitable[T]]) -> T:
    async def main() -> T:
        prepare(root)
        folder = Folder(root, 5)
        try:
            return await work(folder)
        finally:
            await folder.close()

    return uvloop.run(main())


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def views(*chunks: bytes) -> list[memoryview]:
    return [memoryview(chunk) for chunk in chunks]


def test_an_object_is_written_once_and_whole(tmp_path: Path) -> None:
    async def work(folder: Folder) -> None:
        await folder.put(KEY, views(b"ab", b"", b"c" * 100_000))
        with pytest.raises(AlreadyExistsError):
            await folder.put(KEY, views(b"other"))
        with pytest.raises(AlreadyExistsError):
            await folder.create(KEY, b"other")
        await folder.create("batches/b.json", b"{}")
        assert await folder.get("batches/b.json") == b"{}"
        with pytest.raises(StoreError, match="NoSuchKey"):
            await folder.get("batches/none.json")
        assert await folder.list("batches/") == ["batches/b.json"]
        assert await folder.list("") == ["batches/b.json", KEY]
        assert await folder.probe_write() == ""

    use(tmp_path, work)
    assert files(tmp_path) == {KEY: b"ab" + b"c" * 100_000, "batches/b.json": b"{}"}


def test_what_has_a_name_was_forced_to_the_disk_with_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(tmp_path)))
        sync(descriptor)

    def recording_link(source: Path, target: Path) -> None:
        done.append("link")
        link(source, target)

    use(tmp_path, lambda folder: folder.probe_write())
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", recording_link)

    async def put(folder: Folder) -> None:
        await folder.put("a/b/c.dcm", views(b"x"))

    use(tmp_path, put)
    names = done[done.index("link") + 1 :]  # the first link is `prepare`'s
    assert names[0].startswith("/.partial/")
    assert names[1:] == ["", "/a", "link", "/a/b"]


def test_parts_become_an_object_in_their_order(tmp_path: Path) -> None:
    async def work(folder: Folder) -> None:
        upload = await folder.begin_upload(KEY)
        parts = [bytes([number]) * 300_000 for number in range(1, 9)]
        await asyncio.gather(
            *(upload.put_part(number, views(part)) for number, part in reversed([*enumerate(parts, 1)]))
        )
        assert KEY not in files(tmp_path)
        await upload.complete()
        assert files(tmp_path) == {KEY: b"".join(parts)}
        again = await folder.begin_upload(KEY)
        await again.put_part(1, views(b"x"))
        with pytest.raises(AlreadyExistsError):
            await again.complete()
        for _ in range(2):
            await again.abort()

    use(tmp_path, work)
    assert list(files(tmp_path)) == [KEY]


def test_what_is_not_whole_never_gets_a_name(tmp_path: Path) -> None:
    async def work(folder: Folder) -> None:
        upload = await folder.begin_upload(KEY)
        await upload.put_part(2, views(b"x"))
        with pytest.raises(StoreError, match="InvalidPart"):
            await upload.complete()
        await upload.abort()
        with pytest.raises(StoreError, match="NoSuchUpload"):
            await upload.put_part(1, views(b"x"))

    use(tmp_path, work)
    assert files(tmp_path) == {}


def test_a_full_disk_is_a_failure_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(folder: Folder) -> tuple[str, bool]:
        with pytest.raises(StoreError) as failed:
            await folder.put(KEY, views(b"x"))
        upload = await folder.begin_upload(KEY)
        with pytest.raises(StoreError):
            await upload.put_part(1, views(b"x"))
        with pytest.raises(StoreError):
            await upload.complete()
        return failed.value.code, folder.health.needs_probe(float("inf"))

    def full(descriptor: int, chunks: object) -> int:
        raise OSError(28, "a sentence")

    monkeypatch.setattr(os, "writev", full)
    assert use(tmp_path, work) == ("No space left on device", True)
    assert files(tmp_path) == {}


def test_what_was_given_up_is_not_made_of_bytes_that_serve_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer is used again as soon as the future is done, while the thread may still be writing."""
    data = bytearray(b"a" * 1000)

    async def work(folder: Folder) -> None:
        future = folder.put(KEY, [memoryview(data)])
        await asyncio.sleep(0.1)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        data[:] = b"b" * 1000
        await asyncio.sleep(0.5)

    written = os.writev

    def slow(descriptor: int, chunks: list[memoryview]) -> int:
        import time

        time.sleep(0.3)
        return written(descriptor, [chunks[0][:10]])

    monkeypatch.setattr(os, "writev", slow)
    use(tmp_path, work)
    assert files(tmp_path) == {}


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    async def work(folder: Folder) -> None:
        await folder.put(KEY, views(b"x"))
        (tmp_path / KEY).unlink()
        (tmp_path / KEY).parent.rmdir()
        await folder.put(KEY, views(b"y"))

    use(tmp_path, work)
    assert files(tmp_path) == {KEY: b"y"}
