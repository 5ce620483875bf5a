"""What wakes the importer: a notification of the landing bucket, HealthImaging's events, and a minute's schedule.

The bucket tells a topic, not the function: the function's environment names the bucket, and a bucket that named the
function would close a circle that CloudFormation cannot create.
"""

from __future__ import annotations

from typing import Any

import awacs.sns
from awacs.aws import Allow, ArnLike, Bool, Deny, PolicyDocument, Principal, Statement, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref
from troposphere.awslambda import EventInvokeConfig, Permission
from troposphere.events import Rule, Target
from troposphere.sns import SubscriptionResource, Topic, TopicPolicy

from storescp_cfn.template import findings, iam, timeouts
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, PCI, SERVERLESS, AcceptedFinding
from storescp_cfn.template.storage import WAKE_UP_TOPIC, WAKE_UP_TOPIC_POLICY, datastore_id

JOB_ENDED_RULE = "ImportJobEndedRule"
EVERY_MINUTE_RULE = "EveryMinuteRule"
WAKE_UP_SUBSCRIPTION = "WakeUpSubscription"

LEVEL_TRIGGERED = (
    "An event only wakes the importer, which looks at the facts; the next minute's wake-up makes up for a lost one, "
    "and a queue of lost ones would have no reader. Failed runs and late batches have alarms."
)
_NO_DEAD_EVENTS = AcceptedFinding(LEVEL_TRIGGERED, nag=findings.nag("EventBusDLQ", SERVERLESS))
_NO_DEAD_MESSAGES = AcceptedFinding(LEVEL_TRIGGERED, nag=findings.nag("SNSRedrivePolicy", SERVERLESS))
_NO_DESTINATION = AcceptedFinding(LEVEL_TRIGGERED, nag=findings.nag("LambdaAsyncFailureDestination", SERVERLESS))
_NAMES_NOBODY = AcceptedFinding(
    "S3 cannot publish to a topic with SNS's own key. Messages name batches, never an image or a patient.",
    checkov=["CKV_AWS_26"],
    guard=["SNS_ENCRYPTED_KMS"],
    nag=findings.nag("SNSEncryptedKMS", HIPAA, NIST_4, NIST_5, PCI),
    others=["AWS-0095"],
)


def _topic_policy() -> TopicPolicy:
    """S3 may publish this account's notifications; nobody may without TLS.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html
    """
    return TopicPolicy(
        WAKE_UP_TOPIC_POLICY,
        Metadata=findings.metadata("Lets this account's buckets publish, and nobody without TLS"),
        Topics=[Ref(WAKE_UP_TOPIC)],
        PolicyDocument=PolicyDocument(
            Version=iam.POLICY_LANGUAGE,
            Statement=[
                Statement(
                    Sid="PublishNotifications",
                    Effect=Allow,
                    Principal=Principal("Service", "s3.amazonaws.com"),
                    Action=[awacs.sns.Publish],
                    Resource=[Ref(WAKE_UP_TOPIC)],
                    Condition=PolicyCondition(
                        [
                            StringEquals({"aws:SourceAccount": Ref("AWS::AccountId")}),
                            ArnLike({"aws:SourceArn": iam.global_arn("s3", "*")}),
                        ]
                    ),
                ),
                Statement(
                    Sid="DenyPlainHttp",
                    Effect=Deny,
                    Principal=Principal("*"),
                    Action=[awacs.sns.Publish],
                    Resource=[Ref(WAKE_UP_TOPIC)],
                    Condition=PolicyCondition(Bool({"aws:SecureTransport": False})),
                ),
            ],
        ),
    )


def _permission(source: str, importer: str, principal: str, arn: Any, what: str) -> Permission:
    return Permission(
        f"{source}Permission",
        Metadata=findings.metadata(f"Lets {source}, and no other {what}, wake the importer"),
        Action="lambda:InvokeFunction",
        FunctionName=Ref(importer),
        Principal=principal,
        SourceArn=arn,
    )


def _from_bucket(importer: str) -> list[AWSObject]:
    """The topic that the landing bucket tells, and the way from it to the importer."""
    return [
        Topic(
            WAKE_UP_TOPIC,
            Metadata=findings.metadata("Takes the landing bucket's notifications to the importer", _NAMES_NOBODY),
            DisplayName="StoreSCP wake-ups",
        ),
        _topic_policy(),
        SubscriptionResource(
            WAKE_UP_SUBSCRIPTION,
            Metadata=findings.metadata(
                "A batch is closed or a commitment asked for: wake the importer", _NO_DEAD_MESSAGES
            ),
            Protocol="lambda",
            TopicArn=Ref(WAKE_UP_TOPIC),
            Endpoint=GetAtt(importer, "Arn"),
        ),
        _permission(WAKE_UP_TOPIC, importer, "sns.amazonaws.com", Ref(WAKE_UP_TOPIC), "topic"),
    ]


def _from_rule(logical_id: str, importer: str, description: str, **when: Any) -> list[AWSObject]:
    """A rule that wakes the importer, and the permission for exactly that rule to do so."""
    rule = Rule(
        logical_id,
        Metadata=findings.metadata(description, _NO_DEAD_EVENTS),
        Description=description,
        State="ENABLED",
        Targets=[Target(Arn=GetAtt(importer, "Arn"), Id="Importer")],
        **when,
    )
    return [rule, _permission(logical_id, importer, "events.amazonaws.com", GetAtt(logical_id, "Arn"), "rule")]


def resources(importer: str) -> list[AWSObject]:
    """Every resource of this concern; `importer` is the function's logical id."""
    job_ended = {
        "source": ["aws.medical-imaging"],
        "detail-type": ["Import Job Completed", "Import Job Failed"],
        "detail": {"datastoreId": [datastore_id()]},
    }
    return [
        # The next wake-up repairs a failed run; retries and dead letters would only repeat it.
        EventInvokeConfig(
            "ImporterInvocations",
            Metadata=findings.metadata("Tries no event twice", _NO_DESTINATION),
            FunctionName=Ref(importer),
            Qualifier="$LATEST",
            MaximumRetryAttempts=0,
            MaximumEventAgeInSeconds=timeouts.WAKE_UP_AGE_SECONDS,
        ),
        *_from_bucket(importer),
        *_from_rule(JOB_ENDED_RULE, importer, "An import job has ended: wake the importer", EventPattern=job_ended),
        *_from_rule(
            EVERY_MINUTE_RULE,
            importer,
            "Every minute: wake the importer, whatever event was lost",
            ScheduleExpression="rate(1 minute)",
        ),
    ]
