"""Batches of a real process: what repeats and streams make of them. Covers manifests.py, too."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.testkit.raw_sender import RawSender, data_set, store_command
from tests.testkit.receiver_process import running_receiver, wait_for
from tests.testkit.s3_sink import S3Sink

MIB = 1024 * 1024
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700


def bucket_settings(sink: S3Sink, **settings: str) -> dict[str, str]:
    return {"DICOM_BUCKET": "landing", "AWS_ENDPOINT_URL_S3": sink.url, "BATCH_QUIET_SECONDS": "1", **settings}


def manifests_of(sink: S3Sink) -> list[dict[str, Any]]:
    return [json.loads(value) for key, value in sorted(sink.objects.items()) if key.startswith("batches/")]


def counted(manifests: Iterable[dict[str, Any]]) -> list[str]:
    """Keys of all objects that manifests count."""
    keys = []
    for manifest in manifests:
        elsewhere = {key.rsplit("/", 1)[1]: key for key in manifest["elsewhere"]}
        for group in manifest["groups"]:
            for sop in group["SOPInstanceUIDs"]:
                own = f"incoming/{manifest['batch']}/{group['StudyInstanceUID']}/{group['SeriesInstanceUID']}/{sop}.dcm"
                keys.append(elsewhere.get(f"{sop}.dcm", own))
    return keys


def objects_of(sink: S3Sink) -> list[str]:
    return sorted(key for key in sink.objects if key.startswith("incoming/"))


def test_identical_bytes_sent_again_are_acknowledged_and_stored_once(tmp_path: Path) -> None:
    with S3Sink() as sink, running_receiver(tmp_path, **bucket_settings(sink)) as receiver:
        with RawSender(receiver.port) as sender:
            data = data_set("1.2.1", pixels=bytes(1000))
            assert [sender.store("1.2.1", number, data).status for number in range(300)] == [SUCCESS] * 300
            sender.release()
        assert receiver.stop() == 0
        assert len(objects_of(sink)) < 10  # as often as a batch was closed meanwhile, and no more
        assert sorted(counted(manifests_of(sink))) == objects_of(sink)
    repeated = sum(line.get("InstancesRepeated", 0) for line in receiver.log)
    assert repeated == 300 - len(objects_of(sink))


def test_other_bytes_of_one_instance_are_bounded_and_stored_where_they_were_acknowledged(tmp_path: Path) -> None:
    with S3Sink() as sink, running_receiver(tmp_path, **bucket_settings(sink, BATCH_QUIET_SECONDS="30")) as receiver:
        statuses: Counter[int] = Counter()
        with RawSender(receiver.port) as sender:
            for number in range(50):
                statuses[sender.store("1.2.1", number, data_set("1.2.1", pixels=bytes([number]))).status] += 1
            assert sender.store("1.2.2").status == SUCCESS
            sender.release()
        assert receiver.stop() == 0
        assert set(statuses) == {SUCCESS, OUT_OF_RESOURCES}
        assert statuses[SUCCESS] + 1 == len(objects_of(sink)) < 30
        assert sorted(counted(manifests_of(sink))) == objects_of(sink)


def test_large_objects_of_many_associations_share_a_batch(tmp_path: Path) -> None:
    with S3Sink() as sink, running_receiver(tmp_path, **bucket_settings(sink, BATCH_QUIET_SECONDS="30")) as receiver:
        for number in range(8):
            with RawSender(receiver.port) as sender:
                data = data_set(f"1.2.{number}", pixels=bytes(9 * MIB))
                assert sender.store(f"1.2.{number}", data=data).status == SUCCESS
                sender.release()
        assert receiver.stop() == 0
        assert len(objects_of(sink)) == 8
        assert len(manifests_of(sink)) < 8
        assert sorted(counted(manifests_of(sink))) == objects_of(sink)


def test_a_slow_large_object_is_late_and_counted_once(tmp_path: Path) -> None:
    with S3Sink() as sink:
        settings = bucket_settings(sink, BATCH_QUIET_SECONDS="0.2", BATCH_MAX_AGE_SECONDS="1", WORKERS="1")
        with running_receiver(tmp_path, **settings) as receiver:
            with RawSender(receiver.port) as slow, RawSender(receiver.port) as quick:
                slow.send_command(store_command("1.2.1"))
                data = data_set("1.2.1", pixels=bytes(20 * MIB))
                slow.send_data(data[: 18 * MIB], last=False)
                wait_for(lambda: bool(sink.uploads), 10, "the upload")
                assert quick.store("1.2.2").status == SUCCESS
                receiver.await_message("batch closed")
                slow.send_data(data[18 * MIB :])
                assert slow.receive_response().status == SUCCESS
                slow.release()
                quick.release()
            receiver.await_message("batch closed", 2)
            assert receiver.stop() == 0
        first, second = manifests_of(sink)
        [late] = [key for key in objects_of(sink) if key.endswith("/1.2.1.dcm")]
        assert (first["late"], first["elsewhere"], first["instances"]) == ([late], [], 1)
        assert (second["late"], second["elsewhere"], second["instances"]) == ([], [late], 1)
        assert sorted(counted([first, second])) == objects_of(sink)


def test_a_batch_is_closed_soon_after_all_have_released(tmp_path: Path) -> None:
    with S3Sink() as sink, running_receiver(tmp_path, **bucket_settings(sink, BATCH_QUIET_SECONDS="600")) as receiver:
        with RawSender(receiver.port) as one, RawSender(receiver.port) as two:
            assert one.store("1.2.1").status == two.store("1.2.2").status == SUCCESS
            for sender in (one, two):
                sender.release()
        [closed] = receiver.await_message("batch closed")
        assert (closed["closed_by"], closed["instances"]) == ("released", 2)
