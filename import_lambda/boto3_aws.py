"""The edge to AWS: boto3 behind the protocol `Aws`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from import_lambda.aws import ImageSet, Item, Job, ListedObject, Series, StoreAnswer
from import_lambda.dicomweb import DicomWeb, at_once
from import_lambda.errors import AwsError, Missing, Refused, TryLater, error_of
from import_lambda.settings import Settings


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn botocore's exceptions into ours, here and nowhere else."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise error_of(error.response.get("Error", {}).get("Code", ""), status) from None
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise TryLater(type(error).__name__) from None
    except botocore.exceptions.BotoCoreError as error:
        raise Refused(type(error).__name__) from None


class Boto3Aws:
    """`Aws` on boto3; clients are made on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self.clients:
            config = Config(connect_timeout=5, read_timeout=50, retries={"mode": "standard", "max_attempts": 3})
            self.clients[service] = boto3.client(service, config=config)
        return self.clients[service]

    def table(self) -> Any:
        if "table" not in self.clients:
            self.clients["table"] = boto3.resource("dynamodb").Table(self.settings.ledger_table)
        return self.clients["table"]

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def list_objects(self, bucket: str, prefix: str) -> list[ListedObject]:
        with aws_errors():
            pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [listed_in(row) for page in pages for row in page.get("Contents", [])]

    def list_folders(self, bucket: str, prefix: str) -> tuple[list[str], list[ListedObject]]:
        with aws_errors():
            paginator = self.client("s3").get_paginator("list_objects_v2")
            pages = list(paginator.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"))
        folders = [row["Prefix"] for page in pages for row in page.get("CommonPrefixes", [])]
        return folders, [listed_in(row) for page in pages for row in page.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        with aws_errors():
            body: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    def write(self, bucket: str, key: str, body: bytes) -> None:
        with aws_errors():
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")

    def copy(self, bucket: str, pairs: list[tuple[ListedObject, str]]) -> list[ListedObject]:
        client = self.client("s3")

        def copied(pair: tuple[ListedObject, str]) -> bool:
            found, key = pair
            source = {"Bucket": bucket, "Key": found.key}
            try:
                with aws_errors():
                    if found.bytes > 5 * 1024**3:  # CopyObject's limit; the managed copy goes in parts
                        client.copy(source, bucket, key)
                    else:
                        client.copy_object(Bucket=bucket, Key=key, CopySource=source, CopySourceIfMatch=found.etag)
            except Missing:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            return [found for (found, _), good in zip(pairs, pool.map(copied, pairs), strict=True) if good]

    def delete(self, bucket: str, found: list[ListedObject]) -> None:
        for start in range(0, len(found), 1000):  # DeleteObjects takes 1,000 keys
            keys = [{"Key": one.key, "ETag": one.etag} for one in found[start : start + 1000]]
            with aws_errors():
                answer = self.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", []):
                reason = error_of(error.get("Code", ""), 0)
                if not isinstance(reason, Missing):
                    raise reason

    def get_item(self, pk: str, sk: str) -> Item | None:
        with aws_errors():
            item = self.table().get_item(Key={"pk": pk, "sk": sk}, ConsistentRead=True).get("Item")
        return None if item is None else plain(item)

    def query(self, pk: str, sk_prefix: str) -> list[Item]:
        condition = {"KeyConditionExpression": "pk = :p AND begins_with(sk, :s)", "ConsistentRead": True}
        return self.pages({**condition, "ExpressionAttributeValues": {":p": pk, ":s": sk_prefix}})

    def unsettled(self) -> list[Item]:
        condition = {"IndexName": "Unsettled", "KeyConditionExpression": "unsettled = :u"}
        return self.pages({**condition, "ExpressionAttributeValues": {":u": "1"}})

    def pages(self, query: dict[str, Any]) -> list[Item]:
        items: list[Item] = []
        while True:
            with aws_errors():
                page = self.table().query(**query)
            items += [plain(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return items
            query = {**query, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if name:
            condition = {
                "ConditionExpression": f"attribute_not_exists(pk) OR #n {operator} :v",
                "ExpressionAttributeNames": {"#n": name},
                "ExpressionAttributeValues": {":v": value},
            }
        with aws_errors():
            self.table().put_item(Item=item, **condition)

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job:
        with aws_errors():
            answer = self.client("medical-imaging").start_dicom_import_job(
                jobName=name,
                clientToken=name,
                datastoreId=self.settings.datastore_id,
                dataAccessRoleArn=self.settings.data_access_role_arn,
                inputS3Uri=input_uri,
                outputS3Uri=output_uri,
            )
        return job_in({"jobName": name, **answer})

    def get_job(self, job_id: str) -> Job:
        with aws_errors():
            answer = self.client("medical-imaging").get_dicom_import_job(
                datastoreId=self.settings.datastore_id, jobId=job_id
            )
        return job_in(answer["jobProperties"])

    def list_jobs(self, status: str) -> list[Job]:
        with aws_errors():
            paginator = self.client("medical-imaging").get_paginator("list_dicom_import_jobs")
            pages = paginator.paginate(datastoreId=self.settings.datastore_id, jobStatus=status)
            return [job_in(row) for page in pages for row in page["jobSummaries"]]

    def store(self, requests: list[tuple[ListedObject, ...]]) -> list[StoreAnswer | AwsError]:
        bucket, web = self.settings.landing_bucket, self.dicomweb()
        return at_once(lambda objects: web.store(bucket, objects), requests, aws_errors)

    def search_instances(self, series: list[Series]) -> list[dict[str, tuple[int, ...]] | AwsError]:
        return at_once(self.dicomweb().search, series, aws_errors)

    def search_image_sets(self, series: list[Series]) -> list[list[ImageSet] | AwsError]:
        return at_once(self.dicomweb().image_sets, series, aws_errors)

    def dicomweb(self) -> DicomWeb:
        if "dicomweb" not in self.clients:
            credentials = boto3.session.Session().get_credentials()
            clients = self.client("s3"), self.client("medical-imaging")
            self.clients["dicomweb"] = DicomWeb(*clients, self.settings.datastore_id, credentials)
        web: DicomWeb = self.clients["dicomweb"]
        return web


def listed_in(row: Mapping[str, Any]) -> ListedObject:
    """A row of ListObjectsV2."""
    return ListedObject(row["Key"], row["Size"], row["ETag"], row["LastModified"].timestamp())


def job_in(row: Mapping[str, Any]) -> Job:
    """A job as HealthImaging's three operations describe it."""
    submitted_at, ended_at = (row[name].timestamp() if row.get(name) else 0.0 for name in ("submittedAt", "endedAt"))
    name, message = row.get("jobName", ""), row.get("message", "")
    return Job(row["jobId"], name, row["jobStatus"], submitted_at, ended_at, message)


def plain(item: Mapping[str, Any]) -> Item:
    """A ledger item with boto3's Decimals as int."""
    return {name: int(value) if hasattr(value, "to_integral_value") else value for name, value in item.items()}
