"""Whatever happens in a connection ends in one place that gives everything back (association.py, operations.py).

Covers supervisor.py.
"""

import contextlib
import struct
from pathlib import Path

import pytest

from tests.testkit.raw_sender import (
    CT_IMAGE_STORAGE,
    RawSender,
    associate_request,
    data_set,
    echo_command,
    item,
    pdu,
    pdv,
    store_command,
)
from tests.testkit.receiver_process import ReceiverProcess, running_receiver, wait_for
from tests.testkit.s3_sink import S3Sink

MIB = 1024 * 1024
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH = 0x0000, 0xA700, 0xA900


def assert_serves(receiver: ReceiverProcess) -> None:
    """The only slot is free, and what it is for works."""
    wait_for(lambda: is_accepted(receiver), 10, "the only slot")
    with RawSender(receiver.port) as sender:
        assert sender.store("1.2.1").status == SUCCESS
        sender.send_command(echo_command(2), context_id=3)
        assert sender.receive_response().status == SUCCESS
        sender.release()


def is_accepted(receiver: ReceiverProcess) -> bool:
    with RawSender(receiver.port, associate=False) as sender:
        sender.send(associate_request())
        if sender.receive_pdu()[0] != 0x02:
            return False
        sender.release()
        return True


def test_a_request_with_thousands_of_role_selections_costs_no_slot(tmp_path: Path) -> None:
    """Its A-ASSOCIATE-AC could not be encoded, and the slot was never given back (issue I.A2a)."""
    uid = CT_IMAGE_STORAGE.encode()
    role = item(0x54, struct.pack(">H", len(uid)) + uid + b"\1\0")
    with running_receiver(tmp_path, MAXIMUM_ASSOCIATIONS="1") as receiver:
        for number in (1, 2_620 * 25 // len(role)):
            with RawSender(receiver.port, associate=False) as sender:
                sender.send(associate_request(user_items=role * number))
                assert sender.receive_pdu()[0] in (0x02, 0x07)
        assert_serves(receiver)
        assert receiver.stop() == 0
    assert receiver.other_output == []


@pytest.mark.parametrize("window", [b"", item(0x53, b"\0\x04\0\1"), item(0x53, b"\0\0\0\0")], ids=["none", "4", "any"])
def test_a_burst_of_requests_that_are_refused_at_once_is_answered_whole(tmp_path: Path, window: bytes) -> None:
    """Each outcome began the next operation, by recursion, until Python gave up (issue I.A2b)."""
    number = 1200
    wrong = data_set("1.3.9")
    burst = b"".join(
        pdu(0x04, pdv(1, 3, store_command(f"1.2.{n}", n))) + pdu(0x04, pdv(1, 2, wrong)) for n in range(1, number)
    )
    with S3Sink(lambda method, key: 0.3 if ".dcm" in key else None) as sink:
        settings = {"DICOM_BUCKET": "landing", "AWS_ENDPOINT_URL_S3": sink.url}
        with running_receiver(tmp_path, MAXIMUM_ASSOCIATIONS="1", **settings) as receiver:
            with RawSender(receiver.port, user_items=window) as sender:
                good = pdu(0x04, pdv(1, 3, store_command("1.2.0", 0))) + pdu(0x04, pdv(1, 2, data_set("1.2.0")))
                sender.send(good + burst)
                answers = [sender.receive_response() for _ in range(number)]
                assert {answer.message_id: answer.status for answer in answers} == {0: SUCCESS} | dict.fromkeys(
                    range(1, number), DOES_NOT_MATCH
                )
                sender.release()
            assert_serves(receiver)
            with RawSender(receiver.port, user_items=window) as sender:
                sender.send(good + burst)  # and goes without reading an answer
            assert_serves(receiver)
            assert receiver.stop() == 0
    assert receiver.other_output == []


@pytest.mark.parametrize(("fault", "size"), [("put", 0), ("wrong", 0), ("begin", 20 * MIB), ("part", 20 * MIB)])
def test_a_mistake_of_ours_costs_one_association_and_one_line(tmp_path: Path, fault: str, size: int) -> None:
    settings = {"MAXIMUM_ASSOCIATIONS": "1", "FAULTY_STORE": fault, "MEMORY_BUDGET_MIB": "32"}
    with running_receiver(tmp_path, module="tests.testkit.faulty_receiver", **settings) as receiver:
        for number in range(3):
            with RawSender(receiver.port) as sender:
                sender.send_command(store_command("1.2.666", number))
                try:
                    sender.send_data(data_set("1.2.666", pixels=bytes(size)))
                    kind, body = sender.receive_pdu()
                except OSError:  # the connection was given up in mid-object
                    kind, body = 0, b""
                assert kind in (0, 0x07) or OUT_OF_RESOURCES.to_bytes(2, "little") in body
            assert_serves(receiver)
        assert receiver.stop() == 0
        lines = [line for line in receiver.log if line.get("level") == "ERROR"]
        assert len(lines) == 1  # of its kind in a minute; the mishaps were three
        assert "Doe" not in str(receiver.log)
    assert receiver.other_output == []
    assert "1.2.666" not in receiver.stored()


def test_an_object_whose_store_is_slow_at_each_part_is_refused_when_the_time_is_up_in_all(tmp_path: Path) -> None:
    """The time-out counted for the end alone: a store that hung in mid-object kept its sender for ever (I.A10)."""
    with S3Sink(lambda method, key: 1.2 if "666" in key else None) as sink:
        settings = {"DICOM_BUCKET": "landing", "AWS_ENDPOINT_URL_S3": sink.url, "DIMSE_TIMEOUT": "4"}
        with running_receiver(tmp_path, MEMORY_BUDGET_MIB="32", **settings) as receiver:
            with RawSender(receiver.port) as sender:
                response = sender.store("1.2.666", 1, data_set("1.2.666", pixels=bytes(60 * MIB)))
                assert (response.status, response.comment) == (OUT_OF_RESOURCES, "Object store did not answer in time")
                assert sender.store("1.2.1", 2).status == SUCCESS
                sender.release()
            wait_for(lambda: not sink.uploads, 20, "the upload's abort")
            assert receiver.stop() == 0
        assert list(sink.instances()) == ["1.2.1"]
    assert receiver.other_output == []


def test_seven_cores_or_more_do_not_need_more_memory(tmp_path: Path) -> None:
    """WORKERS=0 was one per core, and ended with exit 2 where the budget did not reach (issue I.A10)."""
    with running_receiver(tmp_path, WORKERS="0", MEMORY_BUDGET_MIB="40") as receiver:
        assert receiver.messages("receiver started")[0]["workers"] == 1
        receiver.await_ready()
        assert receiver.stop() == 0


def test_a_device_that_holds_all_associations_idle_makes_room_for_another_one(tmp_path: Path) -> None:
    """Title and address both count; here all come from one address, so another address of loopback asks."""
    with running_receiver(tmp_path, MAXIMUM_ASSOCIATIONS="8") as receiver, contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(RawSender(receiver.port, calling=b"GREEDY")) for _ in range(8)]
        with RawSender(receiver.port, associate=False) as ninth:
            ninth.send(associate_request(calling=b"GREEDY"))
            assert ninth.receive_pdu()[0] == 0x03
        with RawSender(receiver.port, associate=False, source="127.0.0.2") as other:
            other.send(associate_request(calling=b"CT1"))
            assert other.receive_pdu()[0] == 0x02
            assert other.store("1.2.1").status == SUCCESS
        assert greedy[0].receive_pdu()[0] == 0x07
        assert [sender.store(f"1.2.{n}").status for n, sender in enumerate(greedy[1:], 2)] == [SUCCESS] * 7
        assert receiver.stop() == 0
    assert receiver.other_output == []
