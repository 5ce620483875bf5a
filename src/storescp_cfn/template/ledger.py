"""The ledger: the table that says what became of each batch, study and image. It outlives the stack."""

from __future__ import annotations

from troposphere import AWSObject
from troposphere.dynamodb import (
    AttributeDefinition,
    GlobalSecondaryIndex,
    KeySchema,
    PointInTimeRecoverySpecification,
    Projection,
    SSESpecification,
    Table,
    TimeToLiveSpecification,
)

from storescp_cfn.template import conditions, findings
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, AcceptedFinding
from storescp_cfn.template.storage import LEDGER

# Sparse indexes of docs/adr/0001, by their hash and range keys.
UNSETTLED_INDEX = "Unsettled"
OPEN_INDEX = "Open"
INDEXES = {UNSETTLED_INDEX: ("unsettled", "batch"), OPEN_INDEX: ("open", "open_since")}
# Only what was copied for convenience carries it: a device's days.
TIME_TO_LIVE = "expires_at"

_TABLE_KEY = AcceptedFinding(
    "Encrypted with the AWS managed key of DynamoDB in this account; with KmsKeyARN it is the customer's.",
    checkov=["CKV_AWS_119"],
    guard=["DYNAMODB_TABLE_ENCRYPTED_KMS"],
    others=["AWS-0025"],
)
_NO_BACKUP_PLAN = AcceptedFinding(
    "Point-in-time recovery covers 35 days; a backup plan is the hospital's decision.",
    nag=findings.nag("DynamoDBInBackupPlan", HIPAA, NIST_4, NIST_5),
)


def _keys(hash_key: str, range_key: str) -> list[KeySchema]:
    return [
        KeySchema(AttributeName=hash_key, KeyType="HASH"),
        KeySchema(AttributeName=range_key, KeyType="RANGE"),
    ]


def _index(name: str) -> GlobalSecondaryIndex:
    return GlobalSecondaryIndex(
        IndexName=name, KeySchema=_keys(*INDEXES[name]), Projection=Projection(ProjectionType="ALL")
    )


def resources() -> list[AWSObject]:
    """The table."""
    attributes = ["pk", "sk", *(key for keys in INDEXES.values() for key in keys)]
    return [
        Table(
            LEDGER,
            Metadata=findings.metadata("Says what became of each batch, study and image", _TABLE_KEY, _NO_BACKUP_PLAN),
            DeletionPolicy="Retain",
            UpdateReplacePolicy="Retain",
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=True,
            AttributeDefinitions=[AttributeDefinition(AttributeName=name, AttributeType="S") for name in attributes],
            KeySchema=_keys("pk", "sk"),
            GlobalSecondaryIndexes=[_index(name) for name in INDEXES],
            TimeToLiveSpecification=TimeToLiveSpecification(AttributeName=TIME_TO_LIVE, Enabled=True),
            PointInTimeRecoverySpecification=PointInTimeRecoverySpecification(PointInTimeRecoveryEnabled=True),
            SSESpecification=SSESpecification(SSEEnabled=True, SSEType="KMS", KMSMasterKeyId=conditions.kms_key()),
        )
    ]
