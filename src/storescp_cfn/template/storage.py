"""Where images and facts lie: landing and results buckets, the ledger, the data store."""

from __future__ import annotations

from troposphere import AWSObject, Ref, Sub
from troposphere.dynamodb import (
    AttributeDefinition,
    GlobalSecondaryIndex,
    KeySchema,
    PointInTimeRecoverySpecification,
    Projection,
    Table,
)
from troposphere.healthimaging import Datastore
from troposphere.s3 import (
    Bucket,
    BucketEncryption,
    EventBridgeConfiguration,
    NotificationConfiguration,
    PublicAccessBlockConfiguration,
    ServerSideEncryptionByDefault,
    ServerSideEncryptionRule,
    VersioningConfiguration,
)

LANDING_BUCKET = "LandingBucket"
RESULTS_BUCKET = "ResultsBucket"
LEDGER = "Ledger"
DATASTORE = "Datastore"

# The landing bucket's key layout, docs/adr/0001.
INCOMING = "incoming/"
BATCHES = "batches/"
QUARANTINE = "quarantine/"
UNSETTLED_INDEX = "Unsettled"


def datastore_arn() -> Sub:
    """The data store's ARN, as IAM policies name it."""
    return Sub(
        "arn:${AWS::Partition}:medical-imaging:${AWS::Region}:${AWS::AccountId}:datastore/${Id}",
        Id=Ref(DATASTORE),
    )


def _bucket(logical_id: str, **properties: object) -> Bucket:
    return Bucket(
        logical_id,
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        BucketEncryption=BucketEncryption(
            ServerSideEncryptionConfiguration=[
                ServerSideEncryptionRule(
                    ServerSideEncryptionByDefault=ServerSideEncryptionByDefault(SSEAlgorithm="AES256")
                )
            ]
        ),
        PublicAccessBlockConfiguration=PublicAccessBlockConfiguration(
            BlockPublicAcls=True, BlockPublicPolicy=True, IgnorePublicAcls=True, RestrictPublicBuckets=True
        ),
        VersioningConfiguration=VersioningConfiguration(Status="Enabled"),
        **properties,
    )


def _ledger() -> Table:
    return Table(
        LEDGER,
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            AttributeDefinition(AttributeName=name, AttributeType="S") for name in ("pk", "sk", "unsettled", "batch")
        ],
        KeySchema=[
            KeySchema(AttributeName="pk", KeyType="HASH"),
            KeySchema(AttributeName="sk", KeyType="RANGE"),
        ],
        GlobalSecondaryIndexes=[
            GlobalSecondaryIndex(
                IndexName=UNSETTLED_INDEX,
                KeySchema=[
                    KeySchema(AttributeName="unsettled", KeyType="HASH"),
                    KeySchema(AttributeName="batch", KeyType="RANGE"),
                ],
                Projection=Projection(ProjectionType="ALL"),
            )
        ],
        PointInTimeRecoverySpecification=PointInTimeRecoverySpecification(PointInTimeRecoveryEnabled=True),
    )


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    events = NotificationConfiguration(EventBridgeConfiguration=EventBridgeConfiguration(EventBridgeEnabled=True))
    return [
        _bucket(LANDING_BUCKET, NotificationConfiguration=events),
        _bucket(RESULTS_BUCKET),
        _ledger(),
        Datastore(
            DATASTORE,
            DeletionPolicy="Retain",
            UpdateReplacePolicy="Retain",
            DatastoreName=Ref("AWS::StackName"),
        ),
    ]
