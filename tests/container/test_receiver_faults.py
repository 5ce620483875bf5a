"""Whatever fails: acknowledged means stored byte for byte, and what is not stored is not acknowledged.

Covers healthcheck.py, storescp/health.py.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.testkit.raw_sender import RawSender, associate_request, data_set, echo_command, item, pdu, store_command
from tests.testkit.receiver_process import ReceiverProcess, running_receiver, wait_for
from tests.testkit.s3_sink import Fault, S3Sink

MIB = 1024 * 1024
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
LARGE = bytes(range(256)) * (12 * MIB // 256)


def bucket_settings(sink: S3Sink, **settings: str) -> dict[str, str]:
    return {
        "DICOM_BUCKET": "landing",
        "AWS_ENDPOINT_URL_S3": sink.url,
        "DIMSE_TIMEOUT": "3",
        "BATCH_QUIET_SECONDS": "0.3",
        **settings,
    }


def only(keys: str, fault: Fault) -> Callable[[str, str], Fault]:
    """The fault, for keys that hold a text."""
    return lambda method, key: fault if keys in key else None


def ends_with(part10: bytes, data: bytes) -> bool:
    return part10.endswith(data) and part10[128:132] == b"DICM" and len(part10) - len(data) < 600


STORE_FAULTS: dict[str, Fault] = {
    "answers 500": 500,
    "answers 503": 503,
    "denies": "deny",
    "hangs": "hang",
    "resets half-way": "reset",
    "stores and loses the answer": "lost",
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("name", STORE_FAULTS)
def test_an_object_that_the_store_did_not_confirm_is_refused_in_time(tmp_path: Path, name: str, size: str) -> None:
    pixels = LARGE if size == "large" else b""
    with S3Sink() as sink, running_receiver(tmp_path, **bucket_settings(sink)) as receiver:
        sink.fault = only("/1.2.666.dcm", STORE_FAULTS[name])
        with RawSender(receiver.port) as sender:
            sent = {instance: data_set(instance, pixels=pixels) for instance in ("1.2.1", "1.2.666", "1.2.2")}
            began = time.monotonic()
            statuses = {instance: sender.store(instance, data=data).status for instance, data in sent.items()}
            assert statuses == {"1.2.1": SUCCESS, "1.2.666": OUT_OF_RESOURCES, "1.2.2": SUCCESS}
            assert time.monotonic() - began < 3 * 3  # DIMSE_TIMEOUT
            sink.fault = only("", None)
            assert sender.store("1.2.666", data=sent["1.2.666"]).status == SUCCESS  # the sender tries again
            sender.release()
        assert_all_stored(sink, sent)
        assert_memory_and_slots_are_back(receiver)
        assert receiver.stop() == 0
        assert_manifests_count_what_was_acknowledged(sink, 3)
        # an attempt whose answer was lost is repeated under its own key, and only that
        assert {key.rsplit("/", 1)[1] for key in sink.overwritten} <= {"1.2.666.dcm"}
    assert receiver.other_output == []


def test_a_store_that_refuses_connections_is_a_failure_and_then_forgotten(tmp_path: Path) -> None:
    sink = S3Sink()
    sink.stop()
    with running_receiver(tmp_path, **bucket_settings(sink)) as receiver:
        with RawSender(receiver.port) as sender:
            response = sender.store("1.2.1")
            assert response.status == OUT_OF_RESOURCES
            assert response.comment
            sender.send_command(echo_command(), context_id=3)
            assert sender.receive_response().status == SUCCESS
            sender.release()
        assert receiver.http_status("/healthz") == 200
        assert receiver.http_status("/readyz") == 503
        assert receiver.stop() == 0
    assert receiver.other_output == []


def test_readiness_needs_a_store_that_can_be_written_and_leaves_nothing_there(tmp_path: Path) -> None:
    with S3Sink(only("", "deny")) as sink, running_receiver(tmp_path, **bucket_settings(sink)) as receiver:
        receiver.await_message("store not reached")
        assert receiver.http_status("/readyz") == 503
        sink.fault = only("", None)
        receiver.await_ready()
        assert (sink.objects, sink.uploads) == ({}, {})
        sink.fault = only("", 500)  # later trouble is for the senders to hear
        with RawSender(receiver.port) as sender:
            assert sender.store("1.2.1").status == OUT_OF_RESOURCES
        assert receiver.http_status("/readyz") == 200


def test_a_store_that_fails_a_few_times_is_asked_again(tmp_path: Path) -> None:
    failures: Iterator[int | str] = iter([500, 503, "reset"])
    with S3Sink(lambda method, key: next(failures, None) if method == "PUT" else None) as sink:
        settings = bucket_settings(sink, DIMSE_TIMEOUT="20")
        with running_receiver(tmp_path, **settings) as receiver, RawSender(receiver.port) as sender:
            assert sender.store("1.2.1").status == SUCCESS
            sender.release()
        assert list(sink.instances()) == ["1.2.1"]


SENDER_FAULTS: dict[str, Callable[[RawSender], None]] = {
    "aborts": lambda sender: sender.send(pdu(0x07, bytes(4))),
    "vanishes": lambda sender: sender.socket.close(),
    "releases": lambda sender: sender.send(pdu(0x05, bytes(4))),
    "sends a second command": lambda sender: sender.send_command(store_command("1.2.9")),
    "falls silent": lambda sender: None,
}


@pytest.mark.parametrize("size", [1000, 7 * MIB, 30 * MIB])
@pytest.mark.parametrize("name", SENDER_FAULTS)
@pytest.mark.parametrize("store", ["bucket", "folder"])
def test_an_object_that_was_not_completed_leaves_nothing_behind(
    tmp_path: Path, name: str, size: int, store: str
) -> None:
    data = data_set("1.2.666", pixels=bytes(size))
    with S3Sink() as sink:
        settings = bucket_settings(sink) if store == "bucket" else {}
        with running_receiver(tmp_path, **settings, NETWORK_TIMEOUT="1", MAXIMUM_ASSOCIATIONS="1") as receiver:
            with RawSender(receiver.port) as sender:
                assert sender.store("1.2.1").status == SUCCESS
                sender.send_command(store_command("1.2.666"))
                sender.send_data(data[:-2], last=False)
                SENDER_FAULTS[name](sender)
                [ended] = receiver.await_message("association ended")
                assert ended["instances"] == 1
            assert_memory_and_slots_are_back(receiver)
            wait_for(lambda: not sink.uploads, 10, "the upload's abort")
            assert receiver.stop() == 0
            if store == "bucket":
                assert list(sink.instances()) == ["1.2.1"]
                assert_manifests_count_what_was_acknowledged(sink, 1)
            else:
                files = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
                assert files == sorted(["1.2.1.dcm", *(path.name for path in tmp_path.glob("batches/*.json"))])
                assert [manifest["instances"] for manifest in receiver.manifests()] == [1]
    assert receiver.other_output == []


def test_a_manifest_is_written_as_soon_as_the_store_allows(tmp_path: Path) -> None:
    with S3Sink(only("batches/", 500)) as sink:
        settings = bucket_settings(sink, DIMSE_TIMEOUT="1")
        with running_receiver(tmp_path, **settings) as receiver:
            with RawSender(receiver.port) as sender:
                assert sender.store("1.2.1").status == SUCCESS
            receiver.await_message("manifest not written")
            sink.fault = only("", None)
            receiver.await_message("batch closed")
            assert sum(key.startswith("batches/") for key in sink.objects) == 1


def test_a_manifest_whose_answer_was_lost_is_written_once(tmp_path: Path) -> None:
    answers = iter(["lost"])
    with S3Sink(lambda method, key: next(answers, None) if "batches/" in key else None) as sink:
        with running_receiver(tmp_path, **bucket_settings(sink)) as receiver:
            with RawSender(receiver.port) as sender:
                assert sender.store("1.2.1").status == SUCCESS
            receiver.await_message("batch closed")
        assert sink.overwritten == []


def test_sigterm_lets_senders_finish_and_takes_no_new_ones(tmp_path: Path) -> None:
    with S3Sink(lambda method, key: 0.3) as sink, running_receiver(tmp_path, **bucket_settings(sink)) as receiver:
        with RawSender(receiver.port) as sender:
            data = data_set("1.2.1")
            sender.send_command(store_command("1.2.1"))
            sender.send_data(data[:100], last=False)
            receiver.await_ready()
            receiver.terminate()
            wait_for(lambda: receiver.http_status("/readyz") == 503, 5, "503")
            assert receiver.http_status("/healthz") == 200
            with pytest.raises(ConnectionError):
                RawSender(receiver.port)
            sender.send_data(data[100:])
            assert sender.receive_response().status == SUCCESS
            assert sender.store("1.2.2").status == SUCCESS  # it is not done yet, and may go on
            sender.release()
        assert receiver.wait() == 0
        assert set(sink.instances()) == {"1.2.1", "1.2.2"}
        assert_manifests_count_what_was_acknowledged(sink, 2)
    assert receiver.other_output == []


def test_sigterm_cuts_what_does_not_end_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    with S3Sink() as sink:
        with (
            running_receiver(tmp_path, **bucket_settings(sink, STOP_SECONDS="1")) as receiver,
            RawSender(receiver.port) as endless,
            RawSender(receiver.port) as idle,
        ):
            assert idle.store("1.2.1").status == SUCCESS
            endless.send_command(store_command("1.2.666"))
            endless.send_data(data_set("1.2.666", pixels=LARGE)[:-2], last=False)
            receiver.terminate()
            assert receiver.wait() == 0
            assert idle.receive_pdu()[0] == endless.receive_pdu()[0] == 0x07
        assert list(sink.instances()) == ["1.2.1"]
        assert sink.uploads == {}
        assert_manifests_count_what_was_acknowledged(sink, 1)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stop_in_mid_transfer_loses_nothing_that_was_acknowledged(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    """Six senders, a store that takes its time, and an end that nobody announced."""
    acknowledged: set[str] = set()
    with S3Sink(lambda method, key: 0.02) as sink:
        settings = bucket_settings(sink, WORKERS=workers, STOP_SECONDS="1")
        with running_receiver(tmp_path, **settings) as receiver:
            senders = [
                threading.Thread(target=send_until_cut, args=(receiver.port, sender, acknowledged))
                for sender in range(6)
            ]
            for sender in senders:
                sender.start()
            wait_for(lambda: len(acknowledged) > 60, 20, "60 acknowledgements")
            if number == signal.SIGKILL:
                os.killpg(receiver.process.pid, signal.SIGKILL)
            else:
                receiver.terminate()
            for sender in senders:
                sender.join(timeout=30)
                assert not sender.is_alive()
            assert receiver.wait() == (-9 if number == signal.SIGKILL else 0)
        assert len(acknowledged) > 60
        assert_all_stored(sink, {instance: data_set(instance, pixels=bytes(50_000)) for instance in acknowledged})


def send_until_cut(port: int, number: int, acknowledged: set[str]) -> None:
    with RawSender(port) as sender:
        for count in range(10_000):
            instance = f"1.2.{number}.{count}"
            try:
                if sender.store(instance, count % 65536, data_set(instance, pixels=bytes(50_000))).status:
                    return
            except (AssertionError, OSError):  # what came was an A-ABORT, or nothing
                return
            acknowledged.add(instance)


def test_a_worker_that_died_is_replaced_and_its_slots_are_free(tmp_path: Path) -> None:
    with running_receiver(tmp_path, WORKERS="2", MAXIMUM_ASSOCIATIONS="2") as receiver:
        wait_for(lambda: len(workers_of(receiver)) == 2, 10, "two workers")
        children = workers_of(receiver)
        with RawSender(receiver.port), RawSender(receiver.port):  # one on each
            os.kill(int(children[0]), signal.SIGKILL)
            receiver.await_message("worker died")
            with RawSender(receiver.port) as sender:
                assert sender.store("1.2.1").status == SUCCESS
                sender.release()
        wait_for(lambda: len(workers_of(receiver)) == 2, 10, "a new worker")
        assert receiver.stop() == 0


def test_workers_stop_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with running_receiver(tmp_path, WORKERS="2") as receiver:
        wait_for(lambda: len(workers_of(receiver)) == 2, 10, "two workers")
        workers = workers_of(receiver)
        os.kill(receiver.process.pid, signal.SIGKILL)
        wait_for(
            lambda: not any(Path(f"/proc/{worker}/fd").exists() and is_running(worker) for worker in workers),
            10,
            "the workers' end",
        )


def test_a_burst_of_connections_is_shared_out_whole(tmp_path: Path) -> None:
    with running_receiver(tmp_path, WORKERS="2", MAXIMUM_ASSOCIATIONS="1000") as receiver:
        senders = [RawSender(receiver.port, associate=False) for _ in range(600)]
        for sender in senders:
            sender.send(associate_request())
        assert [sender.receive_pdu()[0] for sender in senders] == [0x02] * 600
        for sender in senders:
            sender.release()
        assert receiver.stop() == 0
        assert len(receiver.messages("association ended")) == 600


def workers_of(receiver: ReceiverProcess) -> list[str]:
    pid = receiver.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_memory_stays_bounded_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    """Thirty senders hold a part of an object each, more than fits into memory; then all go on."""
    sent = {f"1.2.{number}": data_set(f"1.2.{number}", pixels=bytes(3 * MIB)) for number in range(30)}
    with S3Sink() as sink, running_receiver(tmp_path, **bucket_settings(sink, MEMORY_BUDGET_MIB="32")) as receiver:
        base = receiver.memory_bytes()
        senders = [RawSender(receiver.port) for _ in sent]
        finish = threading.Event()
        statuses: list[int] = []

        def send(sender: RawSender, instance: str, data: bytes) -> None:
            sender.send_command(store_command(instance))
            sender.send_data(data[: 2 * MIB], last=False)
            finish.wait(30)
            sender.send_data(data[2 * MIB :])
            statuses.append(sender.receive_response().status)

        threads = [
            threading.Thread(target=send, args=(sender, *named))
            for sender, named in zip(senders, sent.items(), strict=True)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert receiver.memory_bytes() - base < 48 * MIB
        finish.set()
        for thread in threads:
            thread.join(timeout=60)
        assert statuses == [SUCCESS] * 30
        assert receiver.memory_bytes() - base < 64 * MIB
        for sender in senders:
            sender.release()
        assert_all_stored(sink, sent)


def test_the_window_does_not_let_a_sender_fill_the_memory(tmp_path: Path) -> None:
    with S3Sink(lambda method, key: 0.2) as sink:
        settings = bucket_settings(sink, MEMORY_BUDGET_MIB="32", DIMSE_TIMEOUT="30")
        with running_receiver(tmp_path, **settings) as receiver:
            base = receiver.memory_bytes()
            with RawSender(receiver.port, user_items=item(0x53, b"\0\0\0\0")) as sender:
                statuses: list[int] = []
                reader = threading.Thread(
                    target=lambda: statuses.extend(sender.receive_response().status for _ in range(60))
                )
                reader.start()
                for number in range(60):
                    sender.send_command(store_command(f"1.2.{number}", number))
                    sender.send_data(data_set(f"1.2.{number}", pixels=bytes(MIB)))
                reader.join(timeout=60)
                assert statuses == [SUCCESS] * 60
                assert receiver.memory_bytes() - base < 64 * MIB


def assert_all_stored(sink: S3Sink, sent: dict[str, bytes]) -> None:
    stored = sink.instances()
    for instance, data in sent.items():
        assert ends_with(stored[instance], data)


def assert_memory_and_slots_are_back(receiver: ReceiverProcess) -> None:
    with RawSender(receiver.port) as sender:
        sender.send_command(echo_command(), context_id=3)
        assert sender.receive_response().status == SUCCESS
        sender.release()


def assert_manifests_count_what_was_acknowledged(sink: S3Sink, number: int) -> None:
    manifests = [json.loads(value) for key, value in sink.objects.items() if key.startswith("batches/")]
    assert sum(manifest["instances"] for manifest in manifests) == number
