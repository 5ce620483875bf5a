"""Real senders, a real process: what is acknowledged is stored, byte for byte.

Covers worker.py.
"""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from tests.testkit.raw_sender import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    RawSender,
    associate_request,
    context_item,
    data_set,
    item,
    pdu,
    pdv,
    store_command,
)
from tests.testkit.receiver_process import ReceiverProcess, running_receiver, wait_for
from tests.testkit.s3_sink import Fault, S3Sink

STORESCU = "/usr/bin/storescu"
ECHOSCU = "/usr/bin/echoscu"
MIB = 1024 * 1024


def sample(name: str) -> Path:
    """A file that pydicom ships; nothing is downloaded."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def data_set_of(part10: bytes) -> bytes:
    """What follows the File Meta Information."""
    assert part10[128:132] == b"DICM"
    assert part10[132:140] == b"\x02\0\0\0UL\x04\0"
    return part10[144 + int.from_bytes(part10[140:144], "little") :]


def with_bucket(sink: S3Sink, **settings: str) -> dict[str, str]:
    return {"DICOM_BUCKET": "landing", "AWS_ENDPOINT_URL_S3": sink.url, **settings}


def test_echoscu_and_storescu_are_served_and_files_are_dicom(tmp_path: Path) -> None:
    files = [sample("CT_small.dcm"), sample("MR_small.dcm")]
    with running_receiver(tmp_path) as receiver:
        subprocess.run([ECHOSCU, "127.0.0.1", str(receiver.port)], check=True)
        subprocess.run([STORESCU, "127.0.0.1", str(receiver.port), *map(str, files)], check=True)
        assert receiver.stop() == 0
    stored = receiver.stored()
    for file in files:
        sent = dcmread(file)
        landed = dcmread(tmp_path / next(tmp_path.glob(f"incoming/*/*/*/{sent.SOPInstanceUID}.dcm")))
        # dcmtk drops the trailing padding that one of the files has
        assert all(landed[element.tag] == element for element in sent if element.tag != 0xFFFCFFFC)
        assert landed.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
        assert landed.file_meta.MediaStorageSOPClassUID == sent.SOPClassUID
        assert landed.file_meta.SourceApplicationEntityTitle == "STORESCU"
    assert len(stored) == 2
    [manifest] = receiver.manifests()
    assert manifest["instances"] == 2
    assert manifest["bytes"] == sum(map(len, stored.values()))
    assert manifest["closed_by"] == "stop"
    assert manifest["calling_ae_titles"] == ["STORESCU"]
    assert {study["StudyInstanceUID"] for study in manifest["studies"]} == {
        dcmread(file).StudyInstanceUID for file in files
    }
    assert not any("Doe" in str(line) or "CompressedSamples" in str(line) for line in receiver.log)


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "JPEG2000.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "JPGExtended.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_RLE.dcm",
        "image_dfl.dcm",
        "MR_small_bigendian.dcm",
        "rtplan.dcm",
        "waveform_ecg.dcm",
        "test-SR.dcm",
    ],
)
def test_every_syntax_arrives_as_it_was_sent(shared_receiver: ReceiverProcess, name: str) -> None:
    sent = dcmread(sample(name))
    syntax = sent.file_meta.TransferSyntaxUID
    entity = AE("PYNETDICOM")
    entity.add_requested_context(sent.SOPClassUID, syntax)
    association = entity.associate("127.0.0.1", shared_receiver.port)
    assert association.is_established
    assert association.send_c_store(sent).Status == 0
    association.release()
    stored = shared_receiver.stored()[sent.SOPInstanceUID]
    landed = dcmread(DicomBytesIO(stored))
    assert landed.file_meta.TransferSyntaxUID == syntax
    if syntax != DeflatedExplicitVRLittleEndian:
        encoded = DicomBytesIO()
        encoded.is_little_endian = syntax != ExplicitVRBigEndian
        encoded.is_implicit_VR = syntax == ImplicitVRLittleEndian
        write_dataset(encoded, sent)
        assert data_set_of(stored) == encoded.getvalue()
    assert landed == sent


@pytest.fixture(scope="module")
def shared_receiver(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with running_receiver(tmp_path_factory.mktemp("store")) as receiver:
        yield receiver
        assert receiver.stop() == 0
        assert receiver.other_output == []


def test_any_size_is_stored_whole_small_ones_by_put_large_ones_in_parts(tmp_path: Path) -> None:
    sizes = [0, 2, 100_000, 1_000_000, 8 * MIB - 1000, 8 * MIB, 8 * MIB + 2, 23 * MIB]
    with S3Sink() as sink, running_receiver(tmp_path, **with_bucket(sink)) as receiver:
        sent = {
            f"1.2.{size}": data_set(
                f"1.2.{size}", pixels=bytes(i % 251 for i in range(1000)) * (size // 1000) + b"\x5a" * (size % 1000)
            )
            for size in sizes
        }
        with RawSender(receiver.port) as sender:
            for number, (instance, data) in enumerate(sent.items()):
                response = sender.store(instance, number, data)
                assert (response.status, response.message_id) == (0, number)
                assert data_set_of(sink.instances()[instance]) == data
            sender.release()
        assert receiver.stop() == 0
        assert sink.uploads == {}
        manifests = {key: value for key, value in sink.objects.items() if key.startswith("batches/")}
        assert len(manifests) == 1  # streamed objects share it
    assert receiver.other_output == []


def test_a_data_set_may_be_cut_into_fragments_of_any_size(shared_receiver: ReceiverProcess) -> None:
    data = data_set("1.2.77", pixels=bytes(range(256)))
    command = store_command("1.2.77")
    with RawSender(shared_receiver.port) as sender:
        pieces = b"".join(pdv(1, 1, command[i : i + 1]) for i in range(len(command) - 1)) + pdv(1, 3, command[-1:])
        sender.send(pdu(0x04, pieces))
        for i in range(len(data)):
            sender.send(pdu(0x04, pdv(1, 0, data[i : i + 1]) + pdv(1, 0, b"")))
        sender.send(pdu(0x04, pdv(1, 2, b"")))
        assert sender.receive_response().status == 0
        sender.release()
    assert data_set_of(shared_receiver.stored()["1.2.77"]) == data


def test_an_operations_window_is_used_and_answered_in_the_order_of_completion(tmp_path: Path) -> None:
    def slow_first(method: str, key: str) -> Fault:
        return 1.5 if key.endswith("/1.2.0.dcm") else None

    with S3Sink(slow_first) as sink, running_receiver(tmp_path, **with_bucket(sink)) as receiver:
        window = item(0x53, b"\x00\x00\x00\x03")  # unlimited
        with RawSender(receiver.port, associate=False) as sender:
            sender.send(associate_request(user_items=window))
            pdu_type, body = sender.receive_pdu()
            assert pdu_type == 0x02
            assert item(0x53, b"\x00\x10\x00\x01") in body
            for number in range(16):
                sender.send_command(store_command(f"1.2.{number}", number))
                sender.send_data(data_set(f"1.2.{number}"))
            answered = [sender.receive_response() for _ in range(16)]
            assert [response.status for response in answered] == [0] * 16
            assert answered[-1].message_id == 0
            assert {response.message_id for response in answered} == set(range(16))
            sender.release()
        assert len(sink.instances()) == 16


def test_a_release_waits_for_operations_under_way(tmp_path: Path) -> None:
    with S3Sink(lambda method, key: 0.5) as sink, running_receiver(tmp_path, **with_bucket(sink)) as receiver:
        window = item(0x53, b"\x00\x02\x00\x01")
        with RawSender(receiver.port, user_items=window) as sender:
            for number in range(2):
                sender.send_command(store_command(f"1.2.{number}", number))
                sender.send_data(data_set(f"1.2.{number}"))
            sender.send(pdu(0x05, bytes(4)))
            assert {sender.receive_response().message_id for _ in range(2)} == {0, 1}
            assert sender.receive_pdu()[0] == 0x06


def test_without_a_window_requests_are_served_one_by_one(tmp_path: Path) -> None:
    with S3Sink() as sink:
        under_way = Counter[str]()

        def watch(method: str, key: str) -> Fault:
            under_way["most"] = max(under_way["most"], len(sink.instances()))
            return 0.1

        sink.fault = watch
        with running_receiver(tmp_path, **with_bucket(sink)) as receiver, RawSender(receiver.port) as sender:
            for number in range(5):  # does not wait for the answers, though it should
                sender.send_command(store_command(f"1.2.{number}", number))
                sender.send_data(data_set(f"1.2.{number}"))
            assert [sender.receive_response().message_id for _ in range(5)] == [0, 1, 2, 3, 4]


def test_pynetdicom_negotiates_a_window(shared_receiver: ReceiverProcess) -> None:
    entity = AE()
    entity.add_requested_context(CT_IMAGE_STORAGE)
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 1
    association = entity.associate("127.0.0.1", shared_receiver.port, ext_neg=[window])
    assert association.is_established
    assert association.acceptor.asynchronous_operations == (5, 1)
    association.release()


def test_an_instance_that_comes_twice_goes_to_the_next_batch(tmp_path: Path) -> None:
    with running_receiver(tmp_path) as receiver:
        with RawSender(receiver.port) as sender:
            for number in range(3):
                assert sender.store("1.2.1", number, data_set("1.2.1", pixels=bytes([number]))).status == 0
            assert sender.store("1.2.2", 4).status == 0
            sender.release()
        assert receiver.stop() == 0
        assert [manifest["instances"] for manifest in receiver.manifests()] == [2, 1, 1]
        assert len(list(tmp_path.glob("incoming/*/1.2.3/1.2.3.4/1.2.1.dcm"))) == 3


@pytest.mark.parametrize(
    ("settings", "closed_by"),
    [
        ({"BATCH_QUIET_SECONDS": "0.3"}, "quiet"),
        ({"BATCH_MAX_AGE_SECONDS": "1"}, "age"),
        ({"BATCH_MAX_INSTANCES": "2"}, "instances"),
        ({"BATCH_MAX_BYTES": "1200"}, "bytes"),
    ],
)
def test_batches_are_shared_and_closed_in_time(tmp_path: Path, settings: dict[str, str], closed_by: str) -> None:
    with running_receiver(tmp_path, **settings) as receiver:
        with RawSender(receiver.port) as first, RawSender(receiver.port) as second:
            assert first.store("1.2.1").status == 0
            assert second.store("1.2.2").status == 0
            first.socket.close()  # an abort loses nothing
            if closed_by == "bytes":
                assert second.store("1.2.3").status == 0
            wait_for(receiver.manifests, 10, "a manifest")
        manifest = receiver.manifests()[0]
        assert manifest["closed_by"] == closed_by
        assert manifest["instances"] == 2
        assert receiver.stop() == 0
        prefixes = {path.parts[-4] for path in tmp_path.rglob("*.dcm")}
        assert prefixes == {manifest["batch"] for manifest in receiver.manifests()}


def test_titles_and_sop_classes_narrow_who_may_send_what(tmp_path: Path) -> None:
    settings = {
        "REQUIRE_CALLED_AE_TITLE": "true",
        "REQUIRE_CALLING_AE_TITLE": "CT1, MR1",
        "SUPPORTED_SOP_CLASS_UIDS": CT_IMAGE_STORAGE,
    }
    with running_receiver(tmp_path, **settings) as receiver:
        for called, calling, reason in ((b"OTHER", b"CT1", 7), (b"STORESCP", b"CT2", 3)):
            with RawSender(receiver.port, associate=False) as sender:
                sender.send(associate_request(called=called, calling=calling))
                assert sender.receive_pdu() == (0x03, bytes((0, 1, 1, reason)))
        padded: dict[str, Any] = {"called": b" STORESCP\0", "calling": b"MR1\0\0\0\0"}  # as some devices pad
        contexts = context_item(1, CT_IMAGE_STORAGE, EXPLICIT_LITTLE) + context_item(3, "1.2.3", EXPLICIT_LITTLE)
        with RawSender(receiver.port, associate=False) as sender:
            sender.send(associate_request(contexts=contexts, **padded))
            pdu_type, body = sender.receive_pdu()
            assert pdu_type == 0x02
            assert item(0x21, bytes((3, 0, 3, 0)) + item(0x40, EXPLICIT_LITTLE.encode())) in body
            sender.send_command(store_command("1.2.1", sop_class="1.2.3"))
            sender.send_data(data_set("1.2.1", sop_class="1.2.3"))
            assert sender.receive_response().status == 0x0122
            assert sender.store("1.2.2").status == 0
            sender.release()
        rejections = receiver.await_message("association rejected", 2)
        assert [line["reason"] for line in rejections] == ["CalledAETitleNotRecognized", "CallingAETitleNotRecognized"]
        assert rejections[0]["called_ae_title"] == "OTHER"
        assert rejections[1]["calling_ae_title"] == "CT2"
