"""An association that we request to report to a device, without I/O (PS3.8 section 9.2, PS3.4 J.3.3).

One presentation context, one N-EVENT-REPORT, one release: bytes go in, bytes and the outcome come out. We are the SCP
of the service, so role selection asks for that (PS3.7 D.3.3.4); a device that does not answer it is reported to all
the same, because many do not.
"""

from dataclasses import dataclass
from enum import Enum
from struct import error, pack, unpack_from
from typing import Final

from storescp.commitment import CommitmentResult
from storescp.commitment_data_sets import write_report
from storescp.dimse import CommandField, DimseError, decode_command, encode_event_report_request
from storescp.pdu import (
    PDU_HEADER,
    AbortReason,
    AbortSource,
    PduError,
    PduType,
    encode_abort,
    encode_command_pdus,
    encode_data_set_pdus,
    encode_item,
    encode_pdu,
    read_items,
)
from storescp.services import COMMITMENT_TRANSFER_SYNTAXES
from storescp.uids import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
    STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
    strip_padding,
)

_CONTEXT_ID: Final = 1
_MESSAGE_ID: Final = 1
_MAXIMUM_LENGTH: Final = 16 * 1024
_MAXIMUM_PDU_BYTES: Final = 64 * 1024  # an answer to one context is shorter
_ASSOCIATE_HEADER_BYTES: Final = 68
_PDV_HEADER_BYTES: Final = 6


class Stage(Enum):
    """What a requestor waits for from its peer."""

    ASSOCIATION = "an answer to the association request"
    RESPONSE = "the response to the report"
    RELEASE = "the end of the association"
    OVER = "nothing"


class ReportFailed(Exception):
    """The device did not take the report; the message says why in words for a log."""


@dataclass(frozen=True, slots=True)
class _Acceptance:
    transfer_syntax: str
    maximum_length: int


class Reporter:
    """Reports one result on one association.

    `status` is None until the device has answered; then it is the status of its response (PS3.7 10.1.1.1.8).
    """

    def __init__(self, result: CommitmentResult, calling_ae_title: str, called_ae_title: str) -> None:
        self.stage = Stage.ASSOCIATION
        self.status: int | None = None
        self._result = result
        self._calling_ae_title = calling_ae_title
        self._called_ae_title = called_ae_title
        self._received = bytearray()
        self._command = bytearray()

    def begin(self) -> bytes:
        """The A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
        sop_class = STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS.encode()
        syntaxes = b"".join(encode_item(0x40, syntax.encode()) for syntax in COMMITMENT_TRANSFER_SYNTAXES)
        context = encode_item(0x20, bytes((_CONTEXT_ID, 0, 0, 0)) + encode_item(0x30, sop_class) + syntaxes)
        role = encode_item(0x54, pack(">H", len(sop_class)) + sop_class + bytes((0, 1)))
        user = (
            encode_item(0x51, pack(">I", _MAXIMUM_LENGTH))
            + encode_item(0x52, IMPLEMENTATION_CLASS_UID.encode())
            + role
            + encode_item(0x55, IMPLEMENTATION_VERSION_NAME.encode())
        )
        titles = b"".join(
            title.encode("latin-1", "replace").ljust(16)[:16]
            for title in (self._called_ae_title, self._calling_ae_title)
        )
        body = pack(">H2x", 1) + titles + bytes(32) + encode_item(0x10, APPLICATION_CONTEXT.encode())
        return encode_pdu(PduType.A_ASSOCIATE_RQ, body + context + encode_item(0x50, user))

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the device, and return what to send.

        Raises ReportFailed: it rejects, aborts, or breaks the protocol.
        """
        self._received += data
        answer = b""
        while self.stage is not Stage.OVER and len(self._received) >= PDU_HEADER.size:
            pdu_type, length = PDU_HEADER.unpack_from(self._received)
            if length > _MAXIMUM_PDU_BYTES:
                raise ReportFailed("the device sent a PDU that is too long")
            if len(self._received) < PDU_HEADER.size + length:
                break
            body = bytes(self._received[PDU_HEADER.size : PDU_HEADER.size + length])
            del self._received[: PDU_HEADER.size + length]
            try:
                answer += self._take(pdu_type, body)
            except (PduError, DimseError, error) as problem:
                raise ReportFailed(f"the device broke the protocol while we waited for {self.stage.value}") from problem
        return answer

    def abort(self) -> bytes:
        """The A-ABORT with which a report is given up."""
        self.stage = Stage.OVER
        return encode_abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)

    def _take(self, pdu_type: int, body: bytes) -> bytes:
        if pdu_type == PduType.A_ABORT:
            raise ReportFailed("the device aborted the association")
        if self.stage is Stage.ASSOCIATION and pdu_type == PduType.A_ASSOCIATE_RJ:
            raise ReportFailed("the device rejected the association")
        if self.stage is Stage.ASSOCIATION and pdu_type == PduType.A_ASSOCIATE_AC:
            self.stage = Stage.RESPONSE
            return self._report(_read_acceptance(body))
        if self.stage is Stage.RESPONSE and pdu_type == PduType.P_DATA_TF:
            return self._take_data(body)
        if self.stage is Stage.RELEASE and pdu_type == PduType.A_RELEASE_RP:
            self.stage = Stage.OVER
            return b""
        if pdu_type == PduType.A_RELEASE_RQ:  # a release collision, or a device that has had enough
            if self.stage is not Stage.RELEASE:
                raise ReportFailed("the device released the association before it answered")
            return encode_pdu(PduType.A_RELEASE_RP, bytes(4))
        raise ReportFailed(f"the device sent PDU type {pdu_type:#04x} while we waited for {self.stage.value}")

    def _report(self, acceptance: _Acceptance) -> bytes:
        event_type_id, data_set = write_report(self._result, acceptance.transfer_syntax)
        command = encode_event_report_request(
            _MESSAGE_ID,
            STORAGE_COMMITMENT_PUSH_MODEL_SOP_CLASS,
            STORAGE_COMMITMENT_PUSH_MODEL_SOP_INSTANCE,
            event_type_id,
        )
        return encode_command_pdus(_CONTEXT_ID, command, acceptance.maximum_length) + encode_data_set_pdus(
            _CONTEXT_ID, data_set, acceptance.maximum_length
        )

    def _take_data(self, body: bytes) -> bytes:
        position = 0
        while position < len(body):
            length, _, control = unpack_from(">IBB", body, position)
            data = body[position + _PDV_HEADER_BYTES : position + 4 + length]
            position += 4 + max(length, 2)
            if not control & 1:
                continue  # an event reply: nothing in it matters to us (PS3.4 J.3.3.2)
            self._command += data
            if control & 2:
                self._take_response()
        if self.status is None:
            return b""
        self.stage = Stage.RELEASE
        return encode_pdu(PduType.A_RELEASE_RQ, bytes(4))

    def _take_response(self) -> None:
        response = decode_command(_CONTEXT_ID, bytes(self._command))
        self._command.clear()
        if response.field != CommandField.N_EVENT_REPORT_RSP or response.message_id != _MESSAGE_ID:
            raise DimseError("not the response to our report")
        self.status = response.status


def _read_acceptance(body: bytes) -> _Acceptance:
    """What of an A-ASSOCIATE-AC matters here (PS3.8 9.3.3). Raises ReportFailed: the context was refused."""
    transfer_syntax = ""
    maximum_length = 0
    for item_type, value in read_items(body[_ASSOCIATE_HEADER_BYTES:], "A-ASSOCIATE-AC"):
        if item_type == 0x21 and len(value) >= 4 and value[0] == _CONTEXT_ID and value[2] == 0:
            for sub_type, syntax in read_items(value[4:], "presentation context"):
                if sub_type == 0x40:
                    transfer_syntax = strip_padding(syntax.decode("latin-1"))
        elif item_type == 0x50:
            for sub_type, sub_value in read_items(value, "user information"):
                if sub_type == 0x51 and len(sub_value) == 4:
                    maximum_length = int.from_bytes(sub_value, "big")
    if transfer_syntax not in COMMITMENT_TRANSFER_SYNTAXES:
        raise ReportFailed("the device does not accept storage commitment reports")
    return _Acceptance(transfer_syntax, maximum_length)
