"""A small stack on the embedded AWS with what operators' commands look at, and a ledger that a test fills."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from storescp_cfn.account import ledger
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment, find
from storescp_cfn.local import embedded_aws
from storescp_cfn.local.stack import REGION, STACK_NAME, LocalStack

PARAMETERS = ["VpcID", "PublicSubnetIDs", "PrivateSubnetIDs", "SecurityGroupID", "VpcCIDR", "PeerCIDR1"]


def index(name: str, hash_key: str, range_key: str) -> dict[str, Any]:
    keys = [{"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}]
    return {"IndexName": name, "KeySchema": keys, "Projection": {"ProjectionType": "ALL"}}


TEMPLATE = {
    "Description": "StoreSCP 0.0.0: what the commands look at",
    "Parameters": {name: {"Type": "String"} for name in PARAMETERS}
    | {"TaskDesiredCount": {"Type": "String", "Default": "1"}},
    "Resources": {
        "LandingBucket": {"Type": "AWS::S3::Bucket"},
        "ReceiverLogGroup": {"Type": "AWS::Logs::LogGroup"},
        "Datastore": {"Type": "AWS::HealthImaging::Datastore", "Properties": {"DatastoreName": "images"}},
        "TargetGroup": {
            "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
            "Properties": {"Port": 11112, "Protocol": "TCP", "VpcId": {"Ref": "VpcID"}, "TargetType": "ip"},
        },
        "FailedStoresAlarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmDescription": "Images were answered with a failure status: look at the receiver's log.",
                "Namespace": "StoreSCP",
                "MetricName": "InstancesFailed",
                "Statistic": "Sum",
                "Period": 300,
                "EvaluationPeriods": 1,
                "Threshold": 0,
                "ComparisonOperator": "GreaterThanThreshold",
            },
        },
        "Ledger": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [
                    {"AttributeName": name, "AttributeType": "S"}
                    for name in ("pk", "sk", "unsettled", "batch", "open", "open_since")
                ],
                "KeySchema": [
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "GlobalSecondaryIndexes": [
                    index("Unsettled", "unsettled", "batch"),
                    index("Open", "open", "open_since"),
                ],
            },
        },
    },
    "Outputs": {
        "LandingBucketName": {"Value": {"Ref": "LandingBucket"}},
        "ReceiverLogGroupName": {"Value": {"Ref": "ReceiverLogGroup"}},
        "HealthImagingDatastoreID": {"Value": {"Ref": "Datastore"}},
        "LedgerTableName": {"Value": {"Ref": "Ledger"}},
        "DICOMAETitle": {"Value": "STORESCP"},
        "DICOMPort": {"Value": "11112"},
        "NetworkLoadBalancerDNS": {"Value": "storescp-1234.elb.us-east-1.amazonaws.com"},
    },
}


@dataclass(frozen=True)
class Account:
    """The stack, the operator's way to it, and what fills the ledger."""

    stack: LocalStack
    connection: Connection
    deployment: Deployment

    @property
    def book(self) -> ledger.Ledger:
        return ledger.of(self.deployment)

    def put(self, *items: dict[str, Any]) -> None:
        table = boto3.resource(
            "dynamodb",
            region_name=REGION,
            endpoint_url=self.stack.endpoint_url,
            aws_access_key_id=embedded_aws.ROOT_KEY,
            aws_secret_access_key=embedded_aws.ROOT_SECRET,
        ).Table(self.deployment.output("LedgerTableName"))
        for item in items:
            table.put_item(Item=item)

    def log(self, *records: dict[str, Any], milliseconds: int) -> None:
        """Write lines into the receivers' log."""
        place = {"logGroupName": self.deployment.output("ReceiverLogGroupName"), "logStreamName": uuid.uuid4().hex}
        logs = self.stack.client("logs")
        logs.create_log_stream(**place)
        events = [{"timestamp": milliseconds, "message": json.dumps(record)} for record in records]
        logs.put_log_events(**place, logEvents=events)

    def land(self, *keys: str) -> None:
        """Put objects into the landing bucket."""
        for key in keys:
            self.stack.client("s3").put_object(
                Bucket=self.deployment.output("LandingBucketName"), Key=key, Body=b"DICM"
            )

    def clear(self) -> None:
        """Empty the ledger, the landing bucket and the log."""
        dynamodb, table = self.stack.client("dynamodb"), self.deployment.output("LedgerTableName")
        for item in dynamodb.scan(TableName=table)["Items"]:
            dynamodb.delete_item(TableName=table, Key={name: item[name] for name in ("pk", "sk")})
        s3, bucket = self.stack.client("s3"), self.deployment.output("LandingBucketName")
        for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
        logs, group = self.stack.client("logs"), self.deployment.output("ReceiverLogGroupName")
        for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
            logs.delete_log_stream(logGroupName=group, logStreamName=stream["logStreamName"])


@pytest.fixture(scope="session")
def running_account() -> Iterator[Account]:
    with LocalStack(json.dumps(TEMPLATE)) as stack, pytest.MonkeyPatch.context() as patch:
        stack.start_aws()
        stack.create_stack()
        for name, value in {
            "AWS_ENDPOINT_URL_MEDICAL_IMAGING": stack.healthimaging_url,
            "AWS_ACCESS_KEY_ID": embedded_aws.ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": embedded_aws.ROOT_SECRET,
            "TZ": "UTC",
        }.items():
            patch.setenv(name, value)
        connection = Connection(region_name=REGION, endpoint_url=stack.endpoint_url)
        yield Account(stack, connection, find(connection, STACK_NAME))


@pytest.fixture
def account(running_account: Account) -> Iterator[Account]:
    running_account.clear()
    yield running_account
