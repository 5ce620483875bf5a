"""The DIMSE services of one accepted association: requests come in as fragments, responses go out (PS3.7).

A request with a data set is an `Operation`: it takes the data set, is begun once the window has room for it, and
reports its outcome, which is answered in one place. Which service a command belongs to is a table
(`storescp.operations`).
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from storescp.acceptance import operations_granted
from storescp.batches import Contributor
from storescp.dimse import Command, MessageReader, Status, encode_response
from storescp.part import AssociationMemory
from storescp.pdu import AssociateAccept, AssociateRequest, ContextResult, encode_command_pdus
from storescp.upper_layer import Fragment

HEADERS_BYTES: Final = 4096  # read beyond the room for data: headers of PDUs, the next command
UNRECOGNIZED: Final = -1  # key of what answers every command that the table does not have


class Outcome(NamedTuple):
    """What a request is answered with: its status and, for a failure, the Error Comment."""

    status: Status
    comment: str = ""


class Operation(Protocol):
    """A request whose data set is arriving, has arrived, or is being served."""

    @property
    def command(self) -> Command:
        """The command set of the request."""

    @property
    def room(self) -> int:
        """How many bytes of the data set may be written now."""

    @property
    def can_end(self) -> bool:
        """Whether the data set may end now."""

    def request_room(self) -> bool:
        """Ask for room, if there is none; return whether there is some now. If not, its peer is told later."""

    def write(self, data: memoryview) -> None:
        """Take bytes of the data set, as many as there is room for."""

    def data_set_is_whole(self) -> None:
        """Take note that its sender waits for us from now on."""

    def finish(self) -> None:
        """Serve the request, whose data set is whole, and report the outcome, now or later."""

    def abandon(self) -> None:
        """Leave nothing behind: the association is over before the data set was whole, or before it was served."""


class Peer(Protocol):
    """What an association's services need of its connection."""

    def send(self, data: bytes) -> None:
        """Send encoded PDUs to the peer."""

    def go_on(self) -> None:
        """Go on: there may be room for what could not be taken."""

    def operations_changed(self) -> None:
        """Take note that an operation is over, and another one may begin."""


class EstablishedAssociation:
    """What an established association knows; a connection that never asks for one does without."""

    def __init__(
        self,
        operations: "OperationTable",
        request: AssociateRequest,
        accept: AssociateAccept,
        memory: AssociationMemory,
        peer: Peer,
    ) -> None:
        self.request = request
        self.transfer_syntaxes = {
            context.context_id: context.transfer_syntax
            for context in accept.contexts
            if context.result is ContextResult.ACCEPTANCE
        }
        self.peer = peer
        self.memory = memory
        self.window = operations_granted(request)
        self.contributor = Contributor()
        self.size_hint = 0
        self.instances = 0
        self.bytes = 0
        self.failures: Counter[str] = Counter()
        self.operations = 0  # begun, and without an outcome
        self.has_ended = False
        self._table = operations
        self._messages = MessageReader(frozenset(self.transfer_syntaxes))
        self._arriving: Operation | None = None
        self._waiting: deque[Operation] = deque()  # whole, but the window is full
        self._is_beginning = False

    @property
    def is_receiving(self) -> bool:
        """Whether a data set has arrived in part."""
        return self._arriving is not None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being served or waits for it."""
        return not self.operations and not self._waiting

    @property
    def read_limit(self) -> int:
        """How many bytes may be read at once, so that little is left over if there is no room for them."""
        if self._arriving is not None:
            return self._arriving.room + HEADERS_BYTES
        return self.memory.first_stage.size_bytes

    def takes_more(self) -> bool:
        """Say whether its sender may send on, as far as window, memory and store are concerned; ask for room if so."""
        if self._waiting:
            return False
        return self._arriving is None or self._arriving.room > 0 or self._arriving.request_room()

    def room_for(self, fragment: Fragment) -> int:
        """Say how many bytes of a fragment can be taken now, or -1: it has to wait, even if it is empty."""
        if fragment.is_command:
            return -1 if self._waiting else len(fragment.data)
        arriving = self._arriving
        if arriving is None or (len(fragment.data) <= arriving.room and arriving.can_end):
            return len(fragment.data)
        if not arriving.room and not arriving.request_room():
            return -1
        return min(len(fragment.data), arriving.room)

    def take(self, fragment: Fragment) -> None:
        """Take a fragment.

        Raises `DimseError`: the message breaks PS3.7.
        """
        message = self._messages.take(fragment)
        if message is None:
            return
        if isinstance(message, Command):
            self._begin(message)
            return
        if self._arriving is not None:
            self._arriving.write(message.data)
            if message.is_last:
                self._arriving.data_set_is_whole()
                self._waiting.append(self._arriving)
                self._arriving = None
                self._begin_operations()

    def answer(self, command: Command, outcome: Outcome) -> Operation | None:
        """Answer a request at once or, through the operation that is returned, when its data set has gone by."""
        if command.has_data_set:
            return DismissedOperation(self, command, outcome)
        self._respond(command, outcome)
        return None

    def operation_over(self, operation: Operation, outcome: Outcome) -> None:
        """An operation that was begun has its outcome: answer it, and begin what waited for it."""
        self.operations -= 1
        if not self.has_ended:
            self._respond(operation.command, outcome)
        self._begin_operations()
        self.peer.operations_changed()

    def end(self) -> None:
        """The association is over: what is not whole goes, what was begun goes on into the store."""
        self.has_ended = True
        try:
            self._abandon()
        finally:
            self.memory.first_stage.close()

    def _abandon(self) -> None:
        if self._arriving is not None:
            self._arriving.abandon()
            self._arriving = None
        while self._waiting:
            self._waiting.popleft().abandon()

    def _finish(self, operation: Operation) -> None:
        try:
            operation.finish()
        except BaseException:  # a mistake of ours, which ends the association: what it held goes back
            operation.abandon()
            raise

    def _respond(self, command: Command, outcome: Outcome) -> None:
        response = encode_response(command, outcome.status, outcome.comment)
        self.peer.send(encode_command_pdus(command.context_id, response, self.request.maximum_length))

    def _begin(self, command: Command) -> None:
        begin = self._table.get(command.field, self._table[UNRECOGNIZED])
        self._arriving = begin(self, command)

    def _begin_operations(self) -> None:
        """Begin what the window has room for: in a loop, because an outcome may be there at once."""
        if self._is_beginning:
            return
        self._is_beginning = True
        try:
            while self._waiting and self.operations < self.window:
                self.operations += 1
                self._finish(self._waiting.popleft())
        finally:
            self._is_beginning = False


class DismissedOperation:
    """A request that is answered without its data set being looked at."""

    room = 1 << 62
    can_end = True

    def __init__(self, association: EstablishedAssociation, command: Command, outcome: Outcome | None) -> None:
        """`outcome`: None if there is nothing to answer."""
        self.command = command
        self._association = association
        self._outcome = outcome

    def request_room(self) -> bool:
        """Return True: there is always room for what is dropped."""
        return True

    def write(self, data: memoryview) -> None:
        """Drop bytes of the data set."""

    def data_set_is_whole(self) -> None:
        """Do nothing: the answer is given soon."""

    def finish(self) -> None:
        """Answer, now that the data set has gone by."""
        if self._outcome is not None:
            self._association.operation_over(self, self._outcome)
        else:
            self._association.operations -= 1

    def abandon(self) -> None:
        """Do nothing: of a dropped data set nothing is kept."""


BeginOperation = Callable[[EstablishedAssociation, Command], Operation | None]
OperationTable = Mapping[int, BeginOperation]
