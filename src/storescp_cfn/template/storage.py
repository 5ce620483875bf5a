"""Where images lie: the buckets and the data store. All of it outlives the stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troposphere import AWSObject, If, Ref, Sub
from troposphere.healthimaging import Datastore
from troposphere.s3 import (
    AbortIncompleteMultipartUpload,
    Bucket,
    BucketEncryption,
    Filter,
    LifecycleConfiguration,
    LifecycleRule,
    LoggingConfiguration,
    NoncurrentVersionExpiration,
    NotificationConfiguration,
    OwnershipControls,
    OwnershipControlsRule,
    PublicAccessBlockConfiguration,
    Rules,
    S3Key,
    ServerSideEncryptionByDefault,
    ServerSideEncryptionRule,
    TopicConfigurations,
    VersioningConfiguration,
)

from storescp_cfn.template import conditions, findings
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, PCI, AcceptedFinding

LANDING_BUCKET = "LandingBucket"
RESULTS_BUCKET = "ResultsBucket"
ACCESS_LOG_BUCKET = "AccessLogBucket"
ACCESS_LOG_BUCKET_POLICY = "AccessLogBucketPolicy"
LEDGER = "Ledger"
WAKE_UP_TOPIC = "WakeUpTopic"
WAKE_UP_TOPIC_POLICY = "WakeUpTopicPolicy"
DATASTORE = "Datastore"

# The key layout of docs/adr/0001; the importer writes results below jobs/.
INCOMING = "incoming/"
BATCHES = "batches/"
SPLIT = "split/"
QUARANTINE = "quarantine/"
COMMITMENTS = "commitments/"
COMMITMENT_REQUESTS = "commitments/requests/"
COMMITMENT_ATTEMPTS = "commitments/attempts/"
COMMITMENT_RESULTS = "commitments/results/"
COMMITMENTS_DELIVERED = "commitments/delivered/"
JOBS = "jobs/"
# What wakes the importer when it is created below these prefixes.
WAKING_PREFIXES = (BATCHES, COMMITMENT_REQUESTS)

BUCKET_LOGS = "s3/"
LOAD_BALANCER_LOGS = "nlb"
# An upload that its receiver did not finish was never acknowledged.
UNFINISHED_UPLOAD_DAYS = 1


def datastore_id() -> If:
    """The data store to import into: the stack's own, or the one that was there before."""
    return If(conditions.CREATES_DATASTORE, Ref(DATASTORE), Ref("DatastoreID"))


def datastore_arn() -> Sub:
    """The data store's ARN, as IAM policies name it."""
    return Sub(
        "arn:${AWS::Partition}:medical-imaging:${AWS::Region}:${AWS::AccountId}:datastore/${Id}", Id=datastore_id()
    )


def objects(bucket: str, *prefixes: str) -> list[Sub]:
    """ARNs of everything below prefixes of a bucket of this stack."""
    return [Sub(f"${{{bucket}.Arn}}/{prefix}*") for prefix in prefixes]


_NOT_REPLICATED = AcceptedFinding(
    "A second copy in another Region or account is the hospital's decision. Versioning keeps what is removed, and "
    "HealthImaging holds what is imported.",
    guard=["S3_BUCKET_REPLICATION_ENABLED"],
    nag=findings.nag("S3BucketReplicationEnabled", HIPAA, NIST_4, NIST_5, PCI),
)
_NOT_LOCKED = AcceptedFinding(
    "Object Lock holds versions for a fixed time, and nobody can say how long an image waits for its import; with it, "
    "a sender of junk could not be cleaned up after for years. Instead the bucket policy lets images be created only, "
    "versions outlive removal by RetentionDays, and AdministratorARN names who alone may delete one.",
    guard=["S3_BUCKET_DEFAULT_LOCK_ENABLED", "s3_bucket_object_lock_enabled_check"],
    nag=findings.nag("S3BucketDefaultLockEnabled", NIST_4),
)
_NO_ACL = AcceptedFinding(
    "Access control lists are switched off altogether (BucketOwnerEnforced).", guard=["S3_BUCKET_NO_PUBLIC_RW_ACL"]
)
_AWS_KEY = AcceptedFinding(
    "Encrypted with the AWS managed key of S3 in this account; with KmsKeyARN it is the customer's.",
    others=["AWS-0132"],
)
_NO_EVENTS = AcceptedFinding("Nobody waits for its events.", guard=["s3_event_notifications_enabled_check"])
_IS_THE_LOG = AcceptedFinding(
    "It is the access log: logging into itself would never end.",
    checkov=["CKV_AWS_18"],
    guard=["S3_BUCKET_LOGGING_ENABLED", "s3_bucket_logging_enabled_check"],
    others=["AWS-0089"],
)
_LOG_KEY = AcceptedFinding(
    "Amazon S3 delivers access logs only to buckets that are encrypted with S3's own keys. They hold no images.",
    guard=["s3_bucket_default_encryption_kms_check"],
    nag=findings.nag("S3DefaultEncryptionKMS", HIPAA, NIST_5, PCI),
    others=["AWS-0132"],
)


def _encryption(algorithm: str, **properties: Any) -> BucketEncryption:
    return BucketEncryption(
        ServerSideEncryptionConfiguration=[
            ServerSideEncryptionRule(
                ServerSideEncryptionByDefault=ServerSideEncryptionByDefault(SSEAlgorithm=algorithm, **properties),
                BucketKeyEnabled=algorithm == "aws:kms",
            )
        ]
    )


def _kms_encryption() -> BucketEncryption:
    """With the customer's key, or with the account's own for S3; a bucket key makes the calls to KMS few."""
    return _encryption("aws:kms", KMSMasterKeyID=conditions.kms_key())


def _bucket(
    logical_id: str,
    why: str,
    encryption: BucketEncryption,
    rules: Sequence[LifecycleRule],
    accepted: Sequence[AcceptedFinding],
    **properties: Any,
) -> Bucket:
    """A bucket as all of ours are: private, versioned, encrypted, kept when the stack goes."""
    abort = LifecycleRule(
        Id="AbortUnfinishedUploads",
        Status="Enabled",
        AbortIncompleteMultipartUpload=AbortIncompleteMultipartUpload(DaysAfterInitiation=UNFINISHED_UPLOAD_DAYS),
    )
    return Bucket(
        logical_id,
        Metadata=findings.metadata(why, _NOT_REPLICATED, _NOT_LOCKED, _NO_ACL, *accepted),
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        BucketEncryption=encryption,
        LifecycleConfiguration=LifecycleConfiguration(Rules=[abort, *rules]),
        OwnershipControls=OwnershipControls(Rules=[OwnershipControlsRule(ObjectOwnership="BucketOwnerEnforced")]),
        PublicAccessBlockConfiguration=PublicAccessBlockConfiguration(
            BlockPublicAcls=True, BlockPublicPolicy=True, IgnorePublicAcls=True, RestrictPublicBuckets=True
        ),
        VersioningConfiguration=VersioningConfiguration(Status="Enabled"),
        **properties,
    )


def _expire_removed(name: str, prefix: str) -> LifecycleRule:
    """Forget the versions that the importer removed, RetentionDays after it did; what is current never expires."""
    return LifecycleRule(
        Id=name,
        Status="Enabled",
        Prefix=prefix,
        ExpiredObjectDeleteMarker=True,
        NoncurrentVersionExpiration=NoncurrentVersionExpiration(NoncurrentDays=Ref("RetentionDays")),
    )


def _logged(bucket: str) -> LoggingConfiguration:
    return LoggingConfiguration(
        DestinationBucketName=Ref(ACCESS_LOG_BUCKET), LogFilePrefix=f"{BUCKET_LOGS}{bucket.lower()}/"
    )


def _landing_bucket() -> Bucket:
    """Nothing current expires here, and below quarantine/ nothing at all: it may be the only copy of an image."""
    return _bucket(
        LANDING_BUCKET,
        "Holds every acknowledged image until it is imported, and refused ones with their reasons",
        _kms_encryption(),
        [
            _expire_removed("ForgetImportedImages", INCOMING),
            _expire_removed("ForgetSplitImages", SPLIT),
            _expire_removed("ForgetSettledManifests", BATCHES),
            _expire_removed("ForgetDeliveredCommitments", COMMITMENTS),
        ],
        [_AWS_KEY],
        DependsOn=[ACCESS_LOG_BUCKET_POLICY, WAKE_UP_TOPIC_POLICY],
        LoggingConfiguration=_logged("landing"),
        NotificationConfiguration=NotificationConfiguration(
            TopicConfigurations=[
                TopicConfigurations(
                    Event="s3:ObjectCreated:*",
                    Topic=Ref(WAKE_UP_TOPIC),
                    Filter=Filter(S3Key=S3Key(Rules=[Rules(Name="prefix", Value=prefix)])),
                )
                for prefix in WAKING_PREFIXES
            ]
        ),
    )


def _results_bucket() -> Bucket:
    """Nothing expires here: the results of a job are the ledger's word about each imported instance."""
    return _bucket(
        RESULTS_BUCKET,
        "Holds what HealthImaging says of each import job: which images were imported, and which not",
        _kms_encryption(),
        [],
        [_AWS_KEY, _NO_EVENTS],
        DependsOn=[ACCESS_LOG_BUCKET_POLICY],
        LoggingConfiguration=_logged("results"),
    )


def _access_log_bucket() -> Bucket:
    """S3 delivers access logs to buckets with S3-managed keys only.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    expire = LifecycleRule(
        Id="ExpireLogs",
        Status="Enabled",
        ExpirationInDays=Ref("LogRetentionDays"),
        NoncurrentVersionExpiration=NoncurrentVersionExpiration(NoncurrentDays=1),
    )
    return _bucket(
        ACCESS_LOG_BUCKET,
        "Holds the access logs of the other buckets and of the load balancer",
        _encryption("AES256"),
        [expire],
        [_IS_THE_LOG, _LOG_KEY, _NO_EVENTS],
    )


def _datastore() -> Datastore:
    """Its key is fixed when it is made; CloudFormation replaces it when the key changes, and keeps the old one."""
    return Datastore(
        DATASTORE,
        Metadata=findings.metadata("Holds the imported images, unless DatastoreID names a data store that does"),
        Condition=conditions.CREATES_DATASTORE,
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        DatastoreName=Ref("AWS::StackName"),
        KmsKeyArn=conditions.kms_key(),
    )


def resources() -> list[AWSObject]:
    """The buckets and the data store."""
    return [_access_log_bucket(), _landing_bucket(), _results_bucket(), _datastore()]
