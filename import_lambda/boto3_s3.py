"""The edge to Amazon S3: listings, and copies and deletions of what was listed and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import boto3
import boto3.exceptions
import botocore.exceptions
from botocore.config import Config

from import_lambda.aws import ListedObject, Page
from import_lambda.errors import Missing, Refused, TryLater, error_of
from import_lambda.settings import MAX_LISTED_OBJECTS, Settings

T = TypeVar("T")
R = TypeVar("R")
CALLS_AT_ONCE = 16
MAX_KEYS = 1000  # of ListObjectsV2 and DeleteObjects
COPY_PART_BYTES = 256 * 1024**2  # CopyObject takes 5 GB, and then longer than a call may
# The answer did not come, or not whole: the same call will work later.
BROKEN_ANSWERS = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.FlexibleChecksumError,
    boto3.exceptions.Boto3Error,
)
CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "max_attempts": 3},
    max_pool_connections=2 * CALLS_AT_ONCE,
)


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn boto3's exceptions into ours, here and nowhere else."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise error_of(error.response.get("Error", {}).get("Code", ""), status) from None
    except BROKEN_ANSWERS as error:
        raise TryLater(type(error).__name__) from None
    except botocore.exceptions.BotoCoreError as error:
        raise Refused(type(error).__name__) from None


def in_threads(function: Callable[[T], R], arguments: list[T]) -> list[R]:
    """Call the function with each argument, several at a time; raise what the first failing one raised."""
    if len(arguments) == 1:
        return [function(arguments[0])]
    with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        return list(pool.map(function, arguments))


class S3Edge:
    """S3's part of `Aws`; clients are made on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self.clients:
            self.clients[service] = boto3.client(service, config=CONFIG)
        return self.clients[service]

    def list_objects(self, bucket: str, prefix: str) -> list[ListedObject]:
        """Return the first MAX_LISTED_OBJECTS objects below a prefix."""
        objects: list[ListedObject] = []
        after = ""
        while True:
            page = self.list_page(bucket, prefix, after)
            objects += page.objects
            after = page.next_after
            if not after or len(objects) >= MAX_LISTED_OBJECTS:
                return objects[:MAX_LISTED_OBJECTS]

    def list_page(self, bucket: str, prefix: str, start_after: str = "", delimiter: str = "") -> Page:
        """Return one page of a listing, from behind a key on."""
        more = {name: value for name, value in (("StartAfter", start_after), ("Delimiter", delimiter)) if value}
        with aws_errors():
            answer = self.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=MAX_KEYS, **more)
        objects = [listed_in(row) for row in answer.get("Contents", [])]
        folders = [row["Prefix"] for row in answer.get("CommonPrefixes", [])]
        ends = [*(listed.key for listed in objects[-1:]), *(f"{folder[:-1]}0" for folder in folders[-1:])]
        return Page(objects, folders, max(ends) if answer.get("IsTruncated") and ends else "")

    def read(self, bucket: str, key: str) -> bytes:
        """Return an object's bytes."""
        with aws_errors():
            body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    def write(self, bucket: str, bodies: list[tuple[str, bytes]]) -> None:
        """Write JSON documents, several at a time."""

        def put(pair: tuple[str, bytes]) -> None:
            with aws_errors():
                self.client("s3").put_object(Bucket=bucket, Key=pair[0], Body=pair[1], ContentType="application/json")

        self.client("s3")
        in_threads(put, bodies)

    def create(self, bucket: str, key: str, body: bytes) -> None:
        """PutObject that never replaces what is there."""
        with suppress(Missing), aws_errors():  # 412: it is there
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")

    def copy(self, bucket: str, pairs: list[tuple[ListedObject, str]]) -> list[ListedObject]:
        """Copy objects that still are what was listed, several at a time."""

        def copied(pair: tuple[ListedObject, str]) -> bool:
            try:
                with aws_errors():
                    self.copy_one(bucket, *pair)
            except Missing:
                return False
            return True

        self.client("s3")
        return [listed for (listed, _), good in zip(pairs, in_threads(copied, pairs), strict=True) if good]

    def copy_one(self, bucket: str, listed: ListedObject, key: str) -> None:
        """Copy one object, with its tags; in parts, and without them, if it is large."""
        client = self.client("s3")
        source = {"CopySource": {"Bucket": bucket, "Key": listed.key}, "CopySourceIfMatch": listed.etag}
        if listed.bytes <= COPY_PART_BYTES:
            client.copy_object(Bucket=bucket, Key=key, **source)
            return
        upload = {"Bucket": bucket, "Key": key}
        upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            for start in range(0, listed.bytes, COPY_PART_BYTES):
                span = f"bytes={start}-{min(start + COPY_PART_BYTES, listed.bytes) - 1}"
                number = len(parts) + 1
                answer = client.upload_part_copy(**upload, **source, PartNumber=number, CopySourceRange=span)
                parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            client.abort_multipart_upload(**upload)
            raise

    def delete(self, bucket: str, listed: list[ListedObject]) -> None:
        """Delete objects that still are what was listed."""
        keys = [{"Key": one.key, "ETag": one.etag} for one in listed]
        with aws_errors():
            answer = self.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for error in answer.get("Errors", []):
            reason = error_of(error.get("Code", ""), 0)
            if not isinstance(reason, Missing):
                raise reason


def listed_in(row: Mapping[str, Any]) -> ListedObject:
    """Return an object from a row of ListObjectsV2."""
    return ListedObject(row["Key"], row["Size"], row["ETag"], row["LastModified"].timestamp())
