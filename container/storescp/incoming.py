"""One C-STORE request, from its command to the status that answers it (PS3.4 Annex B).

The status is 0x0000 only after the store has answered for the whole object. A failure says in its Error Comment
what was wrong, in words that carry no attribute of the patient.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from storescp.batch import Batch, Batches, Instance, Lane, utc_now
from storescp.dimse import Command, Refusal, Status
from storescp.instances import check_command, name_instance
from storescp.keys import object_key
from storescp.log import Log
from storescp.memory import LARGEST_BUFFER, MemoryBudget
from storescp.metrics import Metrics
from storescp.part10 import encode_file_meta_information
from storescp.store import Store, StoreError
from storescp.upload import CHUNK_BYTES, Upload, UploadAbandoned, stream

# HealthImaging imports no larger file (endpoints and quotas, "Maximum size of each P10 file").
MAXIMUM_OBJECT_BYTES: Final = 10_000_000_000
_SMALLEST_HINT: Final = 4096


@dataclass(frozen=True, slots=True)
class ObjectContext:
    """What an association knows of an object before it arrives.

    `lane` is where it is batched if it has to be streamed; `size_hint` the bytes it may well have.
    """

    transfer_syntax: str
    calling_ae_title: str
    lane: Lane
    size_hint: int


class StorageService:
    """What all C-STORE requests of a process share."""

    def __init__(self, store: Store, batches: Batches, memory: MemoryBudget, metrics: Metrics, log: Log) -> None:
        self.store = store
        self.batches = batches
        self.memory = memory
        self.metrics = metrics
        self.log = log
        self.loop = asyncio.get_running_loop()
        self.uploads: set[IncomingObject] = set()

    def frees_memory_soon(self) -> bool:
        """Say whether an upload under way gives memory back without another byte being received."""
        return any(upload.frees_memory_soon() for upload in self.uploads)


class IncomingObject:
    """An object that arrives, is stored and answered.

    `status` is None until the outcome is known; `on_outcome` is called once, after `finish`.
    """

    __slots__ = (
        "_batch",
        "_buffer",
        "_context",
        "_deadline",
        "_future",
        "_head_bytes",
        "_instance",
        "_on_outcome",
        "_on_room",
        "_put_began",
        "_service",
        "_upload",
        "_used",
        "_view",
        "command",
        "comment",
        "is_finished",
        "put_seconds",
        "size",
        "status",
    )

    def __init__(
        self,
        service: StorageService,
        command: Command,
        context: ObjectContext,
        on_room: Callable[[], None],
        on_outcome: Callable[["IncomingObject"], None],
    ) -> None:
        """`on_room` is called when its sender may send on, `on_outcome` when the outcome is known."""
        self.command = command
        self.status: Status | None = None
        self.comment = ""
        self.size = 0
        self.put_seconds = 0.0
        self.is_finished = False
        self._service = service
        self._context = context
        self._on_room = on_room
        self._on_outcome = on_outcome
        self._buffer: bytearray | None = None
        self._view = memoryview(b"")
        self._used = 0
        self._head_bytes = 0
        self._instance: Instance | None = None
        self._batch: Batch | None = None
        self._upload: Upload | None = None
        self._future: asyncio.Future[Any] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._put_began = 0.0
        try:
            check_command(command)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        head = encode_file_meta_information(
            command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax, context.calling_ae_title
        )
        self._take_buffer(min(max(context.size_hint, _SMALLEST_HINT), LARGEST_BUFFER))
        self._head_bytes = len(head)
        self.write(head)

    def frees_memory_soon(self) -> bool:
        """Say whether memory comes back without another byte being received."""
        return self._upload is None or self._upload.frees_memory_soon()

    @property
    def is_waiting_for_store(self) -> bool:
        """Whether the sender should wait for the store."""
        return self._upload is not None and self._upload.is_full

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes of the object; once it is refused, they are dropped."""
        if self.status is not None:
            return
        end = self._used + len(data)
        if end > len(self._view):
            self._make_room(len(data))
            if self.status is not None:
                return
            end = self._used + len(data)
        self._view[self._used : end] = data
        self._used = end
        self.size += len(data)

    def finish(self) -> None:
        """The data set is whole: store it, or complete its upload, and report the outcome."""
        self.is_finished = True
        self._service.metrics.received()
        if self.status is None:
            try:
                self._store()
            except Refusal as refusal:
                self._refuse(refusal)
        if self.status is not None:
            self._on_outcome(self)

    def abandon(self) -> None:
        """The sender is gone before the end: leave nothing behind."""
        if self._upload is not None:
            self._upload.abandon()
        elif self._future is None:
            self._drop_buffer(is_unused=True)
            self.status = Status.OUT_OF_RESOURCES

    def _store(self) -> None:
        if self._upload is None:
            self._begin_put()
        else:
            self._push()
            self._upload.complete()
            self._put_began = time.perf_counter()
        self._deadline = self._service.loop.call_later(self._service.store.answer_seconds, self._give_up)

    def _begin_put(self) -> None:
        key = self._choose_key(self._service.batches.shared, self.size)
        self._put_began = time.perf_counter()
        self._view = self._view[: self._used]
        self._follow(self._service.store.put(key, (self._view,)))

    def _begin_upload(self) -> None:
        key = self._choose_key(self._context.lane, 0)
        self._upload = Upload(self._service.memory, self._on_room)
        self._follow(self._service.loop.create_task(stream(self._service.store, key, self._upload)))

    def _follow(self, future: "asyncio.Future[Any]") -> None:
        self._future = future
        self._service.uploads.add(self)
        future.add_done_callback(self._on_done)

    def _choose_key(self, lane: Lane, size: int) -> str:
        """Name the instance, hold its data set against the command, and choose a batch."""
        service = self._service
        data = self._view[self._head_bytes : self._used]
        names = name_instance(self.command, data, self._context.transfer_syntax, self.is_finished)
        instance = Instance(names.study, names.series, names.sop, self._context.calling_ae_title)
        self._instance = instance
        self._batch = service.batches.assign(lane, instance, size, service.loop.time(), utc_now())
        return object_key(self._batch.batch_id, *names)

    def _make_room(self, size: int) -> None:
        if self._upload is None and self._used + size <= LARGEST_BUFFER:
            self._grow(self._used + size)
            return
        try:
            if self.size + size > MAXIMUM_OBJECT_BYTES:
                raise Refusal(Status.OUT_OF_RESOURCES, f"Object exceeds {MAXIMUM_OBJECT_BYTES} bytes")
            if self._upload is None:
                self._begin_upload()
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._push()
        self._take_buffer(max(CHUNK_BYTES, size))

    def _grow(self, size: int) -> None:
        old_buffer, old_view, used = self._buffer, self._view, self._used
        self._take_buffer(size)
        self._view[:used] = old_view[:used]
        self._used = used
        old_view.release()
        if old_buffer is not None:
            self._service.memory.give_back(old_buffer, is_unused=True)

    def _take_buffer(self, size: int) -> None:
        self._buffer = self._service.memory.take(size)
        self._view = memoryview(self._buffer)
        self._used = 0

    def _push(self) -> None:
        """Hand the buffer over to the upload."""
        if self._buffer is None or self._upload is None:
            return
        self._view.release()
        self._upload.push(self._buffer, self._used)
        self._buffer = None
        self._view = memoryview(b"")
        self._used = 0

    def _drop_buffer(self, is_unused: bool) -> None:
        if self._buffer is not None:
            self._service.memory.give_back(self._buffer, is_unused)
            self._buffer = None
            self._view = memoryview(b"")

    def _refuse(self, refusal: Refusal) -> None:
        self.status = refusal.status
        self.comment = refusal.comment
        if self._upload is not None:
            self._upload.abandon()
        self._drop_buffer(is_unused=True)

    def _give_up(self) -> None:
        if self._future is not None:
            self._future.cancel()

    def _on_done(self, future: "asyncio.Future[Any]") -> None:
        """The store has answered, or it failed, or we gave up, or the upload was abandoned."""
        service = self._service
        service.uploads.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        self._let_go()
        failure = "Object store did not answer in time" if future.cancelled() else self._describe(future.exception())
        batch, instance = self._batch, self._instance
        assert batch is not None and instance is not None
        if failure:
            service.batches.failed(batch)
            if self.status is None:
                self._refuse(Refusal(Status.OUT_OF_RESOURCES, failure))
        else:
            now = service.loop.time()
            self.put_seconds = time.perf_counter() - self._put_began
            service.batches.stored(batch, instance, self.size, now, utc_now())
            self.status = Status.SUCCESS
        if self.is_finished:
            self._on_outcome(self)
        else:  # an upload that failed early: what is still to come is read and dropped
            self._on_room()

    def _let_go(self) -> None:
        """Give the memory back: the store does not touch it any more."""
        if self._upload is not None:
            self._upload.close()
        else:
            self._drop_buffer(is_unused=True)

    def _describe(self, error: BaseException | None) -> str:
        if error is None:
            return ""
        if isinstance(error, UploadAbandoned):
            return "Object was not completed"
        code = error.code if isinstance(error, StoreError) else type(error).__name__
        self._service.log.error("store failed", code=code)
        return "Object store failed; keep the instance and send it again"
