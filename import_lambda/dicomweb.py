"""The edge to HealthImaging's DICOMweb interface: signed HTTP, bodies streamed out of S3, several requests at once."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import IO, Any, TypeVar
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from import_lambda.aws import ImageSet, ListedObject, Series, StoreAnswer
from import_lambda.errors import AwsError, TryLater
from import_lambda.stow import (
    CHUNK_BYTES,
    SEARCH_LIMIT,
    body_end,
    part_head,
    read_search_answer,
    read_store_answer,
)

MEMORY_BYTES = 4 * 1024 * 1024  # of a body; what is more waits on Lambda's disk (/tmp, 512 MB)
THREADS = 8  # calls at once, of botocore's 10 connections
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
ANSWER_SECONDS = 60  # AWS's own sample waits for 300 s; the search finds what was answered later


class DicomWeb:
    """StoreDICOM and SearchDICOMInstances. `s3` and `healthimaging` are boto3 clients; calls may come from threads."""

    def __init__(self, s3: Any, healthimaging: Any, datastore_id: str, credentials: Any) -> None:
        self.s3, self.healthimaging, self.credentials = s3, healthimaging, credentials
        endpoint = healthimaging.meta.endpoint_url.replace("//medical-imaging", "//dicom-medical-imaging", 1)
        self.url = f"{endpoint}/datastore/{datastore_id}"
        self.datastore_id = datastore_id
        self.http = URLLib3Session(timeout=(5, ANSWER_SECONDS), max_pool_connections=16)

    def send(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, str, bytes]:
        """Sign and send a request; return status, error code and body. Raises botocore's errors below HTTP."""
        request = AWSRequest(method, self.url + path, headers, body)
        signer = SigV4Auth(self.credentials.get_frozen_credentials(), "medical-imaging", self.region())
        signer.add_auth(request)
        answer = self.http.send(request.prepare())
        return answer.status_code, answer.headers.get("x-amzn-ErrorType", ""), answer.content

    def region(self) -> str:
        """Return the Region that signatures are for."""
        return str(self.healthimaging.meta.region_name)

    def store(self, bucket: str, objects: tuple[ListedObject, ...]) -> StoreAnswer:
        """StoreDICOM of objects, in one request. An object that is not there any more is left out."""
        boundary = uuid.uuid4().hex
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        }
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as body:
            if not sum([self.append(body, bucket, listed, boundary) for listed in objects]):
                return StoreAnswer({}, {})
            body.write(body_end(boundary))
            body.seek(0)
            return read_store_answer(*self.send("POST", "/studies", headers, body))

    def append(self, body: IO[bytes], bucket: str, listed: ListedObject, boundary: str) -> bool:
        """Write one part, if the object still is the one that was listed; say whether it is."""
        try:
            found = self.s3.get_object(Bucket=bucket, Key=listed.key, IfMatch=listed.etag)
        except self.s3.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 412}:
                return False
            raise
        body.write(part_head(boundary))
        for chunk in found["Body"].iter_chunks(CHUNK_BYTES):
            body.write(chunk)
        body.write(b"\r\n")
        return True

    def search(self, series: Series) -> dict[str, tuple[int, ...]]:
        """SearchDICOMInstances of one series: those in its primary image set, with their warning codes."""
        path = f"/studies/{series[0]}/series/{series[1]}/instances"
        found: dict[str, tuple[int, ...]] = {}
        while True:
            query = urlencode({"includefield": "00081196", "limit": SEARCH_LIMIT, "offset": len(found)})
            page = read_search_answer(*self.send("GET", f"{path}?{query}", {"Accept": "application/dicom+json"}))
            before = len(found)
            found |= page
            if len(page) < SEARCH_LIMIT or len(found) == before:
                return found

    def image_sets(self, series: Series) -> list[ImageSet]:
        """SearchImageSets of one series: its image sets, primary or not."""
        filters = [{"operator": "EQUAL", "values": [{"DICOMSeriesInstanceUID": series[1]}]}]
        pages = self.healthimaging.get_paginator("search_image_sets").paginate(
            datastoreId=self.datastore_id, searchCriteria={"filters": filters}
        )
        rows = [row for page in pages for row in page["imageSetsMetadataSummaries"]]
        return [ImageSet(row["imageSetId"], row.get("isPrimary") is True, row["updatedAt"].timestamp()) for row in rows]


def at_once(
    call: Callable[[Asked], Answer], asked: list[Asked], translate: Callable[[], AbstractContextManager[None]]
) -> list[Answer | AwsError]:
    """Make calls at the same time; return each answer or error, in order. `translate` turns botocore's into ours."""

    def safely(one: Asked) -> Answer | AwsError:
        try:
            with translate():
                return call(one)
        except AwsError as error:
            return error
        except OSError as error:  # Lambda's disk is full, or a connection broke in a way that botocore lets through
            return TryLater(type(error).__name__)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(safely, asked))
