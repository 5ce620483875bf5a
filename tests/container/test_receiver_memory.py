"""Memory, in real runs (filling.py, part.py, incoming.py, established.py): nobody stands still, whatever others do.

The whole matrix is `make bench ROWS=memory`; here is a small part of it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testkit.many_senders import Sender, send_all
from tests.testkit.raw_sender import RawSender, data_set, echo_command, item, store_command
from tests.testkit.receiver_process import ReceiverProcess, running_receiver, wait_for
from tests.testkit.s3_sink import S3Sink

MIB = 1024 * 1024
SUCCESS = 0


def bucket(sink: S3Sink, **settings: str) -> dict[str, str]:
    return {"DICOM_BUCKET": "landing", "AWS_ENDPOINT_URL_S3": sink.url, "MEMORY_BUDGET_MIB": "32", **settings}


def echoes(receiver: ReceiverProcess) -> bool:
    with RawSender(receiver.port, calling=b"ASKS") as sender:
        sender.send_command(echo_command(), context_id=3)
        is_answered = sender.receive_response().status == SUCCESS
        sender.release()
    return is_answered


@pytest.mark.parametrize("workers", ["1", "2"])
def test_senders_of_more_than_fits_into_memory_are_all_served(tmp_path: Path, workers: str) -> None:
    """24 associations with a mammogram each; before, none of them was ever stored (issue I.A1)."""
    senders = [Sender(str(number), [20 * MIB], 4 * MIB) for number in range(24)]
    budget = 32 * int(workers)
    with running_receiver(tmp_path, WORKERS=workers, MEMORY_BUDGET_MIB=str(budget)) as receiver:
        result = asyncio.run(send_all(receiver.port, senders))
        assert result.failures == {}
        assert result.acknowledged == 24
        assert result.echoes
        assert receiver.stop() == 0
        assert receiver.other_output == []
    assert sum(len(data) > 20 * MIB for data in receiver.stored().values()) == 24


def test_sizes_and_paces_of_all_kinds_are_served_side_by_side(tmp_path: Path) -> None:
    kinds = [(2048, 0.0, 30), (520_000, 0.0, 10), (520_000, 400_000.0, 10), (3 * MIB, 0.0, 1), (12 * MIB, 6e6, 1)]
    senders = [
        Sender(f"{kind}.{number}", [size] * count, pace, calling=f"CT{number}")
        for kind, (size, pace, count) in enumerate(kinds)
        for number in range(6)
    ]
    with S3Sink() as sink, running_receiver(tmp_path, **bucket(sink)) as receiver:
        base = receiver.memory_bytes()
        result = asyncio.run(send_all(receiver.port, senders))
        assert result.failures == {}
        assert result.acknowledged == len(sink.instances()) == sum(len(sender.sizes) for sender in senders)
        assert receiver.memory_bytes() - base < 48 * MIB
        assert receiver.stop() == 0


@contextlib.contextmanager
def stalled(receiver: ReceiverProcess, number: int) -> Iterator[list[RawSender]]:
    """Associations that each send the beginning of an object as far as it is read, and then nothing any more."""
    with contextlib.ExitStack() as stack:
        senders = [stack.enter_context(RawSender(receiver.port, calling=b"STUCK")) for _ in range(number)]
        threads = [threading.Thread(target=push, args=(sender, f"1.2.9.{n}")) for n, sender in enumerate(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        yield senders


def push(sender: RawSender, instance: str) -> None:
    data = data_set(instance, pixels=bytes(12 * MIB))
    sender.socket.settimeout(1.0)
    sender.send_command(store_command(instance))
    with contextlib.suppress(TimeoutError):
        for start in range(0, len(data) - 2, 65536):
            sender.send_data(data[start : start + 65536], last=False)


def test_one_device_that_stalls_delays_nobody_else_and_its_end_is_noticed(tmp_path: Path) -> None:
    with S3Sink() as sink, running_receiver(tmp_path, **bucket(sink)) as receiver:
        with stalled(receiver, 16) as stuck:
            assert echoes(receiver)
            others = [Sender(str(number), [20 * MIB], calling="CT1") for number in range(4)]
            result = asyncio.run(send_all(receiver.port, others))
            assert (result.failures, result.acknowledged) == ({}, 4)
            for sender in stuck[:8]:
                sender.socket.close()
            wait_for(lambda: len(ends_of(receiver, "STUCK")) == 8, 20, "the end of those who went first")
        wait_for(lambda: len(ends_of(receiver, "STUCK")) == 16, 20, "the end of all: who is read, and who waits")
        again = asyncio.run(send_all(receiver.port, [Sender("9", [20 * MIB] * 2, calling="STUCK")]))
        assert (again.failures, again.acknowledged) == ({}, 2)
        assert receiver.stop() == 0
        assert receiver.other_output == []


def ends_of(receiver: ReceiverProcess, title: str) -> list[str]:
    lines = receiver.messages("association ended")
    return [line["end"] for line in lines if line["calling_ae_title"] == title]


def test_a_stop_while_memory_is_short_ends_those_who_hold_it_and_those_who_wait(tmp_path: Path) -> None:
    with (
        S3Sink() as sink,
        running_receiver(tmp_path, **bucket(sink, STOP_SECONDS="2")) as receiver,
        stalled(receiver, 12),
    ):
        assert receiver.stop() == 0
        assert len(receiver.messages("association ended")) == 12
        assert sink.uploads == {}
    assert receiver.other_output == []


def test_a_windowed_sender_that_is_faster_than_the_store_is_read_when_there_is_memory(tmp_path: Path) -> None:
    with S3Sink(lambda method, key: 0.05) as sink, running_receiver(tmp_path, **bucket(sink)) as receiver:
        base = receiver.memory_bytes()
        with RawSender(receiver.port, user_items=item(0x53, b"\0\0\0\0")) as sender:
            statuses: list[int] = []
            reader = threading.Thread(
                target=lambda: statuses.extend(sender.receive_response().status for _ in range(100))
            )
            reader.start()
            for number in range(100):
                size = (2048, 300_000, 3 * MIB, 9 * MIB)[number % 4]
                sender.send_command(store_command(f"1.2.{number}", number))
                sender.send_data(data_set(f"1.2.{number}", pixels=bytes(size)))
            reader.join(timeout=60)
            assert statuses == [SUCCESS] * 100
            sender.release()
        assert receiver.memory_bytes() - base < 48 * MIB
        assert len(sink.instances()) == 100
        assert receiver.stop() == 0
