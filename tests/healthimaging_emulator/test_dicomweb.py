"""DICOMweb from end to end of the emulator.

healthimaging_emulator/dicomweb.py, healthimaging_emulator/errors.py, store_dicom.py, dicomweb_search.py,
dicomweb_retrieve.py, dicom_json.py, frames.py, multipart.py and instance_files.py.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthimaging_emulator.errors import AnswerLost
from healthimaging_emulator.multipart import MalformedMultipartError, build, media_type, parts
from tests.testkit.emulator_bench import Bench, dataset_of, encoded, part10

STORED, FAILED = "00081199", "00081198"
SERIES = "/studies/1.2.3/series/1.2.3.1"


def references(answer: dict[str, Any], tag: str) -> list[str]:
    """SOP Instance UIDs of one sequence of the answer."""
    return [each["00081155"]["Value"][0] for each in answer.get(tag, {}).get("Value", [])]


def values(items: list[dict[str, Any]], tag: str) -> list[Any]:
    return [each[tag]["Value"][0] for each in items]


def test_what_is_stored_is_answered_by_reference_and_found_at_once() -> None:
    bench = Bench()
    status, answer = bench.store(part10(1), part10(2))
    assert status == 200
    assert references(answer, STORED) == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
    assert FAILED not in answer
    first = answer[STORED]["Value"][0]
    assert first["00081150"] == {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]}
    assert first["00081190"]["Value"][0].endswith(f"/datastore/{bench.datastore_id}{SERIES}/instances/1.2.3.1.1.1")
    assert [each["SOPInstanceUID"] for each in bench.instances()] == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
    status, found = bench.dicomweb("GET", f"{SERIES}/instances")
    assert (status, values(found, "00080018")) == (200, ["1.2.3.1.1.1", "1.2.3.1.1.2"])


def test_one_instance_comes_as_application_dicom() -> None:
    bench = Bench()
    status, answer = bench.dicomweb("POST", "/studies", part10(7), "application/dicom")
    assert (status, references(answer, STORED)) == (200, ["1.2.3.1.1.7"])


def test_jobs_and_requests_fill_the_same_primary_image_set() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    bench.run()
    bench.store(part10(2))
    assert len({each["imageSetId"] for each in bench.instances()}) == 1
    bench.wait(0)
    assert bench.event_types()[-1] == "Image Set Updated"


def test_a_study_request_refuses_what_is_of_another_study() -> None:
    bench = Bench()
    status, answer = bench.store(part10(1), part10(2, StudyInstanceUID="1.9"), path="/studies/1.2.3")
    assert (status, references(answer, STORED), references(answer, FAILED)) == (202, ["1.2.3.1.1.1"], ["1.2.3.1.1.2"])
    assert answer[FAILED]["Value"][0]["00081197"]["Value"] == [0xA900]


def test_nothing_stored_is_a_conflict_and_what_cannot_be_read_has_no_name() -> None:
    bench = Bench()
    status, answer = bench.store(b"no DICOM at all")
    assert status == 409
    assert answer[FAILED]["Value"] == [
        {"00081150": {"vr": "UI"}, "00081155": {"vr": "UI"}, "00081197": {"vr": "US", "Value": [0xC000]}}
    ]
    assert not bench.instances()


@pytest.mark.parametrize(
    ("content_type", "body", "word"),
    [
        ("", b"x", "Content-Type"),
        ("application/json", b"{}", "Content-Type"),
        ("multipart/related", b"x", "boundary"),
        ("multipart/related; boundary=b", b"", "not in the body"),
        ("multipart/related; boundary=b", b"--b--", "no instance"),
        ("multipart/related; boundary=b", b"--b\r\n\r\nx", "closing delimiter"),
        ("multipart/related; boundary=b", b"--bx\r\n\r\nx\r\n--b--", "line break"),
        ("multipart/related; boundary=b", b"--b\r\nA: b", "without an end"),
    ],
)
def test_a_body_that_is_none_is_a_validation_exception(content_type: str, body: bytes, word: str) -> None:
    bench = Bench()
    status, answer = bench.dicomweb("POST", "/studies", body, content_type)
    assert status == 400
    assert word in answer["message"]


def test_more_than_a_request_may_hold_is_refused() -> None:
    bench = Bench({"maximum_bytes_per_store": 1000})
    status, _ = bench.store(part10(1), part10(2))
    assert status == 400
    assert not bench.instances()


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_every_part_comes_back_as_it_went_in(contents: list[bytes]) -> None:
    content_type, body = build((("Content-Type: application/dicom", each) for each in contents), "application/dicom")
    kind, parameters = media_type(content_type)
    assert (kind, parameters["type"]) == ("multipart/related", "application/dicom")
    assert [bytes(each) for each in parts(body, parameters["boundary"])] == contents


@given(st.binary(max_size=300))
def test_any_bytes_are_parts_or_malformed(body: bytes) -> None:
    try:
        assert all(len(each) <= len(body) for each in parts(b"--b" + body, "b"))
    except MalformedMultipartError as error:
        assert str(error)


def test_a_conflicting_instance_is_stored_where_searches_do_not_look() -> None:
    bench = Bench()
    bench.store(part10(1))
    status, answer = bench.store(part10(2, PatientID="P2"))
    assert (status, references(answer, STORED)) == (200, ["1.2.3.1.1.2"])
    assert [each["isPrimary"] for each in bench.instances()] == [True, False]
    _, found = bench.dicomweb("GET", "/instances")
    assert values(found, "00080018") == ["1.2.3.1.1.1"]


# Path and query, and what is found in a store of two studies (1.2.3 with three instances in two series, 1.2.4).
SEARCHES: dict[str, tuple[str, list[str]]] = {
    "/studies": ("0020000D", ["1.2.4", "1.2.3"]),
    "/studies?PatientID=P1": ("0020000D", ["1.2.3"]),
    "/studies?00100020=P1": ("0020000D", ["1.2.3"]),
    "/studies?PatientName=Doe*": ("0020000D", ["1.2.3"]),
    "/studies?PatientName=jan&fuzzymatching=true": ("0020000D", ["1.2.3"]),
    "/studies?PatientName=an&fuzzymatching=true": ("0020000D", []),
    "/studies?StudyDate=20261101-20261130": ("0020000D", ["1.2.3"]),
    "/studies?StudyDate=-20261101": ("0020000D", ["1.2.4"]),
    "/studies?StudyDate=20261119-": ("0020000D", []),
    "/studies?ModalitiesInStudy=MR": ("0020000D", ["1.2.3"]),
    "/studies?AccessionNumber=A?": ("0020000D", ["1.2.4", "1.2.3"]),
    "/studies?StudyInstanceUID=1.2.*": ("0020000D", []),
    "/studies?limit=1": ("0020000D", ["1.2.4"]),
    "/studies?limit=1&offset=1": ("0020000D", ["1.2.3"]),
    "/studies?offset=2": ("0020000D", []),
    "/series": ("0020000E", ["1.2.3.1", "1.2.4.1", "1.2.3.2"]),
    "/studies/1.2.3/series?Modality=MR": ("0020000E", ["1.2.3.2"]),
    "/instances?SOPInstanceUID=1.2.3.1.1.2": ("00080018", ["1.2.3.1.1.2"]),
    "/instances?StudyInstanceUID=1.2.4": ("00080018", ["1.2.4.1.1"]),
    "/studies/1.2.3/instances": ("00080018", ["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.2.1"]),
    "/studies/1.2.3/series/1.2.3.1/instances?SOPInstanceUID=1.2.3.1.1.1": ("00080018", ["1.2.3.1.1.1"]),
    "/studies/1.2.4/series/1.2.3.1/instances": ("00080018", []),
}


@pytest.fixture(scope="module")
def two_studies() -> Bench:
    bench = Bench()
    bench.store(part10(1), part10(2))
    bench.store(part10(1, SOPInstanceUID="1.2.3.2.1", SeriesInstanceUID="1.2.3.2", SeriesNumber="2", Modality="MR"))
    bench.wait(60)
    other = {"StudyInstanceUID": "1.2.4", "SeriesInstanceUID": "1.2.4.1", "SOPInstanceUID": "1.2.4.1.1"}
    bench.store(part10(1, **other, PatientID="P9", PatientName="Roe^Rick", StudyDate="20251231"))
    return bench


@pytest.mark.parametrize("query", SEARCHES)
def test_searches(two_studies: Bench, query: str) -> None:
    tag, expected = SEARCHES[query]
    status, found = two_studies.dicomweb("GET", query)
    assert status == (200 if expected else 204)
    assert (values(found, tag) if expected else found) == (expected or b"")


@pytest.mark.parametrize(
    "query", ["PatientWeight=1", "limit=1001", "limit=-1", "offset=1000001", "SeriesNumber=1", "limit=²"]
)
def test_a_query_that_is_not_allowed_is_a_validation_exception(two_studies: Bench, query: str) -> None:
    status, answer = two_studies.dicomweb("GET", f"/studies?{query}")
    assert status == 400
    assert query.partition("=")[0] in answer["message"]


def test_a_study_is_summed_up(two_studies: Bench) -> None:
    _, (study,) = two_studies.dicomweb("GET", "/studies?StudyInstanceUID=1.2.3")
    assert study["00201206"] == {"vr": "IS", "Value": [2]}
    assert study["00201208"] == {"vr": "IS", "Value": [3]}
    assert study["00080061"]["Value"] == ["CT", "MR"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]


def test_a_search_that_finds_nothing_may_also_answer_an_empty_list() -> None:
    bench = Bench({"search_empty_status": 200})
    assert bench.dicomweb("GET", "/studies") == (200, b"[]")


def test_a_warned_instance_is_stored_and_its_code_is_in_answer_search_and_job() -> None:
    bench = Bench({"warned_instances": {"1.2.3.1.1.1": 45330}})
    status, answer = bench.store(part10(1), part10(2))
    assert status == 202
    assert [each.get("00081196", {}).get("Value") for each in answer[STORED]["Value"]] == [[45330], None]
    _, plain = bench.dicomweb("GET", "/instances?SOPInstanceUID=1.2.3.1.1.1")
    _, asked = bench.dicomweb("GET", "/instances?SOPInstanceUID=1.2.3.1.1.1&includefield=WarningReason")
    assert "00081196" not in plain[0]
    assert asked[0]["00081196"] == {"vr": "US", "Value": [45330]}
    bench.put("b/1.dcm", part10(1))
    (line,) = bench.lines(bench.run(), "warning")
    assert line["importResponse"]["warnings"][0]["type"] == "InvalidOffsetTable"


def test_a_mixed_outcome_may_also_be_200_and_name_the_failed_by_instance() -> None:
    bench = Bench(
        {"store_refusals": {"1.2.3.1.1.2": 0x0110}, "store_mixed_status": 200, "store_failures_by": "instance"}
    )
    status, answer = bench.store(part10(1), part10(2))
    assert (status, references(answer, STORED)) == (200, ["1.2.3.1.1.1"])
    (failed,) = answer[FAILED]["Value"]
    assert (failed["00080018"]["Value"], failed["00081197"]["Value"]) == (["1.2.3.1.1.2"], [0x0110])


def test_half_refused() -> None:
    bench = Bench({"store_refused_percent": 50})
    _, answer = bench.store(*(part10(number) for number in range(1, 101)))
    stored, failed = references(answer, STORED), references(answer, FAILED)
    assert len(stored) + len(failed) == 100
    assert 25 < len(stored) < 75
    assert sorted(each["SOPInstanceUID"] for each in bench.instances()) == sorted(stored)


def test_a_throttle_storm_and_a_brownout() -> None:
    bench = Bench({"rates": {"StoreDICOM": [0, 1]}})
    assert [bench.store(part10(1))[0] for _ in range(3)] == [200, 429, 429]
    bench.change(rates={"StoreDICOM": None}, error_percents={"StoreDICOM": ["InternalServerException", 50]})
    statuses = [bench.store(part10(1))[0] for _ in range(100)]
    assert 25 < statuses.count(500) < 75
    assert set(statuses) == {200, 500}


def test_an_answer_lost_after_the_effect() -> None:
    bench = Bench({"lost_answers": {"StoreDICOM": 1}, "errors_after": {"StoreDICOM": ["InternalServerException"]}})
    assert bench.store(part10(1))[0] == 500
    with pytest.raises(AnswerLost):
        bench.store(part10(2))
    assert bench.store(part10(3))[0] == 200
    assert len(bench.instances()) == 3


def test_a_request_takes_its_time_and_the_index_lags() -> None:
    bench = Bench({"store_seconds": 1, "store_bytes_per_second": 100, "search_lag_seconds": 30})
    body, before = part10(1), bench.now
    bench.dicomweb("POST", "/studies", body, "application/dicom")
    assert bench.now - before == pytest.approx(1 + len(body) / 100)
    bench.wait(29)
    assert bench.dicomweb("GET", "/instances")[0] == 204
    assert bench.client.search_image_sets(datastoreId=bench.datastore_id)["imageSetsMetadataSummaries"] == []
    bench.wait(1)
    assert bench.dicomweb("GET", "/instances")[0] == 200
    assert len(bench.client.search_image_sets(datastoreId=bench.datastore_id)["imageSetsMetadataSummaries"]) == 1


def test_a_job_takes_its_time_by_the_file_and_is_found_when_it_ends() -> None:
    bench = Bench({"in_progress_seconds": 60, "in_progress_seconds_per_file": 5})
    bench.put("b/1.dcm", part10(1))
    bench.put("b/2.dcm", part10(2))
    job_id = bench.start()
    bench.wait(69)
    assert (bench.job(job_id)["jobStatus"], bench.dicomweb("GET", "/instances")[0]) == ("IN_PROGRESS", 204)
    bench.wait(1)
    assert (bench.job(job_id)["jobStatus"], bench.dicomweb("GET", "/instances")[0]) == ("COMPLETED", 200)


def test_an_instance_comes_back_byte_for_byte_and_its_frames_match_the_checksums() -> None:
    bench = Bench()
    pixels = bytes(range(128))
    data = part10(1, Rows=8, Columns=8, BitsAllocated=8, SamplesPerPixel=1, NumberOfFrames="2", PixelData=pixels)
    bench.store(data)
    status, body = bench.dicomweb("GET", f"{SERIES}/instances/1.2.3.1.1.1")
    assert (status, body) == (200, data)
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    status, body = bench.dicomweb("GET", f"{SERIES}/instances/1.2.3.1.1.1/frames/2,1", accept=accept)
    boundary = body[2 : body.index(b"\r\n")].decode()
    frames = [bytes(each) for each in parts(body, boundary)]
    assert frames == [pixels[64:], pixels[:64]]
    document = metadata(bench, bench.instances()[0]["imageSetId"])
    described = document["Study"]["Series"]["1.2.3.1"]["Instances"]["1.2.3.1.1.1"]["ImageFrames"]
    checksums = [each["PixelDataChecksumFromBaseToFullResolution"][-1]["Checksum"] for each in described]
    assert checksums == [zlib.crc32(frames[1]), zlib.crc32(frames[0])]


def metadata(bench: Bench, image_set_id: str) -> dict[str, Any]:
    answer = bench.client.get_image_set_metadata(datastoreId=bench.datastore_id, imageSetId=image_set_id)
    document: dict[str, Any] = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
    return document


def test_a_non_primary_instance_is_retrieved_by_its_image_set_only() -> None:
    bench = Bench()
    bench.store(part10(1))
    other = part10(2, PatientID="P2")
    bench.store(other)
    image_set_id = bench.instances()[1]["imageSetId"]
    assert bench.dicomweb("GET", f"{SERIES}/instances/1.2.3.1.1.2")[0] == 404
    assert bench.dicomweb("GET", f"{SERIES}/instances/1.2.3.1.1.2?imageSetId={image_set_id}") == (200, other)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/instances/1.2.3.1.1.1/frames/2", 404),
        ("/instances/1.2.3.1.1.1/frames/0", 400),
        ("/instances/1.2.3.1.1.1/frames/1,,1", 400),
        ("/instances/1.2.3.1.1.2/frames/1", 406),
        ("/instances/1.2.3.1.1.9", 404),
        ("/instances/1.2.3.1.1.1/metadata", 501),
        ("/metadata", 501),
    ],
)
def test_what_cannot_be_retrieved(path: str, status: int) -> None:
    bench = Bench({"warned_instances": {"1.2.3.1.1.2": 45330}})
    bench.store(part10(1, Rows=8, Columns=8, BitsAllocated=8), part10(2, Rows=8, Columns=8, BitsAllocated=8))
    assert bench.dicomweb("GET", f"{SERIES}{path}")[0] == status


def test_without_kept_bytes_retrieving_says_why_not() -> None:
    bench = Bench({"keep_bytes": False})
    bench.store(part10(1))
    status, answer = bench.dicomweb("GET", f"{SERIES}/instances/1.2.3.1.1.1")
    assert status == 501
    assert "keep_bytes" in answer["message"]


def test_compressed_frames_come_as_they_are_or_not_at_all() -> None:
    bench = Bench()
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    dataset = dataset_of(1, Rows=8, Columns=8, BitsAllocated=8, PixelData=encapsulate([b"\xff\xd8jpeg\xff\xd9"]))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset["PixelData"].VR = "OB"
    bench.store(encoded(dataset))
    path = f"{SERIES}/instances/1.2.3.1.1.1/frames/1"
    assert bench.dicomweb("GET", path)[0] == 406
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    status, body = bench.dicomweb("GET", path, accept=accept)
    assert status == 200
    assert b"\xff\xd8jpeg\xff\xd9" in body


def test_an_unknown_data_store_and_a_chunk_signed_body_are_refused() -> None:
    bench = Bench()
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/x"}
    answer = bench.api.answer("GET", f"/datastore/{'0' * 32}/studies", headers, b"")
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (404, "ResourceNotFoundException")
    chunked = headers | {"X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    assert bench.api.answer("POST", f"/datastore/{bench.datastore_id}/studies", chunked, b"").status == 501
    assert bench.api.answer("GET", f"/datastore/{bench.datastore_id}/studies", {}, b"").status == 403


def test_each_action_is_permitted_by_its_own_name() -> None:
    asked: list[tuple[str, str]] = []

    def authorize(access_key_id: str, action: str, resource_arn: str, context: Any) -> bool:
        asked.append((action.removeprefix("medical-imaging:"), resource_arn.rpartition("/")[2]))
        return action != "medical-imaging:StoreDICOMStudy"

    bench = Bench(authorize=authorize)
    asked.clear()
    assert bench.store(part10(1))[0] == 200
    assert bench.store(part10(1), path="/studies/1.2.3")[0] == 403
    for path in ("/studies", "/series", "/instances", f"{SERIES}/instances/1.2.3.1.1.1"):
        bench.dicomweb("GET", path)
    assert [action for action, _ in asked] == [
        *("StoreDICOM", "StoreDICOMStudy", "SearchDICOMStudies", "SearchDICOMSeries"),
        *("SearchDICOMInstances", "GetDICOMInstance"),
    ]
    assert {where for _, where in asked} == {bench.datastore_id}
