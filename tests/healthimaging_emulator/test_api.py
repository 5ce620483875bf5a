"""Requests and answers of the HealthImaging emulator, by botocore's service model.

Covers admin_api.py, datastores.py, frames.py, image_set_operations.py, image_sets.py, metadata.py, model.py,
search.py, throttle.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from tests.testkit.emulator_bench import MODEL, ROLE, Bench, client_of, part10

UNKNOWN_ID = "0" * 32
# What the model forbids, and the word of the answer that names it. botocore itself lets all of these out.
INVALID = {
    "a bucket name that is none": ({"inputS3Uri": "s3://Landing/"}, "inputS3Uri"),
    "no URI at all": ({"outputS3Uri": "out/"}, "outputS3Uri"),
    "a URI of 1,025 characters": ({"inputS3Uri": "s3://landing/" + "x" * 1012}, "length less than or equal to 1024"),
    "a role that is none": ({"dataAccessRoleArn": "arn:aws:iam::1:role/x"}, "dataAccessRoleArn"),
    "a job name with a space": ({"jobName": "a b"}, "jobName"),
    "a job name of 65 characters": ({"jobName": "x" * 65}, "length less than or equal to 64"),
    "a client token with a slash": ({"clientToken": "a/b"}, "clientToken"),
    "an owner account of letters": ({"inputOwnerAccountId": "abcdefghijkl"}, "inputOwnerAccountId"),
    "an owner account of 13 digits": ({"inputOwnerAccountId": "1" * 13}, "inputOwnerAccountId"),
    "a data store id of 3 characters": ({"datastoreId": "abc"}, "datastoreId"),
}


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("name", INVALID)
def test_a_request_that_the_model_forbids_is_a_validation_exception(name: str) -> None:
    bench = Bench()
    parameters, word = INVALID[name]
    with pytest.raises(ClientError, match=word) as error:
        bench.start(**parameters)
    assert refusal(error) == ("ValidationException", 400)
    assert not bench.service.state.datastores[bench.datastore_id].jobs


@pytest.mark.parametrize("missing", ["dataAccessRoleArn", "clientToken", "inputS3Uri", "outputS3Uri"])
def test_a_required_member_that_is_missing_is_a_validation_exception(missing: str) -> None:
    bench = Bench()
    request = {
        "dataAccessRoleArn": ROLE,
        "clientToken": "t",
        "inputS3Uri": "s3://landing/b/",
        "outputS3Uri": "s3://output/",
    }
    del request[missing]
    answer = raw(bench, "POST", f"/startDICOMImportJob/datastore/{bench.datastore_id}", json.dumps(request).encode())
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert f"Value null at '{missing}'" in json.loads(answer.body)["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"inputS3Uri": 5}', b"\xff"])
def test_a_body_that_is_no_such_object_is_a_validation_exception(body: bytes) -> None:
    bench = Bench()
    answer = raw(bench, "POST", f"/startDICOMImportJob/datastore/{bench.datastore_id}", body)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")


def raw(bench: Bench, method: str, target: str, body: bytes = b"") -> Any:
    return bench.api.answer(method, target, {"Authorization": "AWS4-HMAC-SHA256 Credential=KEY/x"}, body)


def test_a_sensitive_value_is_not_repeated() -> None:
    bench = Bench()
    filters = [{"operator": "EQUAL", "values": [{"DICOMStudyInstanceUID": "not-a-uid"}]}]
    with pytest.raises(ClientError, match="DICOMStudyInstanceUID") as error:
        bench.client.search_image_sets(datastoreId=bench.datastore_id, searchCriteria={"filters": filters})
    assert "not-a-uid" not in str(error.value)


def calls(bench: Bench, job_id: str, image_set_id: str) -> dict[str, Mapping[str, Any]]:
    image_set = {"datastoreId": bench.datastore_id, "imageSetId": image_set_id}
    return {
        "get_datastore": {"datastoreId": bench.datastore_id},
        "list_datastores": {"datastoreStatus": "ACTIVE"},
        "get_dicom_import_job": {"datastoreId": bench.datastore_id, "jobId": job_id},
        "list_dicom_import_jobs": {"datastoreId": bench.datastore_id, "jobStatus": "COMPLETED", "maxResults": 50},
        "search_image_sets": {"datastoreId": bench.datastore_id},
        "get_image_set": image_set,
        "list_image_set_versions": image_set,
        "get_image_set_metadata": image_set | {"versionId": "1"},
    }


def test_every_answer_satisfies_the_service_model() -> None:
    """The bench holds every answer against the model; here each operation is called once with something to tell."""
    bench = Bench()
    bench.put("b/1.dcm", part10())
    job = bench.run()
    image_set_id = bench.manifest(job)["imageSetsSummary"][0]["imageSetId"]
    for name, parameters in calls(bench, job["jobId"], image_set_id).items():
        answer = getattr(bench.client, name)(**parameters)
        assert len(answer) > 1, name
    assert bench.client.list_datastores()["datastoreSummaries"][0]["datastoreName"] == "images"


def test_an_answer_outside_the_model_would_be_noticed() -> None:
    bench = Bench()

    def altered(*request: Any) -> Any:
        answer = bench.api.answer(*request)
        document = json.loads(answer.body)
        document["datastoreProperties"]["datastoreStatus"] = "READY"
        return type(answer)(answer.status, json.dumps(document).encode())

    with pytest.raises(AssertionError, match="READY"):
        client_of(altered).get_datastore(datastoreId=bench.datastore_id)


def test_what_is_not_emulated_says_so_by_name() -> None:
    operations = {route.name: route for route in MODEL.routes}
    bench = Bench()
    absent = set(operations) - set(bench.service.operations)
    assert {"CopyImageSet", "UpdateImageSetMetadata", "GetImageFrame", "TagResource"} <= absent
    for name in absent:
        path = operations[name].operation.http["requestUri"].replace("{", "").replace("}", "")
        answer = raw(bench, operations[name].method, path, b"{}")
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (501, "NotImplementedException")
        assert name in json.loads(answer.body)["message"]


def test_the_image_set_calls_work_behind_the_host_prefix() -> None:
    """botocore puts `runtime-` before the host; the bench's client has not switched that off."""
    bench = Bench()
    assert bench.client.search_image_sets(datastoreId=bench.datastore_id)["imageSetsMetadataSummaries"] == []


@pytest.mark.parametrize(
    ("call", "parameters"),
    [
        ("get_datastore", {}),
        ("list_dicom_import_jobs", {}),
        ("get_dicom_import_job", {"jobId": "a"}),
        ("search_image_sets", {}),
        ("get_image_set", {"imageSetId": UNKNOWN_ID}),
    ],
)
def test_a_data_store_that_is_not_there_is_not_found(call: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as error:
        getattr(Bench().client, call)(datastoreId=UNKNOWN_ID, **parameters)
    assert refusal(error) == ("ResourceNotFoundException", 404)


def test_a_path_without_operation_is_a_404() -> None:
    assert raw(Bench(), "GET", "/nothing/here").status == 404


def test_a_request_without_signature_is_refused() -> None:
    answer = Bench().api.answer("GET", "/datastore", {}, b"")
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "MissingAuthenticationTokenException")


PERMISSIONS = {
    "get_dicom_import_job": "medical-imaging:GetDICOMImportJob",
    "search_image_sets": "medical-imaging:SearchImageSets",
    "start_dicom_import_job": "medical-imaging:StartDICOMImportJob",
}


def test_the_caller_is_asked_for_the_action_the_resource_and_the_role_that_it_passes() -> None:
    asked: list[tuple[str, str, str, dict[str, str]]] = []

    def authorize(access_key_id: str, action: str, resource_arn: str, context: Mapping[str, str]) -> bool:
        asked.append((access_key_id, action, resource_arn, dict(context)))
        return True

    bench = Bench(authorize=authorize)
    bench.start()
    bench.client.get_datastore(datastoreId=bench.datastore_id)
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{bench.datastore_id}"
    assert asked == [
        ("AKIAEXAMPLE", "medical-imaging:CreateDatastore", "*", {}),
        ("AKIAEXAMPLE", "medical-imaging:StartDICOMImportJob", arn, {}),
        ("AKIAEXAMPLE", "iam:PassRole", ROLE, {"iam:PassedToService": "medical-imaging.amazonaws.com"}),
        ("AKIAEXAMPLE", "medical-imaging:GetDatastore", arn, {}),
    ]


@pytest.mark.parametrize("denied", ["medical-imaging:StartDICOMImportJob", "iam:PassRole"])
def test_a_caller_without_permission_is_denied(denied: str) -> None:
    bench = Bench(authorize=lambda key, action, resource, context: action != denied)
    with pytest.raises(ClientError, match=denied) as error:
        bench.start()
    assert refusal(error) == ("AccessDeniedException", 403)
    assert not bench.service.state.datastores[bench.datastore_id].jobs


RATES = {
    "StartDICOMImportJob": (1, 2),
    "GetDICOMImportJob": (25, 50),
    "ListDICOMImportJobs": (10, 20),
    "GetDatastore": (10, 20),
    "SearchImageSets": (25, 50),
}


@pytest.mark.parametrize("operation", RATES)
def test_an_operation_is_throttled_at_its_documented_rate_and_burst(operation: str) -> None:
    bench = Bench()
    per_second, burst = RATES[operation]
    job_id = bench.start()
    bench.wait(10)

    def admitted() -> int:
        """How many of many requests pass at this moment."""
        count = 0
        for attempt in range(burst + 5):
            try:
                bench.client._make_api_call(operation, request_for(bench, operation, job_id, attempt))
                count += 1
            except ClientError as error:
                answer = error.response
                assert answer["Error"]["Code"] == "ThrottlingException"
                assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
        return count

    assert admitted() == burst
    bench.wait(1)
    assert admitted() == per_second
    bench.change(rates={operation: [1000, 1000]})
    bench.wait(1)
    assert admitted() == burst + 5
    bench.change(throttling=False)
    assert admitted() == burst + 5


def request_for(bench: Bench, operation: str, job_id: str, attempt: int) -> dict[str, Any]:
    request: dict[str, Any] = {"datastoreId": bench.datastore_id}
    if operation == "GetDICOMImportJob":
        request["jobId"] = job_id
    if operation == "StartDICOMImportJob":
        request |= {"dataAccessRoleArn": ROLE, "inputS3Uri": "s3://landing/b/", "outputS3Uri": "s3://output/r"}
        request["clientToken"] = f"{bench.now:.0f}-{attempt}"
    return request


STATUSES = {
    "ThrottlingException": 429,
    "ServiceQuotaExceededException": 402,
    "InternalServerException": 500,
    "ConflictException": 409,
    "ValidationException": 400,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
}


@pytest.mark.parametrize("table", ["errors_before", "errors_after"])
def test_the_next_calls_fail_as_told_before_or_after_they_took_effect(table: str) -> None:
    bench = Bench({"throttling": False, table: {"StartDICOMImportJob": list(STATUSES)}})
    for number, (code, status) in enumerate(STATUSES.items()):
        with pytest.raises(ClientError) as error:
            bench.start(clientToken=f"t{number}")
        assert refusal(error) == (code, status)
    jobs = len(bench.service.state.datastores[bench.datastore_id].jobs)
    assert jobs == (0 if table == "errors_before" else len(STATUSES))
    bench.start()


def test_lists_come_in_pages() -> None:
    bench = Bench({"throttling": False})
    job_ids = [bench.start(clientToken=f"t{number}") for number in range(7)]
    paginator = bench.client.get_paginator("list_dicom_import_jobs")
    pages = list(paginator.paginate(datastoreId=bench.datastore_id, PaginationConfig={"PageSize": 3}))
    assert [len(page["jobSummaries"]) for page in pages] == [3, 3, 1]
    found = [job["jobId"] for page in pages for job in page["jobSummaries"]]
    assert found == job_ids[::-1]
    with pytest.raises(ClientError, match="maxResults"):
        bench.client.list_dicom_import_jobs(datastoreId=bench.datastore_id, maxResults=51)
    with pytest.raises(ClientError, match="nextToken"):
        bench.client.list_dicom_import_jobs(datastoreId=bench.datastore_id, nextToken="x")


def test_a_data_store_is_created_deleted_and_counted() -> None:
    bench = Bench({"throttling": False, "maximum_datastores": 2, "datastore_creation_seconds": 5})
    token = {"clientToken": "once"}
    second = bench.client.create_datastore(datastoreName="second", **token)
    assert second["datastoreStatus"] == "CREATING"
    assert bench.client.create_datastore(datastoreName="second", **token)["datastoreId"] == second["datastoreId"]
    with pytest.raises(ClientError) as error:
        bench.client.create_datastore(datastoreName="third")
    assert refusal(error) == ("ServiceQuotaExceededException", 402)
    with pytest.raises(ClientError, match="CREATING") as error:
        bench.start(datastoreId=second["datastoreId"])
    assert refusal(error) == ("ValidationException", 400)
    bench.wait(5)
    assert bench.client.delete_datastore(datastoreId=second["datastoreId"])["datastoreStatus"] == "DELETING"
    bench.put("b/1.dcm", part10())
    bench.run()
    with pytest.raises(ClientError, match="image sets") as error:
        bench.client.delete_datastore(datastoreId=bench.datastore_id)
    assert refusal(error) == ("ConflictException", 409)


@pytest.mark.parametrize(
    "change",
    [
        {"no_such": 1},
        {"throttling": 1},
        {"manifest_lag_seconds": -1},
        {"maximum_files_per_job": 1.5},
        {"lost_events": "Import Job Completed"},
        {"event_output_s3_uri": "somewhere"},
    ],
)
def test_a_setting_that_is_none_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    bench = Bench()
    before = bench.service.state.settings
    answer = bench.api.answer("POST", "/_emulator/settings", {}, json.dumps(change).encode())
    assert answer.status == 400
    assert next(iter(change)) in json.loads(answer.body)["message"]
    assert bench.service.state.settings == before


def test_the_operations_are_those_of_the_installed_botocore() -> None:
    model = botocore.session.get_session().get_service_model("medical-imaging")
    assert {route.name for route in MODEL.routes} == set(model.operation_names)
