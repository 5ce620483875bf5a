"""S3 as HealthImaging reaches it: with the keys of the data access role and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from storescp_cfn.local.healthimaging.jobs import JobFailed, Listed, ObjectGone


class S3ObjectStore:
    """An `ObjectStore` over a boto3 S3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def list(self, bucket: str, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with `prefix`, by key."""
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield Listed(entry["Key"], entry["Size"])
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


def _reason(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__
