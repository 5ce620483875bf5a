"""What strangers may do to the port: each gets an answer the standard knows, and nobody else notices.

Covers storescp/transport.py.
"""

import hashlib
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testkit.raw_sender import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    RawSender,
    associate_request,
    command_element,
    command_set,
    context_item,
    data_set,
    echo_command,
    item,
    pdu,
    pdv,
    store_command,
)
from tests.testkit.receiver_process import ReceiverProcess, running_receiver, wait_for

A_ASSOCIATE_AC, A_ASSOCIATE_RJ, P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = range(2, 8)
PROVIDER = 2


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    settings = {"MAXIMUM_ASSOCIATIONS": "2", "MAXIMUM_PDU_SIZE": "131072", "ARTIM_TIMEOUT": "1"}
    with running_receiver(tmp_path_factory.mktemp("store"), **settings) as process:
        yield process
        assert process.stop() == 0
        assert process.other_output == []


BEFORE_ASSOCIATION = {
    "P-DATA": (pdu(0x04, pdv(1, 3, b"")), 2),
    "A-RELEASE-RQ": (pdu(0x05, bytes(4)), 2),
    "A-ASSOCIATE-AC": (pdu(0x02, bytes(100)), 2),
    "a PDU type that is not known": (pdu(0x42, b""), 1),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(40), 1),
    "a request of 4 GiB": (struct.pack(">BxI", 1, 0xFFFFFFFF), 6),
    "a request without its fixed fields": (pdu(0x01, bytes(20)), 6),
    "an item longer than its PDU": (pdu(0x01, bytes(68) + b"\x10\x00\xff\xff1.2"), 6),
}


@pytest.mark.parametrize("name", BEFORE_ASSOCIATION)
def test_what_is_no_request_for_an_association_is_aborted(receiver: ReceiverProcess, name: str) -> None:
    data, reason = BEFORE_ASSOCIATION[name]
    with RawSender(receiver.port, associate=False) as sender:
        sender.send(data)
        assert sender.receive_pdu() == (A_ABORT, bytes((0, 0, PROVIDER, reason)))
        assert sender.is_closed_by_peer()
    assert_serves(receiver)


GOOD_CONTEXT = context_item(1, CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
ODD_CONTEXTS = {
    "an even id": (context_item(2, CT_IMAGE_STORAGE, EXPLICIT_LITTLE), 2, 2),
    "id 0": (context_item(0, CT_IMAGE_STORAGE, EXPLICIT_LITTLE), 0, 2),
    "an id twice, for two classes": (
        context_item(3, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) + context_item(3, "1.2.3", EXPLICIT_LITTLE),
        3,
        2,
    ),
    "an id twice, the same": (context_item(3, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) * 2, 3, 0),
    "no transfer syntax": (context_item(3, CT_IMAGE_STORAGE), 3, 4),
    "an empty transfer syntax": (context_item(3, CT_IMAGE_STORAGE, ""), 3, 4),
    "a transfer syntax of 60,000 characters": (context_item(3, CT_IMAGE_STORAGE, "1" * 60_000), 3, 4),
    "an empty abstract syntax": (context_item(3, "", EXPLICIT_LITTLE), 3, 3),
    "no abstract syntax": (item(0x20, bytes((3, 0, 0, 0)) + item(0x40, EXPLICIT_LITTLE.encode())), 3, 3),
    "items that do not add up": (item(0x20, bytes((3, 0, 0, 0)) + b"\x30\0\xff\xff1.2"), 3, 2),
    "a context of one byte": (item(0x20, b"\x03"), 3, 2),
    "a query": (context_item(3, "1.2.840.10008.5.1.4.1.2.2.1", IMPLICIT_LITTLE), 3, 3),
    "a worklist": (context_item(3, "1.2.840.10008.5.1.4.31", IMPLICIT_LITTLE), 3, 3),
    "a performed procedure step": (context_item(3, "1.2.840.10008.3.1.2.3.3", IMPLICIT_LITTLE), 3, 3),
}


@pytest.mark.parametrize("name", ODD_CONTEXTS)
def test_an_odd_context_is_answered_by_itself_and_the_others_serve(receiver: ReceiverProcess, name: str) -> None:
    contexts, context_id, result = ODD_CONTEXTS[name]
    sop = f"1.2.77.{list(ODD_CONTEXTS).index(name)}"
    with RawSender(receiver.port, associate=False) as sender:
        sender.send(associate_request(contexts=contexts + GOOD_CONTEXT))
        pdu_type, body = sender.receive_pdu()
        assert pdu_type == A_ASSOCIATE_AC
        assert results_of(body) == {context_id: result, 1: 0}
        assert sender.store(sop).status == 0
        sender.release()


def results_of(body: bytes) -> dict[int, int]:
    """Results by presentation context id, of what follows the header of an A-ASSOCIATE-AC."""
    results = {}
    position = 68
    while position < len(body):
        item_type, length = struct.unpack_from(">BxH", body, position)
        if item_type == 0x21:
            results[body[position + 4]] = body[position + 6]
        position += 4 + length
    assert position == len(body)
    return results


ODD_USER_ITEMS = {
    "a maximum length of 2 bytes": item(0x51, b"\0\0"),
    "a window of 3 bytes": item(0x53, b"\0\1\0"),
    "a role selection whose lengths do not add up": item(0x54, b"\0\xff1.2\1\1"),
    "an item that is longer than what holds it": b"\x52\0\xff\xff1.2",
    "an item that is not known": item(0x7F, bytes(100)),
    "user identity of no bytes": item(0x58, b""),
    # 2,620 of them made an answer that could not be encoded, and every slot was lost
    "a role selection 2,600 times": item(0x54, b"\0\x0e" + b"1.2.840.10008." + b"\1\1") * 2_600,
    "the same role 1,984 times": item(0x54, b"\0\x19" + CT_IMAGE_STORAGE.encode() + b"\1\1") * 1_984,
}


@pytest.mark.parametrize("name", ODD_USER_ITEMS)
def test_an_odd_user_item_is_left_out(receiver: ReceiverProcess, name: str) -> None:
    for _ in range(3):  # there are two slots
        with RawSender(receiver.port, user_items=ODD_USER_ITEMS[name]) as sender:
            sender.send_command(echo_command(), context_id=3)
            assert sender.receive_response().status == 0
            sender.release()


@pytest.mark.parametrize("length", [0, 4, 5, 8])
def test_a_release_request_of_another_length_is_answered(receiver: ReceiverProcess, length: int) -> None:
    with RawSender(receiver.port) as sender:
        sender.send(pdu(0x05, bytes(length)))
        assert sender.receive_pdu() == (A_RELEASE_RP, bytes(4))


WITHIN_ASSOCIATION = {
    "a PDU larger than offered": (pdu(0x04, pdv(1, 3, bytes(131072))), (PROVIDER, 6)),
    "a PDV longer than its PDU": (pdu(0x04, struct.pack(">IBB", 5000, 1, 3) + bytes(100)), (PROVIDER, 6)),
    "a PDV without a header": (pdu(0x04, struct.pack(">IBB", 1, 1, 3)), (PROVIDER, 6)),
    "a PDU without a PDV": (pdu(0x04, b""), (PROVIDER, 6)),
    "a second request": (associate_request(), (PROVIDER, 2)),
    "a PDU type that is not known": (pdu(0x99, b""), (PROVIDER, 1)),
    "a release of 5,000 bytes": (pdu(0x05, bytes(5000)), (PROVIDER, 6)),
    "a context that was not accepted": (pdu(0x04, pdv(7, 3, store_command("1.2"))), (0, 0)),
    "a command that ends within an element": (pdu(0x04, pdv(1, 3, store_command("1.2")[:-3])), (0, 0)),
    "a command without message id": (
        pdu(0x04, pdv(1, 3, command_set(command_element(0x0100, b"\1\0")))),
        (0, 0),
    ),
    "a data set without a command": (pdu(0x04, pdv(1, 2, b"data")), (0, 0)),
    "a command within a data set": (
        pdu(0x04, pdv(1, 3, store_command("1.2")) + pdv(1, 0, b"data") + pdv(1, 3, store_command("1.3"))),
        (0, 0),
    ),
    "a data set in another context": (
        pdu(0x04, pdv(1, 3, store_command("1.2")) + pdv(3, 2, b"data")),
        (0, 0),
    ),
    "a response nobody asked for": (pdu(0x04, pdv(1, 3, echo_command(field=0x8030))), (0, 0)),
    "a command without end": (pdu(0x04, pdv(1, 1, bytes(100_000))), (0, 0)),
}


@pytest.mark.parametrize("name", WITHIN_ASSOCIATION)
def test_a_violation_aborts_the_association_and_gives_its_slot_back(receiver: ReceiverProcess, name: str) -> None:
    data, (source, reason) = WITHIN_ASSOCIATION[name]
    with RawSender(receiver.port) as sender:
        sender.send(data)
        assert sender.receive_pdu() == (A_ABORT, bytes((0, 0, source, reason)))
        with RawSender(receiver.port) as second, RawSender(receiver.port) as third:  # both slots are free
            second.release()
            third.release()
        assert sender.is_closed_by_peer()
    assert not {"1.2", "1.3"} & receiver.stored().keys()


REJECTIONS = {
    "protocol version 2": (associate_request(version=2), (1, 2, 2), "ProtocolVersionNotSupported"),
    "another application context": (
        associate_request(application_context="1.2.3"),
        (1, 1, 2),
        "ApplicationContextNameNotSupported",
    ),
    "no presentation context": (associate_request(contexts=b""), (1, 1, 1), "NoPresentationContext"),
}


@pytest.mark.parametrize("name", REJECTIONS)
def test_a_request_that_cannot_be_met_is_rejected(receiver: ReceiverProcess, name: str) -> None:
    request, (result, source, reason), logged = REJECTIONS[name]
    with RawSender(receiver.port, associate=False) as sender:
        sender.send(request)
        assert sender.receive_pdu() == (A_ASSOCIATE_RJ, bytes((0, result, source, reason)))
    lines = receiver.await_message("association rejected")
    wait_for(lambda: any(line["reason"] == logged for line in receiver.messages("association rejected")), 5, logged)
    assert {"peer", "calling_ae_title", "called_ae_title"} <= lines[-1].keys()


def test_the_limit_is_answered_with_a_transient_rejection(receiver: ReceiverProcess) -> None:
    with RawSender(receiver.port) as first, RawSender(receiver.port) as second:
        with RawSender(receiver.port, associate=False) as third:
            third.send(associate_request())
            assert third.receive_pdu() == (A_ASSOCIATE_RJ, bytes((0, 2, 3, 2)))
        first.release()
        with RawSender(receiver.port) as fourth:
            fourth.release()
        second.release()


def test_probes_leave_no_trace_and_silence_ends_after_artim(receiver: ReceiverProcess) -> None:
    lines = len(receiver.log)
    silent = [RawSender(receiver.port, associate=False) for _ in range(20)]
    half = RawSender(receiver.port, associate=False)
    half.send(associate_request()[:50])
    for linger in (b"", struct.pack("ii", 1, 0)):
        probe = socket.create_connection(("127.0.0.1", receiver.port))
        if linger:  # closes with a reset
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        probe.close()
    with RawSender(receiver.port) as first, RawSender(receiver.port) as second:  # they cost no slot
        assert all(sender.is_closed_by_peer() for sender in (*silent, half))
        first.release()
        second.release()
    for sender in (*silent, half):
        sender.socket.close()
    receiver.await_message("association ended")
    messages = {line["message"] for line in receiver.log[lines:] if "message" in line}
    assert messages <= {"association ended", "batch closed"}  # those of tests before this one


def test_requests_other_than_store_and_echo_are_answered_as_unrecognized(receiver: ReceiverProcess) -> None:
    with RawSender(receiver.port) as sender:
        sender.send_command(echo_command(7, field=0x0020), context_id=3)
        response = sender.receive_response()
        assert (response.field, response.message_id, response.status) == (0x8020, 7, 0x0211)
        find = command_set(
            command_element(0x0100, b"\x20\x00")
            + command_element(0x0110, b"\x08\x00")
            + command_element(0x0800, b"\x00\x00")
        )
        sender.send_command(find)
        sender.send_data(b"an identifier that nobody reads")
        response = sender.receive_response()
        assert (response.message_id, response.status) == (8, 0x0211)
        cancel = command_set(
            command_element(0x0100, b"\xff\x0f")
            + command_element(0x0120, b"\x08\x00")
            + command_element(0x0800, b"\x01\x01")
        )
        sender.send_command(cancel)
        sender.send_command(echo_command(9), context_id=3)
        assert sender.receive_response().message_id == 9
        sender.release()


REFUSALS = {
    "another SOP instance": (data_set("1.2.9"), 0xA900),
    "another SOP class": (data_set("1.2.8", sop_class="1.2.840.10008.5.1.4.1.1.4"), 0xA900),
    "bytes that are no data set": (b"\xff" * 500, 0xC000),
    "a web browser's bytes": (b"GET / HTTP/1.1\r\nHost: Secret\r\n\r\n" * 20, 0xC000),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_says_why_without_a_byte_of_it_and_the_association_goes_on(
    receiver: ReceiverProcess, name: str
) -> None:
    data, status = REFUSALS[name]
    with RawSender(receiver.port) as sender:
        response = sender.store("1.2.8", message_id=5, data=data)
        assert (response.field, response.message_id, response.status) == (0x8001, 5, status)
        assert 0 < len(response.comment) <= 64
        assert "Secret" not in response.comment
        assert not re.search(r"[0-9]", response.comment)  # a misread tag or length is a value of the patient's
        sender.send_command(echo_command(6), context_id=3)
        assert sender.receive_response().status == 0
        sender.release()
    assert "1.2.8" not in receiver.stored()


def test_a_command_that_names_no_instance_is_refused(receiver: ReceiverProcess) -> None:
    with RawSender(receiver.port) as sender:
        assert sender.store("").status == 0xA900
        sender.release()
    assert "none" not in receiver.stored()


SAFE_PLACES = {
    "no study": (data_set("1.2.8", study=""), "none/1.2.3.4/1.2.8"),
    "no series": (data_set("1.2.8", series=""), "1.2.3/none/1.2.8"),
    "a path for a study": (data_set("1.2.8", study="../../../etc"), "x-1a6fbe82b1a4edbbe6e6aac6332f96b6/1.2.3.4/1.2.8"),
    "dots for a series": (data_set("1.2.8", series=".."), "1.2.3/x-5ec1f7e700f37c3d0b2981d04855fc34/1.2.8"),
    "an end within an element": (data_set("1.2.8")[:70], "none/none/1.2.8"),
    "nothing but the class": (data_set("1.2.8")[:34], "none/none/1.2.8"),
}


@pytest.mark.parametrize("name", SAFE_PLACES)
def test_what_its_own_uids_cannot_name_is_stored_under_a_safe_key(receiver: ReceiverProcess, name: str) -> None:
    data, place = SAFE_PLACES[name]
    before = set((receiver.folder / "incoming").rglob("*.dcm"))
    with RawSender(receiver.port) as sender:
        assert sender.store("1.2.8", data=data).status == 0
        sender.release()
    (path,) = set((receiver.folder / "incoming").rglob("*.dcm")) - before
    assert "/".join(path.with_suffix("").parts[-3:]) == place
    assert path.read_bytes().endswith(data)


def test_an_instance_uid_that_could_be_a_path_is_hashed(receiver: ReceiverProcess) -> None:
    with RawSender(receiver.port) as sender:
        assert sender.store("../../x").status == 0
        sender.release()
    assert f"x-{hashlib.sha256(b'../../x').hexdigest()[:32]}" in receiver.stored()


def assert_serves(receiver: ReceiverProcess) -> None:
    with RawSender(receiver.port) as sender:
        sender.send_command(echo_command(), context_id=3)
        assert sender.receive_response().status == 0
        sender.release()


def test_the_health_port_answers_whatever_it_is_asked(receiver: ReceiverProcess, tmp_path: Path) -> None:
    receiver.await_ready()
    assert [receiver.http_status(path) for path in ("/healthz", "/readyz", "/", "/readyz?x=1")] == [200, 200, 404, 200]
    for request in (b"\0" * 10_000, b"POST /healthz HTTP/1.1\r\n\r\n", b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", receiver.health_port), timeout=5) as connection:
            connection.sendall(request)
            assert connection.recv(100).startswith(b"HTTP/1.1 40")
