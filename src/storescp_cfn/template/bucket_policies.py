"""Bucket policies: what nobody may do, whatever their own permissions say.

The landing bucket's is the last line of defence of an acknowledged image. It binds those who hold the receiver's keys
as well as administrators: an image is created and never replaced, by the receiver only, encrypted as the bucket says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import awacs.s3
from awacs.aws import (
    Allow,
    ArnLike,
    ArnNotEquals,
    Bool,
    Deny,
    Null,
    Principal,
    Statement,
    StringEquals,
    StringNotEquals,
)
from awacs.aws import ArnEquals as ArnIs
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, If, NoValue, Ref, Sub
from troposphere.s3 import BucketPolicy

from storescp_cfn.template import conditions, findings, iam
from storescp_cfn.template.findings import AcceptedFinding
from storescp_cfn.template.storage import (
    ACCESS_LOG_BUCKET,
    ACCESS_LOG_BUCKET_POLICY,
    BATCHES,
    BUCKET_LOGS,
    COMMITMENT_ATTEMPTS,
    COMMITMENT_REQUESTS,
    COMMITMENT_RESULTS,
    COMMITMENTS,
    COMMITMENTS_DELIVERED,
    INCOMING,
    LANDING_BUCKET,
    LOAD_BALANCER_LOGS,
    QUARANTINE,
    RESULTS_BUCKET,
    SPLIT,
    objects,
)

LANDING_BUCKET_POLICY = "LandingBucketPolicy"
# What the receiver alone writes, what the importer alone writes, and what is written once and for all.
BY_RECEIVER = (INCOMING, BATCHES, COMMITMENT_REQUESTS, COMMITMENT_ATTEMPTS, COMMITMENTS_DELIVERED)
BY_IMPORTER = (SPLIT, QUARANTINE, COMMITMENT_RESULTS)
CREATED_ONLY = (INCOMING, BATCHES, COMMITMENTS)

_DENIES_PLAIN_HTTP = AcceptedFinding(
    "DenyPlainHttp does what the rule asks for; the rule recognises the ARN of objects only when Fn::Join makes it.",
    guard=["s3_bucket_policy_ssl_requests_only_check"],
)
_ADMINISTRATION = (
    "DeleteBucket",
    "DeleteBucketPolicy",
    "PutBucketPolicy",
    "PutBucketVersioning",
    "PutLifecycleConfiguration",
)


def _deny(sid: str, actions: Sequence[str], resources: Sequence[Any], *conditions_of: Any) -> Statement:
    return Statement(
        Sid=sid,
        Effect=Deny,
        Principal=Principal("*"),
        Action=[awacs.s3.Action(action) for action in actions],
        Resource=list(resources),
        Condition=PolicyCondition(list(conditions_of)),
    )


def _only_with_tls(bucket: str) -> Statement:
    """Refuse plain HTTP. TLS older than 1.2 is refused by every AWS endpoint itself, since February 2024."""
    everything = [GetAtt(bucket, "Arn"), Sub(f"${{{bucket}.Arn}}/*")]
    return _deny("DenyPlainHttp", ["*"], everything, Bool({"aws:SecureTransport": False}))


def _policy(logical_id: str, bucket: str, why: str, *statements: Any) -> BucketPolicy:
    return BucketPolicy(
        logical_id,
        Metadata=findings.metadata(why, _DENIES_PLAIN_HTTP),
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        Bucket=Ref(bucket),
        # A plain mapping, because awacs knows no statement that only some stacks have.
        PolicyDocument={"Version": iam.POLICY_LANGUAGE, "Statement": [_only_with_tls(bucket), *statements]},
    )


def _writer_statements(receiver: GetAtt, importer: GetAtt) -> list[Statement]:
    """Each prefix has one writer, and what has landed is created and never replaced; the roles are ARNs."""
    return [
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html; parts of a multipart
        # upload create nothing, its completion does. CopyObject knows no such condition and so is refused too.
        _deny(
            "CreateOnly",
            ["PutObject"],
            objects(LANDING_BUCKET, *CREATED_ONLY),
            Null({"s3:if-none-match": True}),
            Bool({"s3:ObjectCreationOperation": True}),
        ),
        _deny(
            "OnlyTheReceiverWritesWhatArrives",
            ["PutObject"],
            objects(LANDING_BUCKET, *BY_RECEIVER),
            ArnNotEquals({"aws:PrincipalArn": receiver}),
        ),
        _deny(
            "OnlyTheImporterWritesWhatItSettles",
            ["PutObject"],
            objects(LANDING_BUCKET, *BY_IMPORTER),
            ArnNotEquals({"aws:PrincipalArn": importer}),
        ),
    ]


def _readability_statements() -> list[Statement]:
    """Whatever is written can be read by this stack and by HealthImaging."""
    everything = [Sub(f"${{{LANDING_BUCKET}.Arn}}/*")]
    return [
        # A key of the caller's, in the request (SSE-C) or in another account's KMS, would hide an image from us.
        _deny(
            "NoKeyInTheRequest",
            ["PutObject"],
            everything,
            Null({"s3:x-amz-server-side-encryption-customer-algorithm": False}),
        ),
        _deny(
            "NoKeyOfAnother",
            ["PutObject"],
            everything,
            Null({"s3:x-amz-server-side-encryption-aws-kms-key-id": False}),
        ),
        # HealthImaging cannot read what lies in an archive class.
        _deny(
            "NoArchive",
            ["PutObject"],
            everything,
            Null({"s3:x-amz-storage-class": False}),
            StringNotEquals({"s3:x-amz-storage-class": "STANDARD"}),
        ),
    ]


def _conditional_statements(receiver: GetAtt) -> list[If]:
    """Statements that stand only where a parameter asks for them; the receiver's role is an ARN."""
    bucket_and_objects = [GetAtt(LANDING_BUCKET, "Arn"), Sub(f"${{{LANDING_BUCKET}.Arn}}/*")]
    through_the_vpc = _deny(
        "ReceiverThroughTheVpcOnly",
        ["*"],
        bucket_and_objects,
        ArnIs({"aws:PrincipalArn": receiver}),
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies-vpc-endpoint.html
        StringNotEquals({"aws:SourceVpc": Ref("VpcID")}),
    )
    destruction = _deny(
        "OnlyTheAdministratorDestroys",
        ["DeleteObjectVersion", *_ADMINISTRATION],
        bucket_and_objects,
        ArnNotEquals({"aws:PrincipalArn": Ref("AdministratorARN")}),
    )
    return [
        If(conditions.IS_BOUND_TO_ENDPOINT, through_the_vpc, NoValue),
        If(conditions.HAS_ADMINISTRATOR, destruction, NoValue),
    ]


def _landing_statements(receiver_role: str, importer_role: str) -> list[Any]:
    """What nobody may do to what has landed; the roles are logical ids."""
    receiver, importer = GetAtt(receiver_role, "Arn"), GetAtt(importer_role, "Arn")
    return [*_writer_statements(receiver, importer), *_readability_statements(), *_conditional_statements(receiver)]


def _access_log_deliveries() -> list[Statement]:
    """S3 and the load balancer may add their logs, on behalf of this account.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html
    """
    this_account = {"aws:SourceAccount": Ref("AWS::AccountId")}
    load_balancer = Principal("Service", "delivery.logs.amazonaws.com")
    deliveries = ArnLike({"aws:SourceArn": iam.arn("logs", "*")})
    return [
        Statement(
            Sid="DeliverBucketLogs",
            Effect=Allow,
            Principal=Principal("Service", "logging.s3.amazonaws.com"),
            Action=[awacs.s3.PutObject],
            Resource=objects(ACCESS_LOG_BUCKET, BUCKET_LOGS),
            Condition=PolicyCondition(StringEquals(this_account)),
        ),
        Statement(
            Sid="FindLoadBalancerLogs",
            Effect=Allow,
            Principal=load_balancer,
            Action=[awacs.s3.GetBucketAcl],
            Resource=[GetAtt(ACCESS_LOG_BUCKET, "Arn")],
            Condition=PolicyCondition([StringEquals(this_account), deliveries]),
        ),
        Statement(
            Sid="DeliverLoadBalancerLogs",
            Effect=Allow,
            Principal=load_balancer,
            Action=[awacs.s3.PutObject],
            Resource=[Sub(f"${{{ACCESS_LOG_BUCKET}.Arn}}/{LOAD_BALANCER_LOGS}/AWSLogs/${{AWS::AccountId}}/*")],
            Condition=PolicyCondition(
                [StringEquals({**this_account, "s3:x-amz-acl": "bucket-owner-full-control"}), deliveries]
            ),
        ),
    ]


def resources(receiver_role: str, importer_role: str) -> list[AWSObject]:
    """The policy of each bucket; the roles, by logical id, are the two that write into the landing bucket."""
    plain = "Refuses requests without TLS"
    return [
        _policy(ACCESS_LOG_BUCKET_POLICY, ACCESS_LOG_BUCKET, plain, *_access_log_deliveries()),
        _policy(
            LANDING_BUCKET_POLICY,
            LANDING_BUCKET,
            "Lets images be created and never replaced, by the receiver only, and never hidden by another key",
            *_landing_statements(receiver_role, importer_role),
        ),
        _policy("ResultsBucketPolicy", RESULTS_BUCKET, plain),
    ]
