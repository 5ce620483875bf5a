"""Covers traces.py: a broken or hostile connection leaves a metric each and a line per peer and minute, and no more."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storescp.log import LineWriter, Log
from storescp.metrics import Metrics
from storescp.traces import CONNECTION_MALFORMED, HANDSHAKE_FAILED, PeerLog
from tests.testkit.raw_sender import RawSender, associate_request, pdu
from tests.testkit.receiver_process import running_receiver


class Bench:
    """A log whose lines can be read back, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reader, self._descriptor = os.pipe()
        os.set_blocking(self.reader, False)
        self.metrics = Metrics("")
        self.log = PeerLog(Log("INFO", LineWriter(self._descriptor)), self.metrics, lambda: self.now)

    def lines(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in os.read(self.reader, 1 << 20).splitlines()]
        except BlockingIOError:
            return []

    def counted(self) -> dict[str, int]:
        return {name: value for line in self.metrics.take_lines({}) for name, value in line.items() if value}

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._descriptor)


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.close()


def test_one_line_for_each_peer_message_and_minute_and_everything_is_counted(bench: Bench) -> None:
    for number in range(100):
        bench.log.warning(CONNECTION_MALFORMED, peer=f"10.0.0.1:{number}", reason="x")
        bench.log.warning(CONNECTION_MALFORMED, peer="10.0.0.3:1", reason=f"{number} bytes")
        bench.log.warning(HANDSHAKE_FAILED, peer=f"10.0.0.2:{number}", reason="y")
        bench.now += 0.1
    peers = [line["peer"] for line in bench.lines()]
    assert sorted(peers) == ["10.0.0.1:0", "10.0.0.2:0", *["10.0.0.3:1"] * 8]
    counted = bench.counted()
    assert (counted["ConnectionsMalformed"], counted["TlsHandshakesFailed"]) == (200, 100)
    bench.now += 60
    bench.log.warning(CONNECTION_MALFORMED, peer="10.0.0.1:1", reason="z")
    [line] = bench.lines()
    assert line["not_logged_before"] == 99


def test_what_the_store_refuses_again_and_again_is_told_once_a_minute_for_each_code(bench: Bench) -> None:
    for _ in range(100):
        for code in ("AccessDenied", "SlowDown"):
            bench.log.error("store failed", code=code)
        bench.log.info("association ended")
    messages = [line["message"] for line in bench.lines()]
    assert (messages.count("store failed"), messages.count("association ended")) == (2, 100)


def test_more_addresses_than_are_remembered_share_a_line(bench: Bench) -> None:
    told = 0
    for number in range(5000):
        bench.log.warning(CONNECTION_MALFORMED, peer=f"10.0.{number >> 8}.{number & 255}:1", reason="x")
        told += len(bench.lines())
    assert told == 1025
    assert len(bench.log._minutes) <= 1025
    bench.now += 61
    bench.log.warning(CONNECTION_MALFORMED, peer="10.9.9.9:1", reason="x")
    assert len(bench.lines()) == 1


def tls_hello(sender: RawSender) -> None:
    sender.send(bytes.fromhex("16030100a5010000a1"))


FOREIGN: dict[str, tuple[Callable[[RawSender], None], str]] = {
    "a TLS hello": (tls_hello, "TLS"),
    "HTTP": (lambda sender: sender.send(b"GET / HTTP/1.1\r\n\r\n"), "HTTP"),
    "a request that is cut": (lambda sender: sender.send(pdu(0x01, bytes(10))), "shorter than its fixed fields"),
    "data before a request": (lambda sender: sender.send(pdu(0x04, bytes(10))), ""),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_association_request_leaves_a_line(tmp_path: Path, name: str) -> None:
    send, reason = FOREIGN[name]
    with running_receiver(tmp_path) as receiver:
        for _ in range(5):
            with RawSender(receiver.port, associate=False) as sender:
                send(sender)
                assert sender.receive_pdu()[0] == 0x07
        [line] = receiver.await_message(CONNECTION_MALFORMED)
        assert reason in line["reason"]
        assert line["peer"].startswith("127.0.0.1:")
        assert receiver.stop() == 0
    assert len(receiver.messages(CONNECTION_MALFORMED)) == 1
    assert sum(line.get("ConnectionsMalformed", 0) for line in receiver.log) == 5


def test_guessing_titles_leaves_a_line_and_a_metric(tmp_path: Path) -> None:
    with running_receiver(tmp_path, REQUIRE_CALLING_AE_TITLE="CT1") as receiver:
        for number in range(5):
            with RawSender(receiver.port, associate=False) as sender:
                sender.send(associate_request(calling=b"GUESS%d" % number))
                assert sender.receive_pdu()[0] == 0x03
        assert receiver.stop() == 0
    assert len(receiver.messages("association rejected")) == 1
    assert sum(line.get("RejectionsCallingAETitleNotRecognized", 0) for line in receiver.log) == 5


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    with running_receiver(tmp_path) as receiver:
        receiver.await_ready()
        for _ in range(3):
            socket.create_connection(("127.0.0.1", receiver.port)).close()
        assert receiver.stop() == 0
    assert [line for line in receiver.log if line.get("level") == "WARNING"] == []
