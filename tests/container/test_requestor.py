"""The association that we request, byte by byte: whatever a device answers ends in a status or in words.

Covers requestor.py.
"""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from storescp.commitment import CommitmentResult
from storescp.requestor import Reporter, ReportFailed, Stage
from tests.testkit.raw_sender import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    command_element,
    command_set,
    item,
    pdu,
    pdv,
)

PUSH_MODEL = "1.2.840.10008.1.20.1"
RESULT = CommitmentResult("1.2.99", ((CT_IMAGE_STORAGE, "1.2.3"),), ())


def accept(syntax: str = IMPLICIT_LITTLE, result: int = 0, maximum_length: int = 0) -> bytes:
    context = item(0x21, bytes((1, 0, result, 0)) + item(0x40, syntax.encode()))
    user = item(0x50, item(0x51, struct.pack(">I", maximum_length)))
    return pdu(0x02, bytes(68) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user)


def response(status: int = 0, message_id: int = 1, field: int = 0x8100) -> bytes:
    command = command_set(
        command_element(0x0100, struct.pack("<H", field))
        + command_element(0x0120, struct.pack("<H", message_id))
        + command_element(0x0800, b"\1\1")
        + command_element(0x0900, struct.pack("<H", status))
    )
    return pdu(0x04, pdv(1, 3, command))


def reporter() -> Reporter:
    return Reporter(RESULT, "STORESCP", "CT1")


def test_the_request_is_what_pynetdicom_reads_from_it() -> None:
    decoder = A_ASSOCIATE_RQ()
    decoder.decode(reporter().begin())
    primitive = decoder.to_primitive()
    assert (primitive.calling_ae_title.strip(), primitive.called_ae_title.strip()) == ("STORESCP", "CT1")
    [context] = primitive.presentation_context_definition_list
    assert context.abstract_syntax == PUSH_MODEL
    assert context.transfer_syntax == [IMPLICIT_LITTLE, EXPLICIT_LITTLE]
    [role] = [entry for entry in primitive.user_information if isinstance(entry, SCP_SCU_RoleSelectionNegotiation)]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (PUSH_MODEL, False, True)


@pytest.mark.parametrize("maximum_length", [0, 16, 16384])
@pytest.mark.parametrize("status", [0, 0x0110])
def test_a_report_is_sent_answered_and_released(maximum_length: int, status: int) -> None:
    report = reporter()
    conversation = accept(maximum_length=maximum_length) + response(status)
    sent = b"".join(report.receive(bytes((byte,))) for byte in conversation)
    assert report.status == status
    assert sent.endswith(pdu(0x05, bytes(4)))
    assert report.receive(pdu(0x06, bytes(4))) == b""
    assert (report.status, report.stage) == (status, Stage.OVER)
    position = 0
    while position < len(sent):
        length = int.from_bytes(sent[position + 2 : position + 6], "big")
        assert not maximum_length or length <= maximum_length
        position += 6 + length
    assert position == len(sent)


def test_a_device_that_releases_at_once_after_its_answer_is_answered() -> None:
    report = reporter()
    report.receive(accept() + response())
    assert report.receive(pdu(0x05, bytes(4))) == pdu(0x06, bytes(4))


FAILURES = {
    "it rejects": pdu(0x03, bytes((0, 1, 1, 7))),
    "it aborts": pdu(0x07, bytes(4)),
    "it accepts no context": accept(result=3),
    "it accepts a syntax that was not offered": accept(syntax="1.2.840.10008.1.2.4.50"),
    "it aborts after accepting": accept() + pdu(0x07, bytes(4)),
    "it releases instead of answering": accept() + pdu(0x05, bytes(4)),
    "it answers another message": accept() + response(message_id=9),
    "it answers with another command": accept() + response(field=0x8001),
    "it sends half a command": accept() + pdu(0x04, pdv(1, 3, b"\0\0\0")),
    "it sends half a header": accept() + pdu(0x04, b"\0\0"),
    "it answers before it accepts": response(),
    "it sends a PDU of 4 GiB": struct.pack(">BxI", 2, 0xFFFFFFFF),
    "it sends an unknown PDU": pdu(0x42, b""),
    "it answers in HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10,
    "its acceptance does not add up": pdu(0x02, bytes(68) + b"\x21\0\xff\xff"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_says_why_in_words(name: str) -> None:
    report = reporter()
    with pytest.raises(ReportFailed) as failed:
        report.receive(FAILURES[name])
    assert str(failed.value).startswith("the device ")
    assert report.status is None
    assert report.abort() == pdu(0x07, bytes(4))


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.binary(max_size=300))
def test_any_bytes_are_taken_or_fail(is_accepted: bool, data: bytes) -> None:
    report = reporter()
    try:
        report.receive((accept() if is_accepted else b"") + data)
    except ReportFailed as failure:
        assert str(failure)
