"""Image sets as SearchImageSets, GetImageSetMetadata and DeleteImageSet show them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.healthimaging_emulator.test_api import raw, refusal
from tests.testkit.emulator_bench import START, Bench, part10


def test_image_sets_are_found_by_what_they_hold() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    bench.put(
        "b/2.dcm",
        part10(2, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1", PatientID="P2", StudyDate="20270101"),
    )
    bench.run()

    def found(*filters: dict[str, Any], **criteria: Any) -> list[str]:
        answer = bench.client.search_image_sets(
            datastoreId=bench.datastore_id, searchCriteria={"filters": list(filters), **criteria}
        )
        return [each["DICOMTags"]["DICOMPatientId"] for each in answer["imageSetsMetadataSummaries"]]

    def equal(**value: Any) -> dict[str, Any]:
        return {"operator": "EQUAL", "values": [value]}

    def between(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
        return {"operator": "BETWEEN", "values": [low, high]}

    day = {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20261201"}}
    late = {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20991231"}}
    assert found(equal(DICOMStudyInstanceUID="1.2.3")) == ["P1"]
    assert found(equal(DICOMPatientId="P2")) == ["P2"]
    assert found(equal(DICOMPatientId="P2"), equal(DICOMStudyInstanceUID="1.2.3")) == []
    assert found(between(day, late)) == ["P2"]
    assert found(between({"createdAt": START}, {"createdAt": START + 60})) == ["P1", "P2"]
    assert found(between({"createdAt": START + 60}, {"createdAt": START + 90})) == []
    assert found(equal(isPrimary=True), sort={"sortField": "DICOMStudyDateAndTime", "sortOrder": "DESC"}) == [
        "P2",
        "P1",
    ]
    with pytest.raises(ClientError, match="BETWEEN takes two values"):
        found({"operator": "BETWEEN", "values": [day]})
    with pytest.raises(ClientError, match="exactly one of its members"):
        raw_search = {"filters": [{"operator": "EQUAL", "values": [{}]}]}
        unchecked(bench, raw_search)


def unchecked(bench: Bench, criteria: dict[str, Any]) -> None:
    """SearchImageSets as a client sends it that checks no union."""
    answer = raw(bench, "POST", f"/datastore/{bench.datastore_id}/searchImageSets", json.dumps(criteria).encode())
    message = json.loads(answer.body)["message"]
    raise ClientError({"Error": {"Code": answer.headers["x-amzn-ErrorType"], "Message": message}}, "SearchImageSets")


def test_the_metadata_of_a_version_holds_its_instances() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    image_set_id = bench.manifest(bench.run())["imageSetsSummary"][0]["imageSetId"]
    bench.put("b2/2.dcm", part10(2))
    bench.run("b2/")

    def instances(**version: str) -> list[str]:
        answer = bench.client.get_image_set_metadata(datastoreId=bench.datastore_id, imageSetId=image_set_id, **version)
        assert answer["contentEncoding"] == "gzip"
        document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
        return list(document["Study"]["Series"]["1.2.3.1"]["Instances"])

    assert instances(versionId="1") == ["1.2.3.1.1.1"]
    assert instances() == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
    with pytest.raises(ClientError) as error:
        instances(versionId="3")
    assert refusal(error) == ("ResourceNotFoundException", 404)


def test_a_deleted_image_set_is_gone_and_its_series_begins_anew() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10())
    bench.run()
    bench.wait(60)
    [image_set] = bench.client.search_image_sets(datastoreId=bench.datastore_id)["imageSetsMetadataSummaries"]
    place = {"datastoreId": bench.datastore_id, "imageSetId": image_set["imageSetId"]}
    assert bench.client.delete_image_set(**place)["imageSetWorkflowStatus"] == "DELETING"
    assert bench.client.search_image_sets(datastoreId=bench.datastore_id)["imageSetsMetadataSummaries"] == []
    with pytest.raises(ClientError) as error:
        bench.client.get_image_set(**place)
    assert refusal(error) == ("ResourceNotFoundException", 404)
