"""A device asks for commitment and is told here or called back; covers commitment_service.py, device_report.py.

The importer's part is a file that the test writes.
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.testkit.commitment_devices import Reports, ask, asking, delivered, listening, write_result
from tests.testkit.elements import explicit, item, sequence
from tests.testkit.raw_sender import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    VERIFICATION,
    RawSender,
    command_element,
    command_set,
    context_item,
    echo_command,
)
from tests.testkit.receiver_process import ReceiverProcess, running_receiver, wait_for

PUSH_MODEL = b"1.2.840.10008.1.20.1"
ORTHANC = "/usr/sbin/Orthanc"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    with running_receiver(tmp_path, COMMITMENT_POLL_SECONDS="0.2") as process:
        yield process
        assert process.stop() == 0
        assert "".join(process.other_output) == ""


def test_the_request_is_stored_before_it_is_answered_and_the_report_comes_on_the_same_association(
    receiver: ReceiverProcess,
) -> None:
    reports = Reports()
    with asking(receiver.port, reports) as association:
        assert ask(association, "1.2.99", ["1.2.3", "1.2.4"]) == 0
        record = json.loads((receiver.folder / "commitments/requests/CT1-1.2.99.json").read_text())
        assert record["instances"] == [[CT_IMAGE_STORAGE, "1.2.3"], [CT_IMAGE_STORAGE, "1.2.4"]]
        assert (record["calling_ae_title"], record["called_ae_title"]) == ("CT1", "STORESCP")
        write_result(receiver.folder, "CT1-1.2.99", ["1.2.3"], {"1.2.4": 0x0110})
        reports.wait()
        wait_for(lambda: delivered(receiver.folder, "CT1-1.2.99"), 10, "delivered")
    assert reports.received == [("1.2.99", 2, ["1.2.3"], {"1.2.4": 0x0110})]


def test_several_requests_of_an_association_are_reported_one_after_the_other(receiver: ReceiverProcess) -> None:
    reports = Reports()
    with asking(receiver.port, reports) as association:
        for number in range(3):
            assert ask(association, f"1.2.{number}", [f"1.2.3.{number}"]) == 0
        for number in (2, 0, 1):
            write_result(receiver.folder, f"CT1-1.2.{number}", [f"1.2.3.{number}"])
        reports.wait(3)
    assert sorted(report[0] for report in reports.received) == ["1.2.0", "1.2.1", "1.2.2"]
    assert all(report[1] == 1 for report in reports.received)


def test_the_same_request_again_is_one_request_and_another_with_its_uid_fails(receiver: ReceiverProcess) -> None:
    reports = Reports()
    with asking(receiver.port, reports) as association:
        assert ask(association, "1.2.99", ["1.2.3", "1.2.4"]) == 0
        assert ask(association, "1.2.99", ["1.2.4", "1.2.3"]) == 0
        assert ask(association, "1.2.99", ["1.2.5"]) == 0
        reports.wait()
        assert reports.received == [("1.2.99", 2, [], {"1.2.5": 0x0131})]
        write_result(receiver.folder, "CT1-1.2.99", ["1.2.3", "1.2.4"])
        reports.wait(2)
        assert reports.received[1] == ("1.2.99", 1, ["1.2.3", "1.2.4"], {})
        wait_for(lambda: delivered(receiver.folder, "CT1-1.2.99"), 10, "delivered")
    assert len(reports.received) == 2


def test_a_stop_while_a_result_is_awaited_leaves_it_to_others_and_says_nothing(tmp_path: Path) -> None:
    for _ in range(3):
        with running_receiver(tmp_path) as receiver:
            with asking(receiver.port, Reports()) as association:
                assert ask(association, "1.2.99", ["1.2.3"]) == 0
                association.abort()
            assert receiver.stop() == 0
            assert "".join(receiver.other_output) == ""


def test_a_device_that_has_gone_is_called_back_also_after_the_receiver_was_killed(tmp_path: Path) -> None:
    reports = Reports()
    with listening(reports) as port:
        settings = {"COMMITMENT_POLL_SECONDS": "0.2", "COMMITMENT_DEVICES": f"CT1=127.0.0.1:{port}"}
        with running_receiver(tmp_path, **settings) as receiver:
            with asking(receiver.port, reports) as association:
                assert ask(association, "1.2.99", ["1.2.3"]) == 0
            os.kill(receiver.process.pid, signal.SIGKILL)
        write_result(tmp_path, "CT1-1.2.99", ["1.2.3"])
        with running_receiver(tmp_path, **settings) as first, running_receiver(tmp_path, **settings) as second:
            reports.wait()
            wait_for(lambda: delivered(tmp_path, "CT1-1.2.99"), 10, "delivered")
            assert first.stop() == second.stop() == 0
    assert reports.received == [("1.2.99", 1, ["1.2.3"], {})]  # one of the two, once
    assert len(list((tmp_path / "commitments/attempts/CT1-1.2.99").iterdir())) == 1


def test_a_device_is_called_back_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("ct1.hospital.example").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("receiver.example")
    reports = Reports()
    with listening(reports, tls=context) as port:
        settings = {
            "COMMITMENT_POLL_SECONDS": "0.2",
            "COMMITMENT_DEVICES": f"CT1=tls://127.0.0.1:{port}",
            "TLS_CERTIFICATE": ours.cert_chain_pems[0].bytes().decode(),
            "TLS_PRIVATE_KEY": ours.private_key_pem.bytes().decode(),
            "TLS_CLIENT_CA": authority.cert_pem.bytes().decode(),
        }
        with running_receiver(tmp_path) as plain, asking(plain.port, reports) as association:
            assert ask(association, "1.2.99", ["1.2.3"]) == 0
        write_result(tmp_path, "CT1-1.2.99", ["1.2.3"])
        with running_receiver(tmp_path, **settings) as receiver:
            reports.wait()
            wait_for(lambda: delivered(tmp_path, "CT1-1.2.99"), 10, "delivered")
            assert receiver.stop() == 0


def test_a_device_without_an_address_and_one_that_cannot_be_reached_are_told_of(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        closed = nobody.getsockname()[1]
    settings = {"COMMITMENT_POLL_SECONDS": "0.1", "COMMITMENT_DEVICES": f"CT1=127.0.0.1:{closed}"}
    with running_receiver(tmp_path, **settings) as receiver:
        for title in ("CT1", "MR1"):
            with asking(receiver.port, Reports(), title) as association:
                assert ask(association, "1.2.99", ["1.2.3"]) == 0
            write_result(tmp_path, f"{title}-1.2.99", ["1.2.3"])
        lines = receiver.await_message("commitment not delivered", 2)
        assert {line["calling_ae_title"] for line in lines} == {"CT1", "MR1"}
        time.sleep(0.5)  # further looks make no further lines
        assert len(receiver.messages("commitment not delivered")) == 2
        assert receiver.stop() == 0
        counted = [line["CommitmentsUndelivered"] for line in receiver.log if "CommitmentsUndelivered" in line]
        assert sum(counted) >= 2


def action_command(**changes: bytes) -> bytes:
    values = {0x0003: PUSH_MODEL, 0x0100: b"\x30\1", 0x0110: b"\1\0", 0x0800: b"\1\0", 0x1001: PUSH_MODEL + b".1"}
    values |= {0x1008: b"\1\0"} | {int(name[1:], 16): value for name, value in changes.items()}
    return command_set(b"".join(command_element(number, value) for number, value in sorted(values.items())))


REFERENCE = explicit(0x00081150, b"UI", b"1.2.3\0") + explicit(0x00081155, b"UI", b"1.2.4\0")
TRANSACTION = explicit(0x00081195, b"UI", b"1.2.9\0")
SHORT_NAMES = b"".join(  # each becomes a hash, which is longer
    item(
        explicit(0x00081150, b"UI", b"AB")
        + explicit(
            0x00081155,
            b"UI",
            b"\xe9\xe9" + struct.pack("<H", 0xC000 + number % 0x3000) + bytes((0x41 + number // 0x3000, 0x41)),
        )
    )
    for number in range(33_000)
)
REFUSED = {
    "another action type": (action_command(e1008=b"\2\0"), TRANSACTION, 0x0123),
    "another class": (action_command(e0003=b"1.2.3\0"), TRANSACTION, 0x0123),
    "no data set": (action_command(e0800=b"\1\1"), b"", 0x0115),
    "no instances": (action_command(), TRANSACTION, 0x0115),
    "no transaction": (action_command(), sequence(0x00081199, item(REFERENCE)), 0x0115),
    "no data set in the data set": (action_command(), b"DOE^JANE" * 20, 0x0115),
    "a record of more than four megabytes": (action_command(), TRANSACTION + sequence(0x00081199, SHORT_NAMES), 0x0213),
    "more than a megabyte": (action_command(), TRANSACTION + sequence(0x00081199, item(REFERENCE) * 40_000), 0x0213),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_asked_is_refused_and_the_association_goes_on(receiver: ReceiverProcess, name: str) -> None:
    command, data, status = REFUSED[name]
    contexts = context_item(1, PUSH_MODEL.decode(), EXPLICIT_LITTLE) + context_item(3, VERIFICATION, IMPLICIT_LITTLE)
    with RawSender(receiver.port, contexts=contexts) as sender:
        sender.send_command(command)
        if data:
            sender.send_data(data)
        response = sender.receive_response()
        assert (response.field, response.status) == (0x8130, status)
        assert 0 < len(response.comment) <= 64
        sender.send_command(echo_command(), context_id=3)
        assert sender.receive_response().status == 0
        sender.release()
    assert not (receiver.folder / "commitments").exists()


def test_a_response_to_no_report_aborts(receiver: ReceiverProcess) -> None:
    contexts = context_item(1, PUSH_MODEL.decode(), EXPLICIT_LITTLE)
    response = command_set(
        command_element(0x0100, b"\x00\x81")
        + command_element(0x0120, b"\7\0")
        + command_element(0x0800, b"\1\1")
        + command_element(0x0900, b"\0\0")
    )
    with RawSender(receiver.port, contexts=contexts) as sender:
        sender.send_command(response)
        assert sender.receive_pdu() == (0x07, bytes(4))


@pytest.mark.skipif(not Path(ORTHANC).exists(), reason="Orthanc is not installed (Debian: apt-get install orthanc)")
def test_orthanc_asks_and_is_called_back(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(2)]
    dicom, web = ports
    settings = {"COMMITMENT_POLL_SECONDS": "0.2", "COMMITMENT_DEVICES": f"ORTHANC=127.0.0.1:{dicom}"}
    with (
        running_receiver(tmp_path / "store", **settings) as receiver,
        orthanc(tmp_path, dicom, web, receiver.port),
    ):
        url = f"http://127.0.0.1:{web}"
        body = {"DicomInstances": [{"SOPClassUID": CT_IMAGE_STORAGE, "SOPInstanceUID": uid} for uid in ("1.2", "1.3")]}
        asked = http(f"{url}/modalities/receiver/storage-commitment", json.dumps(body).encode())
        transaction_uid = str(asked["ID"])
        write_result(receiver.folder, f"ORTHANC-{transaction_uid}", ["1.2"], {"1.3": 0x0112})
        wait_for(lambda: http(f"{url}{asked['Path']}")["Status"] != "Pending", 30, "Orthanc's report")
        report = http(f"{url}{asked['Path']}")
        assert [entry["SOPInstanceUID"] for entry in report["Success"]] == ["1.2"]
        assert [(entry["SOPInstanceUID"], entry["FailureReason"]) for entry in report["Failures"]] == [("1.3", 0x0112)]
        wait_for(lambda: delivered(receiver.folder, f"ORTHANC-{transaction_uid}"), 10, "delivered")
        assert receiver.stop() == 0


@contextlib.contextmanager
def orthanc(folder: Path, dicom_port: int, http_port: int, receiver_port: int) -> Iterator[None]:
    configuration = {
        "StorageDirectory": f"{folder}/orthanc",
        "IndexDirectory": f"{folder}/orthanc",
        "DicomAet": "ORTHANC",
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": {"receiver": {"AET": "STORESCP", "Host": "127.0.0.1", "Port": receiver_port}},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{http_port}/system"), 60, "Orthanc")
        yield
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        http(url)
        return True
    return False


def http(url: str, body: bytes | None = None) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as answer:
        loaded: dict[str, Any] = json.load(answer)
        return loaded
