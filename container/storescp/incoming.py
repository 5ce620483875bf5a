"""One C-STORE request, from its command to the status that answers it (PS3.4 Annex B).

The status is 0x0000 only after the store has answered for the whole object. A failure says in its Error Comment
what was wrong, in words that carry no attribute of the patient.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from storescp.batches import Batches, Contributor, Instance, Placement, TooManyRepeats
from storescp.clock import utc_now
from storescp.dimse import Command, Refusal, Status
from storescp.filling import PartFiller
from storescp.instances import InstanceNames, check_command, name_instance
from storescp.keys import safe_name
from storescp.log import Log
from storescp.metrics import Metrics
from storescp.part import AssociationMemory
from storescp.part10 import encode_file_meta_information
from storescp.patience import Patience
from storescp.store import Store, StoreError
from storescp.upload import Upload

# HealthImaging imports no larger file (endpoints and quotas, "Maximum size of each P10 file").
MAXIMUM_OBJECT_BYTES: Final = 10_000_000_000
_ANY: Final = 1 << 62  # room for bytes that are dropped


@dataclass(frozen=True, slots=True)
class ObjectContext:
    """What an association knows of an object before it arrives.

    `contributor` is its association, as far as batches are concerned; `size_hint` the bytes it may have, 0: not known.
    """

    transfer_syntax: str
    calling_ae_title: str
    contributor: Contributor
    size_hint: int
    memory: AssociationMemory


class StorageService:
    """What all C-STORE requests of a process share."""

    def __init__(self, store: Store, batches: Batches, metrics: Metrics, log: Log) -> None:
        self.store = store
        self.batches = batches
        self.metrics = metrics
        self.log = log
        self.loop = asyncio.get_running_loop()


class IncomingObject:
    """An object that arrives, is stored and answered.

    `status` is None until the outcome is known; `on_outcome` is called once, after `finish`.
    """

    __slots__ = (
        "_context",
        "_filler",
        "_future",
        "_head_bytes",
        "_is_finished",
        "_is_reported",
        "_is_whole",
        "_on_outcome",
        "_on_room",
        "_patience",
        "_placement",
        "_put_began",
        "_service",
        "_upload",
        "command",
        "comment",
        "put_seconds",
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
        self.put_seconds = 0.0
        self._is_whole = False
        self._is_finished = False
        self._is_reported = False
        self._service = service
        self._context = context
        self._on_room = on_room
        self._on_outcome = on_outcome
        self._filler: PartFiller | None = None
        self._head_bytes = 0
        self._upload: Upload | None = None
        self._future: asyncio.Future[Any] | None = None
        self._placement: Placement | None = None
        self._put_began = 0.0
        self._patience = Patience(service.loop, service.store.answer_seconds, self._give_up)
        try:
            check_command(command)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        head = encode_file_meta_information(
            command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax, context.calling_ae_title
        )
        self._head_bytes = len(head)
        self._filler = PartFiller(context.memory, head, context.size_hint, on_room)

    # While it arrives

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._filler.size if self._filler is not None else 0

    @property
    def room(self) -> int:
        """How many bytes may be written now."""
        return _ANY if self.status is not None or self._filler is None else self._filler.room

    @property
    def can_end(self) -> bool:
        """Whether the data set may end here: not before there is memory for what precedes it in the file."""
        return self.status is not None or self._filler is None or self._filler.has_begun

    def request_room(self) -> bool:
        """Ask for room, when there is none and more bytes are to come; return whether there is some at once.

        If there is not, `on_room` is called later; nothing that the sender does or leaves undone is needed for that.
        """
        filler = self._filler
        if filler is None or self.status is not None:
            return True
        if not filler.is_waiting:
            if filler.size > MAXIMUM_OBJECT_BYTES:
                self._refuse(Refusal(Status.OUT_OF_RESOURCES, f"Object exceeds {MAXIMUM_OBJECT_BYTES} bytes"))
            elif not filler.grow():
                self._store_part()
        return self.room > 0

    def write(self, data: memoryview) -> None:
        """Take bytes of the object, as many as there is room for; once it is refused, they are dropped."""
        if self.status is None and self._filler is not None:
            self._filler.write(data)

    def data_set_is_whole(self) -> None:
        """Nothing more will arrive: from now on its sender waits for us."""
        self._is_whole = True
        if self.status is None:
            self._patience.begin()

    def finish(self) -> None:
        """Store the object, which is whole, or complete its upload, and report the outcome."""
        self._is_finished = True
        self._service.metrics.received()
        if self.status is None:
            try:
                self._store()
            except Refusal as refusal:
                self._refuse(refusal)
        if self.status is not None:
            self._report()

    def abandon(self) -> None:
        """Leave nothing behind: the sender is gone before the end."""
        if self._upload is not None:
            self._upload.abandon()
        if self._future is None or self._upload is not None:
            self._refuse(Refusal(Status.OUT_OF_RESOURCES, "Object was not completed"))
        if self._placement is not None and self._future is None:
            self._service.batches.failed(self._placement)
        self._patience.end()

    # The store

    def _store_part(self) -> None:
        """Have the part stored, which is full, and ask for another one; or wait until the store has caught up."""
        assert self._filler is not None
        if self._waits_for_store():
            return
        try:
            if self._upload is None:
                self._upload = Upload(self._service.store, self._place(self._instance(), None), self._on_stored)
                self._follow(self._upload.result)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._push_part()
        if not self._waits_for_store():
            self._filler.grow()

    def _waits_for_store(self) -> bool:
        """Say whether the sender has to wait, which it does not do for ever."""
        is_behind = self._upload is not None and self._upload.is_behind
        if is_behind:
            self._patience.begin()
        return is_behind

    def _on_stored(self) -> None:
        """Go on, after a part was stored, with an object whose sender had to wait for that."""
        if self._is_whole or self.status is not None:
            return
        self._patience.pause()
        self._on_room()

    def _push_part(self) -> None:
        assert self._filler is not None and self._upload is not None
        part = self._filler.take()
        if part is not None and part.size:
            self._upload.push(part)
        elif part is not None:
            part.release()

    def _store(self) -> None:
        """Have the object stored, which is whole.

        Raises `Refusal`: it cannot be stored.
        """
        assert self._filler is not None
        self._put_began = time.perf_counter()
        if self._upload is not None:
            self._push_part()
            self._upload.complete()
            return
        instance, service = self._instance(), self._service
        self._filler.part.close()
        views = self._filler.part.views()
        if service.batches.is_stored_already(instance, self.size, views):
            service.metrics.count("InstancesRepeated")
            self._filler.drop()
            self.status = Status.SUCCESS
        else:
            self._follow(service.store.put(self._place(instance, views), views))

    def _follow(self, future: "asyncio.Future[Any]") -> None:
        self._future = future
        future.add_done_callback(self._on_done)

    def _instance(self) -> Instance:
        """Name the instance, and hold its data set against the command.

        Raises `Refusal`: the data set cannot be stored.
        """
        names = self._names()
        return Instance(*names, safe_name(self.command.sop_class_uid), self._context.calling_ae_title)

    def _place(self, instance: Instance, chunks: Sequence[memoryview] | None) -> str:
        """Choose the batch of an instance, `chunks` None if it is streamed; return its key.

        Raises `Refusal`: it came too often.
        """
        service = self._service
        size = 0 if chunks is None else self.size
        try:
            self._placement = service.batches.place(
                self._context.contributor, instance, size, chunks, service.loop.time(), utc_now()
            )
        except TooManyRepeats as error:
            raise Refusal(Status.OUT_OF_RESOURCES, str(error)) from None
        return self._placement.key

    def _names(self) -> InstanceNames:
        """Read the names in the first chunk, as almost always; in all that there is if they are not in it."""
        assert self._filler is not None
        part = self._filler.part
        beginning = part.first_view()
        is_all = len(beginning) == part.size
        syntax = self._context.transfer_syntax
        names = name_instance(self.command, beginning[self._head_bytes :], syntax, is_all and self._is_whole)
        if is_all or safe_name("") not in names:
            return names
        return name_instance(self.command, memoryview(part.whole())[self._head_bytes :], syntax, self._is_whole)

    # Ends

    def _refuse(self, refusal: Refusal) -> None:
        """Take note of a failure; what is stored of the object is discarded, and what still arrives is dropped."""
        self.status = refusal.status
        self.comment = refusal.comment
        if self._upload is not None:
            self._upload.abandon()
        if self._filler is not None and (self._future is None or self._upload is not None):
            self._filler.drop()  # else the store is reading it

    def _give_up(self) -> None:
        """Answer with a failure: the store has had its time."""
        if self.status is not None:
            return
        if self._future is not None:
            self._future.cancel()
        else:
            self._refuse(Refusal(Status.OUT_OF_RESOURCES, "Object store did not answer in time"))
        if self._future is None:
            self._on_room()

    def _on_done(self, future: "asyncio.Future[Any]") -> None:
        """The store has answered, or it failed, or we gave up, or the upload was abandoned."""
        service = self._service
        if self._filler is not None:
            self._filler.drop()
        failure = "Object store did not answer in time" if future.cancelled() else self._describe(future.exception())
        placement = self._placement
        assert placement is not None
        if failure:
            service.batches.failed(placement)
            if self.status is None:
                self._refuse(Refusal(Status.OUT_OF_RESOURCES, failure))
        else:
            monotonic_now = service.loop.time()
            self.put_seconds = time.perf_counter() - self._put_began
            service.batches.stored(placement, self.size, future.result(), monotonic_now, utc_now())
            self.status = Status.SUCCESS
        if self._is_finished:
            self._report()
        else:  # an upload that failed early: what is still to come is read and dropped
            self._on_room()

    def _report(self) -> None:
        self._patience.end()
        if not self._is_reported:
            self._is_reported = True
            self._on_outcome(self)

    def _describe(self, error: BaseException | None) -> str:
        if error is None:
            return ""
        code = error.code if isinstance(error, StoreError) else type(error).__name__
        self._service.log.error("store failed", code=code)
        return "Object store failed; keep the instance and send it again"
