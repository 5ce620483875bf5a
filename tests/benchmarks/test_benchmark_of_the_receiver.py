"""The benchmark counts right and computes its table right; how fast anything is, is not asked here."""

import http.client
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest

from benchmarks import data, peers, receive, scu, senders, stores
from benchmarks.data import SMALL
from benchmarks.machine import free_ports
from benchmarks.table import Missing, Row, Target, line, render


def test_the_sink_counts_distinct_whole_objects() -> None:
    with stores.sink() as store:
        connection = http.client.HTTPConnection(urlsplit(store.environment["AWS_ENDPOINT_URL_S3"]).netloc, timeout=10)

        def request(method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
            connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert request("PUT", "/landing/incoming/b/1/2/1.1.dcm", b"x" * 700_000)[0] == 200
        assert request("PUT", "/landing/incoming/b/1/2/1.1.dcm", b"again")[0] == 200
        assert request("PUT", "/landing/incoming/b/1/2/1.2.dcm", b"y", Expect="100-continue")[0] == 200
        assert request("PUT", "/landing/batches/b.json", b"{}")[0] == 200
        assert b"<UploadId>" in request("POST", "/landing/incoming/b/1/2/1.3.dcm?uploads")[1]
        assert request("PUT", "/landing/incoming/b/1/2/1.3.dcm?partNumber=1&uploadId=u", b"z" * 10)[0] == 200
        assert request("PUT", "/landing/incoming/b/1/2/1.4.dcm?partNumber=1&uploadId=u", b"z" * 10)[0] == 200
        assert request("POST", "/landing/incoming/b/1/2/1.3.dcm?uploadId=u", b"<xml/>")[0] == 200
        assert request("DELETE", "/landing/incoming/b/1/2/1.4.dcm?uploadId=u")[0] == 204
        connection.close()
        assert store.stored_uids() == {"1.1", "1.2", "1.3"}


def test_instances_differ_in_their_uid_alone(tmp_path: Path) -> None:
    first, second = (pydicom.dcmread(path) for path in data.files(tmp_path, SMALL, 0, 2))
    assert (first.SOPInstanceUID, second.SOPInstanceUID) == (data.uid(SMALL, 0), data.uid(SMALL, 1))
    assert second.file_meta.MediaStorageSOPInstanceUID == second.SOPInstanceUID
    assert first.PixelData == second.PixelData
    (instance,) = data.instances(SMALL, 1, 1)
    assert instance.sop_instance_uid == second.SOPInstanceUID
    assert instance.length_bytes == sum(map(len, instance.chunks))


def test_a_multi_frame_object_has_the_size_that_was_asked_for() -> None:
    instance = data.multi_frame(7, 4)
    encoded = b"".join(instance.chunks)
    assert len(encoded) == instance.length_bytes
    dataset = pydicom.dcmread(io.BytesIO(encoded), force=True)
    assert len(dataset.PixelData) == 4 << 20 == dataset.NumberOfFrames * dataset.Rows * dataset.Columns * 2


def test_both_senders_count_what_was_acknowledged(tmp_path: Path) -> None:
    with peers.pynetdicom_empty() as receiver:
        files = data.files(tmp_path, SMALL, 0, 6)
        assert senders.storescu(receiver.port, [files[:3], files[3:]], nodelay=True).acknowledged == 6
        sent = senders.at_once(receiver.port, [data.instances(SMALL, 0, 2), data.instances(SMALL, 2, 2)])
        assert sent.uids == {data.uid(SMALL, number) for number in range(4)}
        assert (sent.acknowledged, sent.failures) == (4, ())
        with scu.Association(receiver.port) as association:
            assert association.store_all([data.multi_frame(0, 2)]) == 1
            association.release()


def test_an_end_without_success_counts_for_nothing(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    assert senders.storescu(port, [data.files(tmp_path, SMALL, 0, 2)]).acknowledged == 0
    sent = senders.at_once(port, [data.instances(SMALL, 0, 2)])
    assert (sent.acknowledged, len(sent.failures)) == (0, 1)


@pytest.mark.parametrize("kept", [3 + receive._WARM_UP_INSTANCES - 1, 0])
def test_acknowledged_but_not_stored_fails_a_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    @contextmanager
    def forgetful(folder: Path) -> Iterator[peers.Receiver]:
        with peers.pynetdicom_empty() as receiver:
            yield peers.Receiver(receiver.port, receiver.program, lambda: kept)

    monkeypatch.setattr(receive, "_CACHE", tmp_path)
    scenario = receive.rate(forgetful, receive.Load(SMALL, 3, nodelay=True))
    with pytest.raises(receive.Miscount, match=f"{3 + receive._WARM_UP_INSTANCES} sent, {kept} stored"):
        scenario.run(tmp_path)


def test_our_receiver_is_measured_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_CACHE", tmp_path)
    for server, load in (
        (receive._ours(), receive.Load(SMALL, 20, associations=2)),
        (receive._ours(null=True), receive.Load(SMALL, 20, associations=2)),
        (receive._ours(latency_ms=5), receive.Load(SMALL, 20, window=16)),
    ):
        assert receive.rate(server, load).run(tmp_path)["instances/s"] > 0


def test_ratios_are_medians_of_the_rounds_and_are_held_against_their_targets() -> None:
    # Round by round: 0.5, 45 and 100.
    results = {"we": {"instances/s": [10.0, 900.0, 1000.0]}, "peer": {"instances/s": [20.0, 20.0, 10.0]}}
    row = Row("r", "label", "we", peer="peer", target=Target("≥", 45))
    assert line(row, results) == ("label", "900 instances/s", "20", "45.00", "≥ 45", "yes")
    assert line(Row("r", "label", "we", peer="peer", target=Target("≥", 45.1)), results)[-1] == "NO"
    assert line(Row("r", "label", "we", peer="peer"), results)[-2:] == ("–", "–")
    assert line(Row("r", "label", "we", target=Target("<", 900)), results)[1:] == (
        "900 instances/s",
        "–",
        "–",
        "< 900",
        "NO",
    )


def test_a_row_without_figures_says_why() -> None:
    results: dict[str, dict[str, list[float]] | Missing] = {
        "we": Missing("no quota can be set here"),
        "peer": {"instances/s": [1.0]},
    }
    text = render([Row("r", "label", "we", peer="peer", target=Target("≥", 2))], results)
    assert text.splitlines()[1].endswith("  no quota can be set here")
    assert "yes" not in text


def test_every_row_names_scenarios_that_exist() -> None:
    for row in receive.ROWS:
        assert row.ours in receive.SCENARIOS
        assert row.peer is None or row.peer in receive.SCENARIOS
