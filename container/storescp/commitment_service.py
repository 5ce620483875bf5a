"""Storage commitment towards a connected device: its N-ACTION, and the report on the same association (PS3.4 J.3).

A request is stored before it is answered. While the association is open its result is looked for and reported on it;
afterwards that is for `commitment_delivery`.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from storescp.clock import utc_now
from storescp.commitment import (
    CommitmentRequest,
    CommitmentResult,
    UnreadableRecordError,
    decode_request,
    decode_result,
    duplicate_result,
    encode_attempt,
    encode_delivered,
    encode_request,
    new_request,
)
from storescp.commitment_data_sets import UnreadableActionError, read_action, write_report
from storescp.dimse import Command, CommandField, DimseError, Refusal, Status, encode_event_report_request
from storescp.established import DismissedOperation, EstablishedAssociation, Operation, OperationTable, Outcome
from storescp.keys import (
    commitment_attempt_key,
    commitment_delivered_key,
    commitment_request_key,
    commitment_result_key,
)
from storescp.log import Log
from storescp.metrics import Metrics
from storescp.pdu import encode_command_pdus, encode_data_set_pdus
from storescp.store import AlreadyExistsError, Store, StoreError
from storescp.uids import STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS, STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE

_REQUEST_STORAGE_COMMITMENT: Final = 1  # Action Type ID, PS3.4 table J.3-1
MAXIMUM_ACTION_BYTES: Final = 1024 * 1024  # about 8,000 instances
MAXIMUM_RECORD_BYTES: Final = 4 * 1024 * 1024  # what the importer reads; names that are hashes are long
MAXIMUM_HELD_BYTES: Final = 8 * 1024 * 1024  # of all associations of a process together
_LARGE_BYTES: Final = 32 * 1024  # what takes more than some milliseconds to read
_FIRST_LOOK_SECONDS: Final = 1.0
_RARE_LOOK_SECONDS: Final = 10.0
_RESPONSE_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_TOO_MANY: Final = "Too many instances; ask for fewer at once"
NEXT_ATTEMPT_AFTER: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Watched:
    """A result that is awaited: by which request, and in which presentation context it will be reported.

    `result` is there at once where nothing has to be looked up.
    """

    request: CommitmentRequest
    context_id: int
    result: CommitmentResult | None = None


class CommitmentService:
    """What the storage commitment requests of a process share."""

    def __init__(self, store: Store, metrics: Metrics, log: Log, process_id: str, timeout_hours: float) -> None:
        """`timeout_hours`: when what is not decided counts as failed."""
        self._store = store
        self._metrics = metrics
        self._log = log
        self._process_id = process_id
        self._timeout_hours = timeout_hours
        self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: set[asyncio.Task[None]] = set()  # those of them that wait for results
        self._watches: dict[EstablishedAssociation, _Watch] = {}

    @property
    def table(self) -> OperationTable:
        """The services by command field."""
        return {CommandField.N_ACTION_RQ: self._begin, CommandField.N_EVENT_REPORT_RSP: self._take_response}

    def hold(self, size: int) -> bool:
        """Whether so many more bytes of requests can be held; then they are counted."""
        if self._held_bytes + size > MAXIMUM_HELD_BYTES:
            return False
        self._held_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """Count `size` bytes of requests no more, which `hold` has counted."""
        self._held_bytes -= size

    def serve(self, action: "IncomingAction", data: bytes) -> None:
        """Begin to store and answer a request whose data set is whole."""
        task = asyncio.get_running_loop().create_task(self._serve(action, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Leave it to other tasks to report: no association is open any more. Requests being stored get a moment."""
        storing = self._tasks - self._watching
        if storing:
            await asyncio.wait(storing, timeout=_STOP_SECONDS)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, association: EstablishedAssociation, command: Command) -> Operation | None:
        is_ours = command.sop_class_uid == STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS
        if not is_ours or command.action_type_id != _REQUEST_STORAGE_COMMITMENT:
            return association.answer(command, Outcome(Status.NO_SUCH_ACTION, "Only storage commitment is asked here"))
        if not command.has_data_set:
            return association.answer(command, Outcome(Status.INVALID_ARGUMENT_VALUE, "Action Information is missing"))
        return IncomingAction(self, association, command)

    def _take_response(self, association: EstablishedAssociation, command: Command) -> Operation | None:
        watch = self._watches.get(association)
        if watch is None or not watch.take_response(command):
            raise DimseError("a response came to a request that was never made")
        return DismissedOperation(association, command, None) if command.has_data_set else None

    async def _serve(self, action: "IncomingAction", data: bytes) -> None:
        try:
            outcome, watched = await self._accept(action, data)
        except UnreadableActionError as error:
            outcome, watched = Outcome(Status.INVALID_ARGUMENT_VALUE, str(error)), None
        except Refusal as refusal:
            outcome, watched = Outcome(refusal.status, refusal.comment), None
        except (StoreError, UnreadableRecordError) as error:
            self._log.error("commitment request not stored", error=getattr(error, "code", "UnreadableRecord"))
            outcome, watched = Outcome(Status.PROCESSING_FAILURE, "Object store failed; ask again"), None
        action.association.operation_over(action, outcome)
        if watched is not None and not action.association.has_ended:
            self._watch(action.association, watched)

    async def _accept(self, action: "IncomingAction", data: bytes) -> tuple[Outcome, _Watched]:
        association, command = action.association, action.command
        syntax = association.transfer_syntaxes[command.context_id]
        loop = asyncio.get_running_loop()
        if len(data) > _LARGE_BYTES:
            transaction_uid, instances = await loop.run_in_executor(None, read_action, data, syntax)
        else:
            transaction_uid, instances = read_action(data, syntax)
        titles = association.request.calling_ae_title, association.request.called_ae_title
        request = new_request(transaction_uid, *titles, instances, utc_now(), self._timeout_hours)
        record = encode_request(request)
        if len(record) > MAXIMUM_RECORD_BYTES:
            raise Refusal(Status.RESOURCE_LIMITATION, _TOO_MANY)
        result = None
        try:
            await self._store.create(commitment_request_key(request.commitment_id), record)
        except AlreadyExistsError:
            first = decode_request(await self._store.get(commitment_request_key(request.commitment_id)))
            if not request.asks_the_same(first):
                result = duplicate_result(request)
        self._log.info(
            "commitment requested",
            commitment=request.commitment_id,
            instances=len(instances),
            is_duplicate=result is not None,
        )
        return Outcome(Status.SUCCESS), _Watched(request, command.context_id, result)

    def _watch(self, association: EstablishedAssociation, watched: _Watched) -> None:
        watch = self._watches.get(association)
        if watch is not None:
            watch.waiting.append(watched)
            return
        self._watches[association] = watch = _Watch(association, watched)
        task = asyncio.get_running_loop().create_task(self._report_while_open(watch))
        for tasks in (self._tasks, self._watching):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _report_while_open(self, watch: "_Watch") -> None:
        """Report results as they come, one after the other, until there is none to wait for or the association ends."""
        seconds = _FIRST_LOOK_SECONDS
        try:
            while watch.waiting and not watch.association.has_ended:
                for watched in tuple(watch.waiting):
                    if await self._is_done_with(watch, watched):
                        watch.waiting.remove(watched)
                if watch.waiting:
                    await asyncio.sleep(seconds)
                    seconds = min(seconds * 1.5, _RARE_LOOK_SECONDS)
        finally:
            del self._watches[watch.association]

    async def _is_done_with(self, watch: "_Watch", watched: _Watched) -> bool:
        """Report a result if it is there; true if nothing remains to be done for it on this association."""
        if watched.result is not None:
            await watch.report(watched.result, watched.context_id)
            return True
        commitment = watched.request.commitment_id
        key = commitment_result_key(commitment)
        try:
            # Listed first: S3 answers 403 for what is not there to whom may list below a prefix only.
            if key not in await self._store.list(key):
                return False
            result = decode_result(await self._store.get(key), watched.request)
            sent_at = utc_now()
            attempt = encode_attempt(commitment, 1, self._process_id, sent_at, sent_at + NEXT_ATTEMPT_AFTER)
            await self._store.create(commitment_attempt_key(commitment, 1), attempt)
            status = await watch.report(result, watched.context_id)
            if status is not None:
                await self._note_delivered(commitment, status, utc_now())
        except AlreadyExistsError:
            return True  # somebody else reports it
        except StoreError as error:
            self._log.warning("commitment not reported", commitment=commitment, error=error.code)
            return False
        except UnreadableRecordError:
            self._log.error("commitment result not readable", commitment=commitment)
        return True

    async def _note_delivered(self, commitment: str, status: int, delivered_at: datetime) -> None:
        await self._store.create(
            commitment_delivered_key(commitment), encode_delivered(commitment, delivered_at, status)
        )
        self._metrics.count("CommitmentsDelivered")
        self._log.info("commitment delivered", commitment=commitment, status=f"0x{status:04X}", association="same")


class _Watch:
    """The results that are awaited on one association, and the response to the report under way."""

    def __init__(self, association: EstablishedAssociation, first: _Watched) -> None:
        self.association = association
        self.waiting = [first]
        self._message_id = 0
        self._response: asyncio.Future[int] | None = None

    async def report(self, result: CommitmentResult, context_id: int) -> int | None:
        """Send an N-EVENT-REPORT, and return the status of its response; None if there is none in time."""
        association = self.association
        if association.has_ended:
            return None
        event_type_id, data_set = write_report(result, association.transfer_syntaxes[context_id])
        self._message_id = self._message_id % 0xFFFF + 1
        command = encode_event_report_request(
            self._message_id,
            STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
            STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
            event_type_id,
        )
        maximum_length = association.request.maximum_length
        self._response = asyncio.get_running_loop().create_future()
        association.peer.send(
            encode_command_pdus(context_id, command, maximum_length)
            + encode_data_set_pdus(context_id, data_set, maximum_length)
        )
        try:
            async with asyncio.timeout(_RESPONSE_SECONDS):
                return await self._response
        except TimeoutError:
            return None
        finally:
            self._response = None

    def take_response(self, command: Command) -> bool:
        """Whether a response belongs to the report under way."""
        if self._response is None or self._response.done() or command.message_id != self._message_id:
            return False
        self._response.set_result(command.status)
        return True


class IncomingAction:
    """One N-ACTION request, whose data set is held until it is whole.

    There is always room: what is beyond the bounds is dropped.
    """

    room = 1 << 62
    can_end = True

    def __init__(self, service: CommitmentService, association: EstablishedAssociation, command: Command) -> None:
        self.command = command
        self.association = association
        self._service = service
        self._data = bytearray()
        self._is_too_large = False

    def request_room(self) -> bool:
        """Return True: what is too much is dropped, not waited for."""
        return True

    def write(self, data: memoryview) -> None:
        """Take bytes of the data set, within bounds; beyond them they are dropped and the request is refused."""
        if self._is_too_large:
            return
        if len(self._data) + len(data) > MAXIMUM_ACTION_BYTES or not self._service.hold(len(data)):
            self._is_too_large = True
            self.abandon()
            return
        self._data += data

    def data_set_is_whole(self) -> None:
        """Do nothing: the answer is given as soon as the request is stored."""

    def finish(self) -> None:
        """Have the request stored and answered."""
        if self._is_too_large:
            outcome = Outcome(Status.RESOURCE_LIMITATION, _TOO_MANY)
            self.association.operation_over(self, outcome)
            return
        data = bytes(self._data)
        self.abandon()
        self._service.serve(self, data)

    def abandon(self) -> None:
        """Drop the data set, and count its bytes no more."""
        self._service.let_go(len(self._data))
        self._data.clear()
