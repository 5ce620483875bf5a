"""The edge to AWS: boto3 behind the protocol `Aws`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import boto3

from import_lambda.aws import ImageSet, Item, Job, ListedObject, Series, StoreAnswer
from import_lambda.boto3_s3 import CONFIG, S3Edge, aws_errors, in_threads
from import_lambda.dicomweb import DicomWeb, at_once
from import_lambda.errors import AwsError, Conflict


class Boto3Aws(S3Edge):
    """`Aws` on boto3."""

    def table(self) -> Any:
        """Return DynamoDB's client that takes and gives plain Python values; it may be used by several threads."""
        if "table" not in self.clients:
            self.clients["table"] = boto3.resource("dynamodb", config=CONFIG).meta.client
        return self.clients["table"]

    def now(self) -> float:
        """Return the epoch seconds of this machine's clock."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Do nothing for some seconds."""
        time.sleep(seconds)

    def get_item(self, pk: str, sk: str) -> Item | None:
        """Return an item, consistently; None if there is none."""
        with aws_errors():
            answer = self.table().get_item(
                TableName=self.settings.ledger_table, Key={"pk": pk, "sk": sk}, ConsistentRead=True
            )
        return plain(answer["Item"]) if "Item" in answer else None

    def query(self, pk: str, sk_prefix: str) -> list[Item]:
        """Return the items of a partition whose sort keys begin so, consistently."""
        condition = {"KeyConditionExpression": "pk = :p AND begins_with(sk, :s)", "ConsistentRead": True}
        return self.pages({**condition, "ExpressionAttributeValues": {":p": pk, ":s": sk_prefix}})

    def unsettled(self) -> list[Item]:
        """Return the batches of the index `Unsettled`, which may be behind."""
        condition = {"IndexName": "Unsettled", "KeyConditionExpression": "unsettled = :u"}
        return self.pages({**condition, "ExpressionAttributeValues": {":u": "1"}})

    def pages(self, query: dict[str, Any]) -> list[Item]:
        """Return the items of all pages of a query."""
        items: list[Item] = []
        while True:
            with aws_errors():
                page = self.table().query(TableName=self.settings.ledger_table, **query)
            items += [plain(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return items
            query = {**query, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        """Write an item on a condition."""
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if name:
            condition = {
                "ConditionExpression": f"attribute_not_exists(pk) OR #n {operator} :v",
                "ExpressionAttributeNames": {"#n": name},
                "ExpressionAttributeValues": {":v": value},
            }
        with aws_errors():
            self.table().put_item(TableName=self.settings.ledger_table, Item=item, **condition)

    def create_items(self, items: list[Item]) -> list[Item]:
        """Write items that are not there, several at a time."""

        def is_created(item: Item) -> bool:
            try:
                self.put_item(item)
            except Conflict:
                return False
            return True

        self.table()
        return [item for item, good in zip(items, in_threads(is_created, items), strict=True) if not good]

    def put_items(self, items: list[Item]) -> None:
        """Write items that are not behind what is there, several at a time."""

        def put(item: Item) -> None:
            with suppress(Conflict):
                self.put_item(item, "revision", "<=", item["revision"])

        self.table()
        in_threads(put, items)

    def open_items(self, kind: str) -> list[Item]:
        """Query the index Open."""
        return self.pages(self.open_query(kind))

    def count_open(self, kind: str) -> int:
        """Count what the index Open has of a kind."""
        return len(self.pages({**self.open_query(kind), "ProjectionExpression": "pk"}))

    def open_query(self, kind: str) -> dict[str, Any]:
        """Return the query for what is open of a kind; `open` is a reserved word."""
        names = {"IndexName": "Open", "ExpressionAttributeNames": {"#o": "open"}}
        return {**names, "KeyConditionExpression": "#o = :o", "ExpressionAttributeValues": {":o": kind}}

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job:
        """Start an import job; the name is its clientToken, too."""
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
        """Return a job."""
        with aws_errors():
            answer = self.client("medical-imaging").get_dicom_import_job(
                datastoreId=self.settings.datastore_id, jobId=job_id
            )
        return job_in(answer["jobProperties"])

    def list_jobs(self, status: str) -> list[Job]:
        """Return the data store's jobs of a status."""
        with aws_errors():
            paginator = self.client("medical-imaging").get_paginator("list_dicom_import_jobs")
            pages = paginator.paginate(datastoreId=self.settings.datastore_id, jobStatus=status)
            return [job_in(row) for page in pages for row in page["jobSummaries"]]

    def store(self, requests: list[tuple[ListedObject, ...]]) -> list[StoreAnswer | AwsError]:
        """Make StoreDICOM requests at once."""
        bucket, web = self.settings.landing_bucket, self.dicomweb()
        return at_once(lambda objects: web.store(bucket, objects), requests, aws_errors)

    def search_instances(self, series: list[Series]) -> list[dict[str, tuple[int, ...]] | AwsError]:
        """Return what the primary image sets of series hold."""
        return at_once(self.dicomweb().search, series, aws_errors)

    def search_image_sets(self, series: list[Series]) -> list[list[ImageSet] | AwsError]:
        """Return the image sets of series."""
        return at_once(self.dicomweb().image_sets, series, aws_errors)

    def dicomweb(self) -> DicomWeb:
        """Return the edge to DICOMweb."""
        if "dicomweb" not in self.clients:
            credentials = boto3.session.Session().get_credentials()
            clients = self.client("s3"), self.client("medical-imaging")
            self.clients["dicomweb"] = DicomWeb(*clients, self.settings.datastore_id, credentials)
        web: DicomWeb = self.clients["dicomweb"]
        return web


def job_in(row: Mapping[str, Any]) -> Job:
    """Return a job from what HealthImaging's three operations say."""
    submitted_at, ended_at = (row[name].timestamp() if row.get(name) else 0.0 for name in ("submittedAt", "endedAt"))
    name, message = row.get("jobName", ""), row.get("message", "")
    return Job(row["jobId"], name, row["jobStatus"], submitted_at, ended_at, message)


def plain(item: Mapping[str, Any]) -> Item:
    """Return a ledger item with boto3's Decimals as int, also inside lists and maps."""
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "to_integral_value"):
        return int(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return plain(value) if isinstance(value, dict) else value
