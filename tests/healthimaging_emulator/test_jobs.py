"""Import jobs of the HealthImaging emulator: life, quotas, output, image sets, events, on a virtual clock.

Covers events.py, import_jobs.py, scheduler.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testkit.emulator_bench import Bench, dataset_of, encoded, part10

JOB_EVENTS = ["Import Job Submitted", "Import Job In Progress", "Import Job Completed"]


def job_events(bench: Bench) -> list[str]:
    return [name for name in bench.event_types() if name.startswith("Import Job")]


def opaque(number: int) -> bytes:
    """A file in a transfer syntax that HealthImaging does not know."""
    dataset = dataset_of(number)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.113619.5.2.99"
    return encoded(dataset, implicit_vr=False, little_endian=True)


def test_a_job_goes_its_way_in_its_own_time() -> None:
    bench = Bench({"submitted_seconds": 10, "in_progress_seconds": 30})
    bench.put("b/1.dcm", part10())
    job_id = bench.start(jobName="batch")
    seen = []
    for seconds in (0, 9, 2, 28, 2):
        bench.wait(seconds)
        seen.append(bench.job(job_id)["jobStatus"])
    assert seen == ["SUBMITTED", "SUBMITTED", "IN_PROGRESS", "IN_PROGRESS", "COMPLETED"]
    assert job_events(bench) == JOB_EVENTS
    job = bench.job(job_id)
    assert (job["endedAt"] - job["submittedAt"]).total_seconds() == 40
    assert job["jobName"] == "batch"


def mixed_job() -> tuple[Bench, dict[str, Any]]:
    """A job over two good files, one with a warning and three that are refused."""
    bench = Bench()
    bench.put("b/good.dcm", part10(1))
    bench.put("b/deep/er/good.dcm", part10(2))
    bench.put("b/text.txt", b"no image " * 40)
    bench.put("b/cut.dcm", part10(3)[:-1])
    bench.put("b/empty.dcm", b"")
    bench.put("b/opaque.dcm", opaque(4))
    return bench, bench.run()


def test_the_output_stands_in_the_documented_layout() -> None:
    bench, job = mixed_job()
    folder = f"results/{bench.datastore_id}-DicomImport-{job['jobId']}/"
    assert job["outputS3Uri"] == f"s3://output/{folder}"
    assert {key for bucket, key in bench.s3.objects if bucket == "output"} == {
        f"{folder}job-output-manifest.json",
        f"{folder}SUCCESS/success.ndjson",
        f"{folder}FAILURE/failure.ndjson",
        f"{folder}WARNING/warning.ndjson",
    }
    manifest = bench.manifest(job)
    image_set_id = manifest["imageSetsSummary"][0]["imageSetId"]
    assert manifest == {
        "jobId": job["jobId"],
        "datastoreId": bench.datastore_id,
        "inputS3Uri": "s3://landing/b/",
        "outputS3Uri": f"s3://output/{folder}",
        "successOutputS3Uri": f"s3://output/{folder}SUCCESS/",
        "failureOutputS3Uri": f"s3://output/{folder}FAILURE/",
        "warningsOutputS3Uri": f"s3://output/{folder}WARNING/",
        "numberOfScannedFiles": 6,
        "numberOfImportedFiles": 3,
        "numberOfFilesWithCustomerError": 3,
        "numberOfFilesWithServerError": 0,
        "numberOfGeneratedImageSets": 1,
        "imageSetsSummary": [
            {
                "imageSetId": image_set_id,
                "imageSetVersion": 1,
                "isPrimary": True,
                "numberOfMatchedSOPInstances": 3,
            }
        ],
    }


def test_each_file_stands_in_the_list_that_is_its_own() -> None:
    bench, job = mixed_job()
    image_set_id = bench.manifest(job)["imageSetsSummary"][0]["imageSetId"]
    imported = {"imageSetId": image_set_id, "isPrimary": True}
    keys = ["b/deep/er/good.dcm", "b/good.dcm", "b/opaque.dcm"]
    assert bench.lines(job, "success") == [{"inputFile": key, "importResponse": imported} for key in keys]
    failures = bench.lines(job, "failure")
    assert [line["inputFile"] for line in failures] == ["b/cut.dcm", "b/empty.dcm", "b/text.txt"]
    assert {line["exception"]["exceptionType"] for line in failures} == {"ValidationException"}
    (warning,) = bench.lines(job, "warning")
    assert warning["inputFile"] == "b/opaque.dcm"
    assert warning["importResponse"]["imageSetVersion"] == 1
    assert [each["warning_reason_code"] for each in warning["importResponse"]["warnings"]] == [45344]


def test_warned_files_may_be_told_in_the_warnings_alone() -> None:
    bench = Bench({"warned_in_success": False, "summary_has_version": False})
    bench.put("b/1.dcm", opaque(1))
    job = bench.run()
    assert (len(bench.lines(job, "success")), len(bench.lines(job, "warning"))) == (0, 1)
    assert bench.manifest(job)["numberOfImportedFiles"] == 1
    assert set(bench.manifest(job)["imageSetsSummary"][0]) == {"imageSetId", "numberOfMatchedSOPInstances"}


def test_a_prefix_is_matched_as_text() -> None:
    bench = Bench()
    bench.put("study1/a.dcm", part10(1))
    bench.put("study10/b.dcm", part10(2))
    assert bench.manifest(bench.run("study1"))["numberOfScannedFiles"] == 2
    assert bench.manifest(bench.run("study1/"))["numberOfScannedFiles"] == 1


def test_an_empty_prefix_ends_as_told() -> None:
    bench = Bench()
    job = bench.run("nothing/")
    assert (job["jobStatus"], bench.manifest(job)["numberOfScannedFiles"]) == ("COMPLETED", 0)
    bench.change(when_prefix_empty="fail")
    assert bench.run("nothing/")["jobStatus"] == "FAILED"


LIMITS: dict[str, tuple[dict[str, Any], str]] = {
    "too many files": ({"maximum_files_per_job": 2}, "FILE_COUNTS_LI"),
    "too many bytes": ({"maximum_bytes_per_job": 1000}, "TOTAL_SIZE_BYTES_LI"),
    "too many folders": ({"maximum_folders_per_job": 2}, "FOLDER_COUNTS_LI"),
    "a poisonous object": ({"failing_keys": ["c/3"]}, "Internal error"),
    "bad luck": ({"fail_next_jobs": 1}, "Internal error"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_job_fails_as_a_whole(name: str) -> None:
    settings, message = LIMITS[name]
    bench = Bench(settings)
    for folder in "abc":
        bench.put(f"b/{folder}/3.dcm", part10(ord(folder)))
    job = bench.run()
    assert job["jobStatus"] == "FAILED"
    assert job["message"].startswith(message)
    assert bench.instances() == []
    assert not [key for bucket, key in bench.s3.objects if bucket == "output"]
    assert job_events(bench)[-1] == "Import Job Failed"


def test_five_thousand_files_are_allowed_and_one_more_is_not() -> None:
    bench = Bench()
    body = b"none of these is an image" * 8
    for number in range(5000):
        bench.put(f"b/{number:04}.txt", body)
    assert bench.manifest(bench.run())["numberOfScannedFiles"] == 5000
    bench.put("b/one more.txt", body)
    assert bench.run()["message"].startswith("FILE_COUNTS_LIMIT_EXCEEDED")


def test_a_file_over_its_limit_fails_alone() -> None:
    bench = Bench({"maximum_bytes_per_file": 2000})
    bench.put("b/big.dcm", part10(1, PixelData=bytes(4000)))
    bench.put("b/small.dcm", part10(2))
    job = bench.run()
    assert [line["inputFile"] for line in bench.lines(job, "failure")] == ["b/big.dcm"]
    assert [line["inputFile"] for line in bench.lines(job, "success")] == ["b/small.dcm"]


@pytest.mark.parametrize("denied", ["list", "read", "write"])
def test_a_job_whose_role_may_not_reach_the_buckets_fails(denied: str) -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10())
    bench.s3.denied.add(denied)
    job = bench.run()
    assert (job["jobStatus"], "AccessDenied" in job["message"]) == ("FAILED", True)


def test_an_object_that_vanishes_fails_alone() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    bench.put("b/2.dcm", part10(2))
    bench.s3.vanishing.add("b/1.dcm")
    job = bench.run()
    assert [line["inputFile"] for line in bench.lines(job, "failure")] == ["b/1.dcm"]
    assert bench.manifest(job)["numberOfImportedFiles"] == 1


def test_objects_fail_as_told() -> None:
    bench = Bench({"object_errors": {"server": "InternalServerException", "silent": ""}})
    for number, name in enumerate(("server", "silent", "good")):
        bench.put(f"b/{name}.dcm", part10(number))
    job, manifest = (job := bench.run()), bench.manifest(job)
    assert manifest["numberOfFilesWithServerError"] == 1
    assert (manifest["numberOfScannedFiles"], manifest["numberOfImportedFiles"]) == (3, 1)
    assert [line["inputFile"] for line in bench.lines(job, "failure")] == ["b/server.dcm"]
    bench.change(object_errors={"server": None, "silent": None})
    assert bench.manifest(bench.run())["numberOfImportedFiles"] == 3


def test_a_client_token_starts_one_job() -> None:
    bench = Bench({"throttling": False, "client_token_seconds": 60})
    bench.put("b/1.dcm", part10())
    first = bench.start(clientToken="t")
    assert bench.start(clientToken="t") == first
    bench.wait(30)
    assert bench.start(clientToken="t") == first
    with pytest.raises(ClientError) as error:
        bench.start("other/", clientToken="t")
    assert error.value.response["Error"]["Code"] == "ConflictException"
    bench.wait(30)
    assert bench.start(clientToken="t") != first
    assert len(bench.instances()) == 1


def test_job_101_is_refused_or_waits() -> None:
    bench = Bench({"throttling": False, "in_progress_seconds": 60})
    for _ in range(100):
        bench.start()
    with pytest.raises(ClientError) as error:
        bench.start()
    assert error.value.response["Error"]["Code"] == "ServiceQuotaExceededException"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402
    bench.change(when_jobs_exceeded="queue")
    waiting = bench.start()
    bench.wait(59)
    assert bench.job(waiting)["jobStatus"] == "SUBMITTED"
    bench.wait(1)
    assert bench.job(waiting)["jobStatus"] == "IN_PROGRESS"
    bench.wait(60)
    assert Counter(job.status for job in bench.service.state.datastores[bench.datastore_id].jobs.values()) == {
        "COMPLETED": 101
    }


def test_the_manifest_may_come_late() -> None:
    bench = Bench({"manifest_lag_seconds": 20})
    bench.put("b/1.dcm", part10())
    job = bench.run()
    assert job["jobStatus"] == "COMPLETED"
    with pytest.raises(KeyError):
        bench.manifest(job)
    bench.wait(20)
    assert bench.manifest(job)["numberOfImportedFiles"] == 1


def test_the_events_say_what_the_documentation_says() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10())
    job = bench.run()
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{bench.datastore_id}"
    assert {(event["Source"], *event["Resources"]) for event in bench.events} == {("aws.medical-imaging", arn)}
    assert bench.event_types() == [
        "Data Store Creating",
        "Data Store Created",
        "Import Job Submitted",
        "Import Job In Progress",
        "Image Set Created",
        "Import Job Completed",
    ]
    by_type = {event["DetailType"]: event["Detail"] for event in bench.events}
    assert by_type["Import Job Completed"] == {
        "imagingVersion": "1.0",
        "datastoreId": bench.datastore_id,
        "jobId": job["jobId"],
        "jobName": job["jobName"],
        "jobStatus": "COMPLETED",
        "inputS3Uri": "s3://landing/b/",
        "outputS3Uri": "s3://output/results",
    }
    assert by_type["Image Set Created"] == {
        "imagingVersion": "1.0",
        "datastoreId": bench.datastore_id,
        "imagesetId": bench.instances()[0]["imageSetId"],
        "imageSetVersion": "1",
        "isPrimary": True,
        "imageSetState": "ACTIVE",
        "imageSetWorkflowStatus": "CREATED",
    }
    bench.change(event_output_s3_uri="folder")
    again = bench.run()
    assert bench.events[-1]["Detail"]["outputS3Uri"] == again["outputS3Uri"]
    assert bench.event_types()[-2] == "Image Set Updated"


def test_events_are_lost_doubled_and_late_as_told() -> None:
    bench = Bench({"lost_events": ["Import Job Submitted"], "doubled_events": ["Import Job Completed"]})
    bench.run()
    assert job_events(bench) == ["Import Job In Progress", "Import Job Completed", "Import Job Completed"]
    bench.events.clear()
    bench.change(lost_events=[], doubled_events=[], event_delay_seconds=30)
    bench.run()
    assert bench.events == []
    bench.wait(30)
    assert job_events(bench) == JOB_EVENTS
    bench.events.clear()
    bench.change(lost_events=["*"])
    bench.run()
    bench.wait(60)
    assert bench.events == []


def test_an_instance_that_comes_again_replaces_the_older_one_in_a_new_version() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    bench.put("b/2.dcm", part10(2))
    first = bench.manifest(bench.run())["imageSetsSummary"][0]
    bench.put("again/1.dcm", part10(1, PixelData=bytes(64)))
    second = bench.manifest(bench.run("again/"))["imageSetsSummary"][0]
    assert second["imageSetId"] == first["imageSetId"]
    assert (first["imageSetVersion"], second["imageSetVersion"]) == (1, 2)
    assert second["numberOfMatchedSOPInstances"] == 1
    current = {each["SOPInstanceUID"]: each for each in bench.instances()}
    assert {uid: each["version"] for uid, each in current.items()} == {"1.2.3.1.1.1": 2, "1.2.3.1.1.2": 1}
    assert current["1.2.3.1.1.1"]["sha256"] == hashlib.sha256(bench.s3.objects["landing", "again/1.dcm"]).hexdigest()
    replaced = [each for each in bench.instances(history=True) if each["replacedInVersion"] == 2]
    assert [each["key"] for each in replaced] == ["b/1.dcm"]
    versions = bench.client.list_image_set_versions(datastoreId=bench.datastore_id, imageSetId=first["imageSetId"])
    assert [each["versionId"] for each in versions["imageSetPropertiesList"]] == ["2", "1"]


CONFLICTS: list[dict[str, Any]] = [
    {"PatientID": "P2"},
    {"StudyDate": "20200101"},
    {"AccessionNumber": "A2"},
    {"StudyID": "S2"},
    {"SeriesNumber": "2"},
    {"StudyInstanceUID": "1.2.4"},
    {"SeriesInstanceUID": "1.2.3.9"},  # of an instance that another series has already
]


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda conflict: next(iter(conflict)))
def test_an_instance_in_conflict_goes_to_an_image_set_that_is_not_primary(conflict: dict[str, Any]) -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    primary = bench.manifest(bench.run())["imageSetsSummary"][0]["imageSetId"]
    bench.put("c/1.dcm", part10(1, **conflict))
    bench.put("c/2.dcm", part10(2))
    job = bench.run("c/")
    assert job["jobStatus"] == "COMPLETED"
    one, two = bench.lines(job, "success")
    assert (one["importResponse"]["isPrimary"], two["importResponse"]["isPrimary"]) == (False, True)
    assert two["importResponse"]["imageSetId"] == primary != one["importResponse"]["imageSetId"]
    held = {each["SOPInstanceUID"]: each["key"] for each in bench.instances() if each["isPrimary"]}
    assert held == {"1.2.3.1.1.1": "b/1.dcm", "1.2.3.1.1.2": "c/2.dcm"}
    described = bench.client.get_image_set(
        datastoreId=bench.datastore_id, imageSetId=one["importResponse"]["imageSetId"]
    )
    assert (described["isPrimary"], described["versionId"]) == (False, "1")


def test_what_does_not_identify_is_no_conflict() -> None:
    bench = Bench()
    bench.put("b/1.dcm", part10(1))
    bench.put("b/2.dcm", part10(2, PatientName="Doe^Janet", StudyTime="111213", StudyDescription="Head"))
    assert bench.manifest(bench.run())["numberOfGeneratedImageSets"] == 1


def test_a_young_image_set_may_be_inconsistent() -> None:
    bench = Bench({"image_set_conflict_seconds": 10})
    bench.put("b/1.dcm", part10())
    bench.run()
    request = {"datastoreId": bench.datastore_id, "imageSetId": bench.instances()[0]["imageSetId"]}
    with pytest.raises(ClientError) as error:
        bench.client.get_image_set(**request)
    assert error.value.response["Error"]["Code"] == "ConflictException"
    bench.wait(10)
    assert bench.client.get_image_set(**request)["imageSetState"] == "ACTIVE"


def test_a_thousand_slices_are_one_image_set_of_one_version() -> None:
    bench = Bench()
    for number in range(1000):
        bench.put(f"b/{number}.dcm", part10(number))
    summary = bench.manifest(bench.run())["imageSetsSummary"]
    assert [(each["imageSetVersion"], each["numberOfMatchedSOPInstances"]) for each in summary] == [(1, 1000)]
    assert len({each["SOPInstanceUID"] for each in bench.instances()}) == 1000
    assert bench.event_types().count("Image Set Created") == 1
