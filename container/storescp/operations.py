"""The DIMSE services that are offered, as a table: command field to what begins a request of it (PS3.7 section 9)."""

from storescp.acceptance import Policy
from storescp.dimse import Command, CommandField, Status
from storescp.established import (
    UNRECOGNIZED,
    DismissedOperation,
    EstablishedAssociation,
    Operation,
    OperationTable,
    Outcome,
)
from storescp.incoming import IncomingObject, ObjectContext, StorageService


class StorageOperations:
    """Verification and Storage (PS3.4 Annexes A and B), shared by all associations of a process."""

    def __init__(self, policy: Policy, storage: StorageService) -> None:
        self._policy = policy
        self._storage = storage

    @property
    def table(self) -> OperationTable:
        """The services by command field."""
        return {
            CommandField.C_STORE_RQ: self._store,
            CommandField.C_ECHO_RQ: _echo,
            CommandField.C_CANCEL_RQ: _ignore,
            UNRECOGNIZED: _refuse_unrecognized,
        }

    def _store(self, association: EstablishedAssociation, command: Command) -> Operation | None:
        """C-STORE (PS3.7 9.1.1, PS3.4 Annex B)."""
        if not command.has_data_set:
            outcome = Outcome(Status.CANNOT_UNDERSTAND, "C-STORE request without a data set")
            return association.answer(command, outcome)
        classes = self._policy.sop_classes
        if classes and command.sop_class_uid not in classes:
            outcome = Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "SOP Class is not among those accepted here")
            return association.answer(command, outcome)
        context = ObjectContext(
            transfer_syntax=association.transfer_syntaxes[command.context_id],
            calling_ae_title=association.request.calling_ae_title,
            contributor=association.contributor,
            size_hint=association.size_hint,
            memory=association.memory,
        )
        return IncomingObject(
            self._storage,
            command,
            context,
            association.peer.go_on,
            lambda incoming: self._stored(association, incoming),
        )

    def _stored(self, association: EstablishedAssociation, incoming: IncomingObject) -> None:
        """Count what became of a C-STORE request, and have it answered.

        If the association has ended, its sender will send the instance again: it is not counted as acknowledged.
        """
        assert incoming.status is not None
        association.size_hint = incoming.size
        if incoming.status is not Status.SUCCESS:
            association.failures[f"0x{incoming.status:04X} {incoming.comment}"] += 1
            self._storage.metrics.failed(incoming.status)
        elif not association.has_ended:
            association.instances += 1
            association.bytes += incoming.size
            self._storage.metrics.acknowledged(incoming.size, incoming.put_seconds)
        association.operation_over(incoming, Outcome(incoming.status, incoming.comment))


def _echo(association: EstablishedAssociation, command: Command) -> Operation | None:
    """C-ECHO (PS3.7 9.1.5)."""
    return association.answer(command, Outcome(Status.SUCCESS))


def _ignore(association: EstablishedAssociation, command: Command) -> Operation | None:
    """C-CANCEL (PS3.7 9.3.2.3): there is nothing to cancel, and it has no response."""
    return DismissedOperation(association, command, None) if command.has_data_set else None


def _refuse_unrecognized(association: EstablishedAssociation, command: Command) -> Operation | None:
    """Any request that the table does not have (PS3.7 C.5.23, unrecognized operation)."""
    return association.answer(
        command, Outcome(Status.UNRECOGNIZED_OPERATION, "Only C-STORE and C-ECHO are served here")
    )
