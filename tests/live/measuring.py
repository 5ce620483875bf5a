"""What AWS does not document, measured on a stack; written so that the HealthImaging emulator can read it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from storescp_cfn.account import probe_study
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError

STORE_REQUESTS = 5
BOUNDARY = "storescp-live"


def launch(deployment: Deployment) -> dict[str, float]:
    """Seconds that each resource took, and the stack as a whole, from the events."""
    rows = deployment.connection.pages(
        "cloudformation", "describe_stack_events", "StackEvents", StackName=deployment.stack_id
    )
    began: dict[str, Any] = {}
    took: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: row["Timestamp"]):
        name = f"{row['ResourceType']} {row['LogicalResourceId']}"
        began.setdefault(name, row["Timestamp"])
        if row["ResourceStatus"] == "CREATE_COMPLETE":
            took[name] = (row["Timestamp"] - began[name]).total_seconds()
    return dict(sorted(took.items(), key=lambda entry: -entry[1]))


def imports(deployment: Deployment) -> dict[str, Any]:
    """Import jobs: files and seconds of each; the shape of a result manifest."""
    connection, store = deployment.connection, deployment.output("HealthImagingDatastoreID")
    bucket = deployment.output("ResultsBucketName")
    jobs, shape = [], None
    for row in connection.pages("medical-imaging", "list_dicom_import_jobs", "jobSummaries", datastoreId=store):
        job = connection.call("medical-imaging", "get_dicom_import_job", datastoreId=store, jobId=row["jobId"])
        properties = job["jobProperties"]
        key = properties["outputS3Uri"].split("/", 3)[-1].rstrip("/")
        manifest = _manifest(deployment, bucket, key, f"{store}-DicomImport-{row['jobId']}")
        if manifest is None or "endedAt" not in properties:
            continue
        shape = shape or shape_of(manifest)
        seconds = (properties["endedAt"] - properties["submittedAt"]).total_seconds()
        jobs.append({"files": manifest["jobSummary"]["numberOfScannedFiles"], "seconds": seconds})
    return {"import_jobs": jobs, "manifest_shape": shape}


def _manifest(deployment: Deployment, bucket: str, key: str, folder: str) -> dict[str, Any] | None:
    """The manifest of a job: its output URI may or may not end in the job's own folder."""
    place = key if key.endswith(folder) else f"{key}/{folder}"
    try:
        with deployment.connection.errors("s3"):
            client = deployment.connection.client("s3")
            body = client.get_object(Bucket=bucket, Key=f"{place}/job-output-manifest.json")["Body"].read()
    except AccountError:
        return None
    document: dict[str, Any] = json.loads(body)
    return document


def shape_of(value: Any) -> Any:
    """Names and types of a document, without any of its values."""
    if isinstance(value, dict):
        return {name: shape_of(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return type(value).__name__


def store_dicom(deployment: Deployment) -> list[dict[str, Any]]:
    """StoreDICOM, one small instance a request, one after the other: bytes, seconds and HTTP status of each."""
    import boto3.session
    import urllib3
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    connection = deployment.connection
    session: boto3.session.Session = connection.session
    url = f"{connection.dicomweb_url}/datastore/{deployment.output('HealthImagingDatastoreID')}/studies"
    pool, measured = urllib3.PoolManager(), []
    for instance in probe_study.make(STORE_REQUESTS).instances:
        body = multipart(probe_study.part10(instance))
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}
        headers |= {"Accept": "application/dicom+json"}
        request = AWSRequest("POST", url, data=body, headers=headers)
        SigV4Auth(session.get_credentials(), "medical-imaging", connection.region).add_auth(request)
        began = time.monotonic()
        answer = pool.request("POST", url, body=body, headers=dict(request.headers), timeout=300.0, retries=False)
        measured.append({"bytes": len(body), "seconds": time.monotonic() - began, "status": answer.status})
    return measured


def multipart(part: bytes) -> bytes:
    """One DICOM file as multipart/related (PS3.18 10.5)."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return head + part + f"\r\n--{BOUNDARY}--\r\n".encode()


def receiver(deployment: Deployment) -> dict[str, Any]:
    """What receivers say of the machine when they start: processors seen, workers, memory."""
    answer = deployment.connection.call(
        "logs",
        "filter_log_events",
        logGroupName=deployment.output("ReceiverLogGroupName"),
        filterPattern='{ $.message = "receiver started" }',
    )
    for event in answer["events"]:
        record = json.loads(event["message"])
        if record.get("message") == "receiver started":
            return {name: value for name, value in record.items() if isinstance(value, int | float)}
    return {}


def behaviour(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as a behaviour file: `settings` is what the emulator reads, the rest is where it comes from."""
    settings: dict[str, float] = {}
    if jobs := facts.get("import_jobs"):
        per_file, fixed = line([job["files"] for job in jobs], [job["seconds"] for job in jobs])
        settings |= {"in_progress_seconds": fixed, "in_progress_seconds_per_file": per_file}
    stored = [row["seconds"] for row in facts.get("store_dicom", ()) if row["status"] == 200]
    if stored:
        settings["store_seconds"] = round(statistics.median(stored), 3)
    return {"settings": settings, "facts": dict(facts)}


def line(files: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Least squares: seconds per file and fixed seconds, neither below 0."""
    if len(set(files)) < 2:
        return 0.0, round(statistics.fmean(seconds), 3)
    slope, intercept = statistics.linear_regression(files, seconds)
    return round(max(slope, 0.0), 6), round(max(intercept, 0.0), 3)
