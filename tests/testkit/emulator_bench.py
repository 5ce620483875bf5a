"""The HealthImaging emulator without a socket: a virtual clock, buckets in memory, and a real boto3 client.

Every answer is parsed by botocore and, beyond that, held against the service model's own constraints.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import boto3
import pydicom
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from healthimaging_emulator.api import Api, Authorize, allow_everybody
from healthimaging_emulator.jobs import JobFailed, ListedObject, ObjectGone
from healthimaging_emulator.model import ServiceModel, violations
from healthimaging_emulator.multipart import build
from healthimaging_emulator.scheduler import Scheduler
from healthimaging_emulator.service import HealthImaging
from healthimaging_emulator.settings import Settings

ROLE = "arn:aws:iam::000000000000:role/access"
START = 1_795_000_000.0  # 2026-11-18
MODEL = ServiceModel()


@dataclass
class MemoryObjectStore:
    """Buckets in memory. `denied` is what the role may not do (list, read, write); `vanishing` keys cannot be read."""

    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    vanishing: set[str] = field(default_factory=set)

    def list(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        self._require("list")
        for (where, key), body in sorted(self.objects.items()):
            if where == bucket and key.startswith(prefix):
                yield ListedObject(key, len(body))

    def read(self, bucket: str, key: str) -> bytes:
        self._require("read")
        if key in self.vanishing:
            raise ObjectGone(key)
        return self.objects[bucket, key]

    def write(self, bucket: str, key: str, body: bytes) -> None:
        self._require("write")
        self.objects[bucket, key] = body

    def _require(self, what: str) -> None:
        if what in self.denied:
            raise JobFailed(f"Cannot {what}: AccessDenied")


class Bench:
    """One emulator whose time passes only in `wait`."""

    def __init__(self, settings: Mapping[str, Any] | None = None, authorize: Authorize = allow_everybody) -> None:
        self.now = START
        self.s3 = MemoryObjectStore()
        self.events: list[dict[str, Any]] = []
        self.scheduler = Scheduler(lambda: self.now)
        self.service = HealthImaging(
            self.scheduler,
            lambda role, datastore: self.s3,
            self.events.append,
            run=lambda action: action(),
            settings=Settings().changed(dict(settings or {})),
        )
        self.api = Api(self.service, authorize, wait=self.wait)
        self.client = client_of(self.api.answer)
        self.datastore_id = self.client.create_datastore(datastoreName="images")["datastoreId"]
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Let time pass, with everything that falls into it at its own moment."""
        end = self.now + seconds
        while (moment := self.scheduler.next_moment()) is not None and moment <= end:
            self.now = max(self.now, moment)
            self.scheduler.run_due()
        self.now = end

    def put(self, key: str, body: bytes) -> None:
        self.s3.objects["landing", key] = body

    def start(self, prefix: str = "b/", **parameters: Any) -> str:
        """StartDICOMImportJob over `s3://landing/<prefix>`; its job id."""
        request = {
            "datastoreId": self.datastore_id,
            "dataAccessRoleArn": ROLE,
            "inputS3Uri": f"s3://landing/{prefix}",
            "outputS3Uri": "s3://output/results",
            **parameters,
        }
        return str(self.client.start_dicom_import_job(**request)["jobId"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.client.get_dicom_import_job(datastoreId=self.datastore_id, jobId=job_id)
        properties: dict[str, Any] = answer["jobProperties"]
        return properties

    def run(self, prefix: str = "b/") -> dict[str, Any]:
        """Start a job, let it end, and return its properties."""
        self.wait(1)  # as the rate of StartDICOMImportJob asks
        job_id = self.start(prefix)
        self.wait(0)
        return self.job(job_id)

    def manifest(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The summary of job-output-manifest.json, found as AWS's own examples find it."""
        body = self.s3.objects["output", f"{job['outputS3Uri'].removeprefix('s3://output/')}job-output-manifest.json"]
        return dict(json.loads(body)["jobSummary"])

    def lines(self, job: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
        """The lines of success.ndjson, failure.ndjson or warning.ndjson."""
        key = f"{job['outputS3Uri'].removeprefix('s3://output/')}{kind.upper()}/{kind}.ndjson"
        return [json.loads(line) for line in self.s3.objects.get(("output", key), b"").splitlines()]

    def change(self, **settings: Any) -> None:
        """Change settings through the admin API."""
        answer = self.api.answer("POST", "/_emulator/settings", {}, json.dumps(settings).encode())
        assert answer.status == 200, answer.body

    def instances(self, history: bool = False) -> list[dict[str, Any]]:
        query = "?history=1" if history else ""
        found: list[dict[str, Any]] = json.loads(self.api.answer("GET", f"/_emulator/instances{query}", {}, b"").body)
        return found

    def dicomweb(
        self, method: str, path: str, body: bytes = b"", content_type: str = "", accept: str = ""
    ) -> tuple[int, Any]:
        """Status and answer of a DICOMweb request, path below the data store; JSON is parsed."""
        headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/x", "content-type": content_type}
        target = f"/datastore/{self.datastore_id}{path}"
        answer = self.api.answer(method, target, headers | {"accept": accept}, body)
        is_json = answer.headers.get("Content-Type", "").endswith("json")
        return answer.status, json.loads(answer.body) if is_json else answer.body

    def store(self, *files: bytes, path: str = "/studies") -> tuple[int, dict[str, Any]]:
        """StoreDICOM of Part 10 files in one request."""
        content_type, body = build((("Content-Type: application/dicom", each) for each in files), "application/dicom")
        return self.dicomweb("POST", path, body, content_type)

    def event_types(self) -> list[str]:
        return [event["DetailType"] for event in self.events]


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def client_of(answer: Callable[..., Any], **options: Any) -> Any:
    """A boto3 client for `medical-imaging` that hands its signed requests to `answer`, and checks what comes back."""
    client = boto3.client(
        "medical-imaging",
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
        **options,
    )

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        url = urlsplit(str(request.url))
        target = f"{url.path}?{url.query}" if url.query else url.path
        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()
        }
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        found = answer(str(request.method), target, headers, body)
        if found.status < 300:
            faults = list(_faults(str(request.method), url.path, found.body))
            assert not faults, "; ".join(faults)
        return AWSResponse(str(request.url), found.status, found.headers, _Raw(found.body))

    client.meta.events.register("before-send", send)
    return client


def _faults(method: str, path: str, body: bytes) -> Iterator[str]:
    """What the service model does not allow in this answer: constraints, and members that it does not know."""
    matched = MODEL.match(method, path)
    assert matched is not None
    shape = matched[0].operation.output_shape
    if shape.serialization.get("payload") is None:
        document = json.loads(body)
        yield from violations(shape, document, "")
        yield from _unknown(shape, document)


def _unknown(shape: Any, value: Any) -> Iterator[str]:
    if shape.type_name == "structure":
        for name, each in value.items():
            if name not in shape.members:
                yield f"{shape.name} has no {name}"
            else:
                yield from _unknown(shape.members[name], each)
    elif shape.type_name == "list":
        for each in value:
            yield from _unknown(shape.member, each)


def dataset_of(number: int = 1, **attributes: Any) -> Dataset:
    """A small CT image, number `number` of its series; an attribute that is None is left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"1.2.3.1.1.{number}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "StudyDate": "20261118",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "Modality": "CT",
        "PixelData": bytes(range(64)),
        **attributes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3.1.1.1")
    dataset["PixelData"].VR = "OW"
    return dataset


def part10(number: int = 1, **attributes: Any) -> bytes:
    """The same as a Part 10 file."""
    return encoded(dataset_of(number, **attributes))


def encoded(dataset: Dataset, **options: Any) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True, **options)
    return file.getvalue()
