"""Where objects go: what the receiver asks of a store, whether that is a bucket or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from asyncio import Future


PART_BYTES: Final = 5 * 1024 * 1024  # the least that S3 allows for a part (S3 User Guide, "multipart upload limits")
MAXIMUM_PARTS: Final = 10_000
_UNREADY_SECONDS: Final = 60.0
_SILENT_SECONDS: Final = 10.0


class StoreError(Exception):
    """The store did not confirm what was asked of it.

    `code` names the reason, for logs: an error code of S3, an HTTP status or a fault of the connection. Words of
    the store are not kept, because they may quote what was sent.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class AlreadyExistsError(StoreError):
    """There is an object of that key already."""

    def __init__(self) -> None:
        super().__init__("AlreadyExists")


class MultipartUpload(Protocol):
    """An object that is written in parts, and that nobody sees before it is complete."""

    def put_part(self, number: int, chunks: Sequence[memoryview]) -> Future[None]:
        """Write part `number` (from 1 to `MAXIMUM_PARTS`); all but the last have `PART_BYTES` or more.

        The chunks must not change until the future is done. Raises `StoreError` (from the future).
        """

    def complete(self) -> Future[str]:
        """Make the object of the parts visible, unless there is one of that key; return its ETag.

        Raises `StoreError` (from the future): the object was not confirmed.
        """

    def abort(self) -> Future[None]:
        """Discard the parts, as well as the store lets us; nothing is raised."""


class StoreHealth:
    """Whether the store has answered lately; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._failing_since: float | None = None
        self._last_failure = 0.0
        self._code = ""

    def succeeded(self) -> None:
        """The store did what it was asked."""
        self._failing_since = None

    def failed(self, code: str, monotonic_now: float) -> None:
        """The store failed; `code` is that of the `StoreError`."""
        if self._failing_since is None:
            self._failing_since = monotonic_now
        self._last_failure = monotonic_now
        self._code = code

    def not_ready_reason(self, monotonic_now: float) -> str:
        """Why no association should come here: a minute of failures without a success; empty if there is no reason."""
        if self._failing_since is None or monotonic_now - self._failing_since < _UNREADY_SECONDS:
            return ""
        return f"the store has confirmed nothing for {_UNREADY_SECONDS:.0f} seconds: {self._code}"

    def needs_probe(self, monotonic_now: float) -> bool:
        """Whether nobody else will find out soon that the store works again.

        While senders still come, what they hear counts: a probe that succeeds must not hide that nothing is stored.
        """
        if self._failing_since is None:
            return False
        return bool(self.not_ready_reason(monotonic_now)) or monotonic_now - self._last_failure > _SILENT_SECONDS


class Store(Protocol):
    """Writes objects, each of them once. No key is ever written over."""

    answer_seconds: float  # in which a call has succeeded or failed, further tries included
    health: StoreHealth

    def put(self, key: str, chunks: Sequence[memoryview]) -> Future[str]:
        """Write an object and return its ETag, or "" if that is not known.

        The chunks must not change until the future is done; cancelling it ends the request. No other process may
        write that key: an object that is found there after a try of ours whose answer was lost is taken for ours.
        Raises `StoreError` (from the future): the object was not confirmed.
        """

    async def begin_upload(self, key: str) -> MultipartUpload:
        """Begin to write an object in parts. Raises `StoreError`."""

    async def create(self, key: str, data: bytes) -> None:
        """Write an object that others may want to write, too.

        Raises `AlreadyExistsError`: there is one, perhaps by a try of ours whose answer was lost. Raises `StoreError`.
        """

    async def get(self, key: str) -> bytes:
        """Read a (small) object. Raises `StoreError`, with code NoSuchKey if there is none."""

    async def list(self, prefix: str) -> list[str]:
        """Return all keys that begin with `prefix`, in order. Raises `StoreError`."""

    async def probe_write(self) -> str:
        """Try whether objects can be written, without writing any; return what is in the way, or nothing."""

    async def close(self) -> None:
        """Leave aborts of uploads a moment to be done; then give up all connections."""
