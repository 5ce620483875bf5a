"""Alarms, the topic they go to, and a dashboard for whoever looks after the archive."""

from __future__ import annotations

import awacs.sns
from awacs.aws import Allow, ArnLike, Bool, Deny, PolicyDocument, Principal, Statement, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref, Sub
from troposphere.cloudwatch import (
    Alarm,
    Metric,
    MetricDataQuery,
    MetricDimension,
    MetricStat,
)
from troposphere.sns import SubscriptionResource, Topic, TopicPolicy

from storescp_cfn.template import conditions, dashboard, findings, iam, queries, service
from storescp_cfn.template.alarms import ALARM_TOPIC, ALARMS, AlarmSpec
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, PCI, SERVERLESS, AcceptedFinding

FEWER_TASKS_ALARM = "FewerTasksThanDesiredAlarm"


_TOPIC_KEY = AcceptedFinding(
    "CloudWatch alarms cannot publish to a topic with SNS's own key. Messages name metrics, never patients; with "
    "KmsKeyARN the topic is encrypted with the customer's key.",
    checkov=["CKV_AWS_26"],
    guard=["SNS_ENCRYPTED_KMS"],
    nag=findings.nag("SNSEncryptedKMS", HIPAA, NIST_4, NIST_5, PCI),
    others=["AWS-0095"],
)
# https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
_NO_DEAD_MAIL = AcceptedFinding(
    "SNS tries an email 50 times in 6 hours, and CloudWatch keeps the alarm's state and history; a queue of mails that "
    "did not arrive would have no reader.",
    nag=findings.nag("SNSRedrivePolicy", SERVERLESS),
)


FEWER_TASKS = AlarmSpec(
    FEWER_TASKS_ALARM,
    "desired - running",
    "Minimum",
    "Fewer receivers run than should, for 15 minutes.",
    "read the service events: often a subnet has no free address, the image cannot be pulled, or the account's Fargate "
    "quota is used up.",
    ("service events",),
    periods=3,
    namespace="ECS/ContainerInsights",
)


def _container_insights(metric: str) -> MetricStat:
    return MetricStat(
        Metric=Metric(
            Namespace="ECS/ContainerInsights",
            MetricName=metric,
            Dimensions=[
                MetricDimension(Name="ClusterName", Value=Ref(service.CLUSTER)),
                MetricDimension(Name="ServiceName", Value=GetAtt(service.SERVICE, "Name")),
            ],
        ),
        Period=300,
        Stat="Minimum",
    )


def _fewer_tasks_alarm() -> Alarm:
    return Alarm(
        FEWER_TASKS_ALARM,
        Metadata=findings.metadata(FEWER_TASKS.happened),
        AlarmDescription=Sub(FEWER_TASKS.message),
        Metrics=[
            MetricDataQuery(Id="desired", MetricStat=_container_insights("DesiredTaskCount"), ReturnData=False),
            MetricDataQuery(Id="running", MetricStat=_container_insights("RunningTaskCount"), ReturnData=False),
            MetricDataQuery(Id="missing", Expression="desired - running", Label="Receivers missing", ReturnData=True),
        ],
        EvaluationPeriods=FEWER_TASKS.periods,
        Threshold=FEWER_TASKS.threshold,
        ComparisonOperator=FEWER_TASKS.comparison,
        TreatMissingData=FEWER_TASKS.missing,
        AlarmActions=[Ref(ALARM_TOPIC)],
        OKActions=[Ref(ALARM_TOPIC)],
    )


def _topic_policy() -> TopicPolicy:
    """CloudWatch may publish this account's alarms; nobody may without TLS.

    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    """
    return TopicPolicy(
        "AlarmTopicPolicy",
        Metadata=findings.metadata("Lets this account's alarms publish, and nobody without TLS"),
        Topics=[Ref(ALARM_TOPIC)],
        PolicyDocument=PolicyDocument(
            Version=iam.POLICY_LANGUAGE,
            Statement=[
                Statement(
                    Sid="PublishAlarms",
                    Effect=Allow,
                    Principal=Principal("Service", "cloudwatch.amazonaws.com"),
                    Action=[awacs.sns.Publish],
                    Resource=[Ref(ALARM_TOPIC)],
                    Condition=PolicyCondition(
                        [
                            StringEquals({"aws:SourceAccount": Ref("AWS::AccountId")}),
                            ArnLike({"aws:SourceArn": iam.arn("cloudwatch", "alarm:*")}),
                        ]
                    ),
                ),
                Statement(
                    Sid="DenyPlainHttp",
                    Effect=Deny,
                    Principal=Principal("*"),
                    Action=[awacs.sns.Publish],
                    Resource=[Ref(ALARM_TOPIC)],
                    Condition=PolicyCondition(Bool({"aws:SecureTransport": False})),
                ),
            ],
        ),
    )


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        Topic(
            ALARM_TOPIC,
            Metadata=findings.metadata("Takes every alarm to whoever subscribes", _TOPIC_KEY),
            DisplayName="StoreSCP",
            KmsMasterKeyId=conditions.kms_key(),
        ),
        _topic_policy(),
        SubscriptionResource(
            "AlarmSubscription",
            Metadata=findings.metadata("Sends alarms to AlarmEmail", _NO_DEAD_MAIL),
            Condition=conditions.HAS_ALARM_EMAIL,
            Protocol="email",
            TopicArn=Ref(ALARM_TOPIC),
            Endpoint=Ref("AlarmEmail"),
        ),
        *(alarm.resource() for alarm in ALARMS),
        _fewer_tasks_alarm(),
        dashboard.resource([alarm.logical_id for alarm in (*ALARMS, FEWER_TASKS) if not alarm.condition]),
        *queries.resources(),
    ]
