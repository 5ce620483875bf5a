"""Log lines are bounded, and whoever does not read them stops nobody."""

import json
import os
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storescp.log import MAXIMUM_LINE_BYTES, LineWriter, Log, encode_line
from tests.testkit.raw_sender import RawSender, echo_command
from tests.testkit.receiver_process import receiver_environment, wait_for

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1), JSON))
def test_any_record_is_one_bounded_line_of_json(record: dict[str, Any]) -> None:
    line = encode_line(record)
    assert len(line) <= MAXIMUM_LINE_BYTES
    assert line.count(b"\n") == 1
    json.loads(line)


@pytest.mark.parametrize(
    "fields",
    [
        {"failures": {f"0xA900 {number}": number for number in range(100_000)}},
        {"implementation": "x" * 5_000_000},
        {"a": {"b": {"c": {"d": {"e": "x" * 10_000}}}}},
        {f"field{number}": "\x00" * 1000 for number in range(100)},
        {"set": set(range(1000)), "object": object()},
    ],
)
def test_what_a_peer_chooses_does_not_make_a_line_long(fields: dict[str, Any]) -> None:
    record = {"time": "2026", "level": "INFO", "message": "association ended", **fields}
    line = encode_line(record)
    assert len(line) <= MAXIMUM_LINE_BYTES
    assert {name: json.loads(line)[name] for name in ("time", "level", "message")} == {
        name: record[name] for name in ("time", "level", "message")
    }


def test_a_short_record_is_left_as_it_is() -> None:
    record = {"message": "x", "failures": {"a": 1}, "list": [1, 2], "text": "ä" * 200, "number": 1.5, "none": None}
    assert json.loads(encode_line(record)) == record


def lines_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_a_pipe_that_nobody_reads_costs_lines_alone_and_tells_how_many() -> None:
    reader, descriptor = os.pipe()
    log = Log("INFO", LineWriter(descriptor))
    for number in range(10_000):
        log.info("x" * 100, number=number)
    dropped = log.writer.take_dropped()
    assert dropped > 0
    assert log.writer.take_dropped() == 0
    os.set_blocking(reader, False)
    data = b""
    while not log.writer.flush():
        data += os.read(reader, 1 << 20)
    data += os.read(reader, 1 << 20)
    lines = lines_of(data)
    assert [line["number"] for line in lines[:-1]] == [*range(10_000 - dropped)]
    assert (lines[-1]["message"], lines[-1]["number"]) == ("log lines dropped", dropped)
    log.info("again")
    assert lines_of(os.read(reader, 1 << 20))[0]["message"] == "again"
    for end in (reader, descriptor):
        os.close(end)


def test_a_reader_that_has_gone_costs_lines_alone() -> None:
    reader, descriptor = os.pipe()
    log = Log("INFO", LineWriter(descriptor))
    log.info("one")
    os.close(reader)
    for _ in range(10):
        log.info("x")
    assert log.writer.take_dropped() == 10
    log.writer.finish(1)
    os.close(descriptor)


def test_a_descriptor_that_cannot_be_opened_again_is_set_not_to_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError

    reader, descriptor = os.pipe()  # as Docker's, which belongs to root
    monkeypatch.setattr(os, "open", deny)
    log = Log("INFO", LineWriter(descriptor))
    for _ in range(10_000):
        log.info("x" * 100)
    assert log.writer.take_dropped() > 0
    for end in (reader, descriptor):
        os.close(end)


def test_what_is_kept_is_tried_again_later_and_not_by_a_child() -> None:
    reader, descriptor = os.pipe()
    writer = LineWriter(descriptor)
    waiting: list[Any] = []
    writer.flush_by(lambda seconds, function: waiting.append(function))
    log = Log("INFO", writer)
    for number in range(2000):
        log.info("x" * 50, number=number)
    assert len(waiting) == 1
    pid = os.fork()
    if not pid:
        writer.write(b"")  # the child forgets what the parent will write
        os._exit(len(writer._pending) > 1)
    assert os.waitpid(pid, 0)[1] == 0
    os.read(reader, 1 << 20)
    waiting.pop()()
    assert lines_of(os.read(reader, 1 << 20))
    for end in (reader, descriptor):
        os.close(end)


def start(folder: Path, **environment: str) -> "tuple[subprocess.Popen[bytes], int]":
    """A receiver of whose output the first line is read, and no more."""
    process = subprocess.Popen(
        [sys.executable, "-m", "storescp"],
        env=receiver_environment(folder, LOG_LEVEL="DEBUG", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(process.stdout.fileno(), 1)
    return process, json.loads(line)["scp_port"]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("is_closed", [False, True])
def test_a_receiver_whose_log_nobody_reads_goes_on(tmp_path: Path, workers: str, is_closed: bool) -> None:
    process, port = start(tmp_path, WORKERS=workers, BATCH_QUIET_SECONDS="0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if is_closed:
            process.stdout.close()
        for _ in range(300):  # a line each, more than the pipe holds
            with RawSender(port) as sender:
                sender.send_command(echo_command(), context_id=3)
                assert sender.receive_response().status == 0
                sender.release()
        with RawSender(port) as sender:
            assert sender.store("1.2.1").status == 0
            sender.release()
        wait_for(lambda: list(tmp_path.glob("batches/*.json")), 10, "the clock's work")
        process.terminate()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()
