"""Where import jobs read and write: S3 with the keys of the data access role and nothing else, or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from healthimaging_emulator.jobs import JobFailed, ListedObject, ObjectGone


class S3ObjectStore:
    """An `ObjectStore` over a boto3 S3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def list(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Every object whose key begins with `prefix`, by key."""
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield ListedObject(entry["Key"], entry["Size"])
        except (ClientError, BotoCoreError) as error:
            raise JobFailed(f"Cannot list s3://{bucket}/{prefix}: {_reason(error)}") from error

    def read(self, bucket: str, key: str) -> bytes:
        try:
            body: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise ObjectGone(key) from error
        except (ClientError, BotoCoreError) as error:
            raise JobFailed(f"Cannot read objects of s3://{bucket}: {_reason(error)}") from error
        return body

    def write(self, bucket: str, key: str, body: bytes) -> None:
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=body)
        except (ClientError, BotoCoreError) as error:
            raise JobFailed(f"Cannot write to s3://{bucket}: {_reason(error)}") from error


class FolderObjectStore:
    """An `ObjectStore` over a folder: `s3://BUCKET/KEY` is the file BUCKET/KEY below it.

    Every method raises JobFailed when the file system says no, or the key leads out of its bucket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def list(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Every file whose key begins with `prefix`, by key."""
        root = self._path(bucket)
        if not root.is_dir():
            raise JobFailed(f"Cannot list s3://{bucket}/{prefix}: NoSuchBucket")
        keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        for key in keys:
            if key.startswith(prefix):
                yield ListedObject(key, (root / key).stat().st_size)

    def read(self, bucket: str, key: str) -> bytes:
        """The file's bytes. Raises ObjectGone: it is not there any more."""
        try:
            return self._path(bucket, key).read_bytes()
        except FileNotFoundError as error:
            raise ObjectGone(key) from error
        except OSError as error:
            raise JobFailed(f"Cannot read objects of s3://{bucket}: {type(error).__name__}") from error

    def write(self, bucket: str, key: str, body: bytes) -> None:
        """Write the file, with the folders above it."""
        path = self._path(bucket, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        except OSError as error:
            raise JobFailed(f"Cannot write to s3://{bucket}: {type(error).__name__}") from error

    def _path(self, bucket: str, key: str = "") -> Path:
        root = (self._folder / bucket).resolve()
        path = (root / key).resolve()
        if not path.is_relative_to(root) or not root.is_relative_to(self._folder):
            raise JobFailed(f"Cannot use s3://{bucket}: the key leads out of the bucket's folder")
        return path


def _reason(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__
