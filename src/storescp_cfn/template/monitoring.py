"""Alarms, the topic they go to, and a dashboard for whoever looks after the archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import awacs.sns
from awacs.aws import Allow, ArnLike, Bool, Deny, PolicyDocument, Principal, Statement, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref
from troposphere.cloudwatch import (
    Alarm,
    Metric,
    MetricDataQuery,
    MetricDimension,
    MetricStat,
)
from troposphere.sns import SubscriptionResource, Topic, TopicPolicy

from storescp_cfn.template import conditions, dashboard, findings, iam, importing, metrics, network, service, timeouts
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, PCI, AcceptedFinding

ALARM_TOPIC = "AlarmTopic"
FEWER_TASKS_ALARM = "FewerTasksThanDesiredAlarm"

ABOVE = "GreaterThanThreshold"
BELOW = "LessThanThreshold"


_TOPIC_KEY = AcceptedFinding(
    "CloudWatch alarms cannot publish to a topic with SNS's own key. Messages name metrics, never patients; with "
    "KmsKeyARN the topic is encrypted with the customer's key.",
    checkov=["CKV_AWS_26"],
    guard=["SNS_ENCRYPTED_KMS"],
    nag=findings.nag("SNSEncryptedKMS", HIPAA, NIST_4, NIST_5, PCI),
    others=["AWS-0095"],
)


@dataclass(frozen=True)
class AlarmSpec:
    """One alarm: `statistic` of `metric` over `periods` of `period_seconds` is on the wrong side of `threshold`.

    meaning: what has happened and what to do, for the person who gets the message.
    missing: how missing data are treated. after: what must be there before it, so that a new stack does not alarm.
    """

    logical_id: str
    metric: str
    statistic: str
    meaning: str
    threshold: int = 0
    comparison: str = ABOVE
    period_seconds: int = 300
    periods: Any = 1
    missing: str = "notBreaching"
    namespace: str = metrics.NAMESPACE
    dimensions: Mapping[str, Any] = field(default_factory=lambda: {metrics.STACK_DIMENSION: Ref("AWS::StackName")})
    condition: str = ""
    after: str = ""

    def resource(self) -> Alarm:
        """The CloudWatch alarm; it tells the topic when it starts and when it is over."""
        attributes: dict[str, Any] = {"Condition": self.condition} if self.condition else {}
        attributes |= {"DependsOn": [self.after]} if self.after else {}
        return Alarm(
            self.logical_id,
            Metadata=findings.metadata(self.meaning),
            AlarmDescription=self.meaning,
            Namespace=self.namespace,
            MetricName=self.metric,
            Dimensions=[MetricDimension(Name=name, Value=value) for name, value in self.dimensions.items()],
            Statistic=self.statistic,
            Period=self.period_seconds,
            EvaluationPeriods=self.periods,
            Threshold=self.threshold,
            ComparisonOperator=self.comparison,
            TreatMissingData=self.missing,
            AlarmActions=[Ref(ALARM_TOPIC)],
            OKActions=[Ref(ALARM_TOPIC)],
            **attributes,
        )


ALARMS = (
    AlarmSpec(
        "NoHealthyReceiverAlarm",
        "HealthyHostCount",
        "Maximum",
        "No receiver is healthy: devices cannot send. Look at the ECS service's events and the receiver's log.",
        threshold=1,
        comparison=BELOW,
        period_seconds=60,
        periods=3,
        missing="breaching",
        namespace="AWS/NetworkELB",
        dimensions={
            "LoadBalancer": GetAtt(network.LOAD_BALANCER, "LoadBalancerFullName"),
            "TargetGroup": GetAtt(network.TARGET_GROUP, "TargetGroupFullName"),
        },
        after=service.SERVICE,
    ),
    AlarmSpec(
        "FailedStoresAlarm",
        metrics.INSTANCES_FAILED,
        "Sum",
        "Images were answered with a failure status: the devices still have them. The receiver's log names the reason.",
    ),
    AlarmSpec(
        "ManifestWriteFailedAlarm",
        metrics.MANIFEST_FAILURES,
        "Sum",
        "A batch could not be closed. The importer adopts it later; look at the receiver's log.",
    ),
    AlarmSpec(
        "QuarantinedInstancesAlarm",
        metrics.INSTANCES_QUARANTINED,
        "Sum",
        "HealthImaging refused images. They lie below quarantine/ in the landing bucket, each with its reason.",
    ),
    AlarmSpec(
        "NonPrimaryInstancesAlarm",
        metrics.INSTANCES_NON_PRIMARY,
        "Sum",
        "Imported images contradict their series, for example in the patient's id: HealthImaging put them into an "
        "image set that is not the primary one. The ledger names the study.",
    ),
    AlarmSpec(
        "MissingInstancesAlarm",
        metrics.INSTANCES_MISSING,
        "Maximum",
        "A batch counts images that are not in the landing bucket. Ask the sender for the study again, and find out "
        "who removed them: the access logs tell.",
    ),
    AlarmSpec(
        "UnrecognizedObjectsAlarm",
        metrics.UNRECOGNIZED_OBJECTS,
        "Sum",
        "Objects lie in the landing bucket that no receiver wrote. They are in quarantine/ now; find out who put them.",
    ),
    AlarmSpec(
        "UnsettledBatchAlarm",
        metrics.OLDEST_UNSETTLED_BATCH_SECONDS,
        "Maximum",
        f"A batch is neither imported nor quarantined {timeouts.UNSETTLED_BATCH_ALARM_SECONDS // 60} minutes after it "
        "was closed, or the importer is silent. Nothing is lost; the importer's log names the reason.",
        threshold=timeouts.UNSETTLED_BATCH_ALARM_SECONDS,
        missing="breaching",
        periods=2,
    ),
    AlarmSpec(
        "ImportErrorsAlarm",
        metrics.IMPORT_ERRORS,
        "Sum",
        "The importer met what cannot be fixed by retrying, such as a refused call. Its log names it; nothing is lost.",
    ),
    AlarmSpec(
        "ImporterFailedAlarm",
        "Errors",
        "Sum",
        "The importer ended with an error. Its log says why; the next minute's run tries again.",
        periods=3,
        namespace="AWS/Lambda",
        dimensions={"FunctionName": Ref(importing.IMPORTER)},
    ),
    AlarmSpec(
        "CertificateExpiringAlarm",
        "DaysToExpiry",
        "Minimum",
        f"The TLS certificate expires in less than {timeouts.CERTIFICATE_ALARM_DAYS} days: renew it, or devices cannot "
        "send.",
        threshold=timeouts.CERTIFICATE_ALARM_DAYS,
        comparison=BELOW,
        period_seconds=86400,
        namespace="AWS/CertificateManager",
        dimensions={"CertificateArn": Ref("TLSCertificateARN")},
        # ACM measures until the certificate has expired, and then no more.
        missing="ignore",
        condition=conditions.HAS_TLS,
    ),
    AlarmSpec(
        "SilenceAlarm",
        metrics.INSTANCES_RECEIVED,
        "Sum",
        "No image has come from any device for SilenceHours hours. Look whether devices send, and whether they reach "
        "the load balancer.",
        threshold=1,
        comparison=BELOW,
        period_seconds=3600,
        # A new stack has to be silent for so long before it says so: what was before it is no data.
        periods=Ref("SilenceHours"),
        condition=conditions.WATCHES_SILENCE,
    ),
)

FEWER_TASKS_MEANING = (
    "Fewer receivers run than should, for 15 minutes. Look at the ECS service's events: often a subnet has no free "
    "address, the image cannot be pulled, or the account's Fargate quota is used up."
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
        Metadata=findings.metadata(FEWER_TASKS_MEANING),
        AlarmDescription=FEWER_TASKS_MEANING,
        Metrics=[
            MetricDataQuery(Id="desired", MetricStat=_container_insights("DesiredTaskCount"), ReturnData=False),
            MetricDataQuery(Id="running", MetricStat=_container_insights("RunningTaskCount"), ReturnData=False),
            MetricDataQuery(Id="missing", Expression="desired - running", Label="Receivers missing", ReturnData=True),
        ],
        EvaluationPeriods=3,
        Threshold=0,
        ComparisonOperator=ABOVE,
        TreatMissingData="breaching",
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
            Metadata=findings.metadata("Sends alarms to AlarmEmail"),
            Condition=conditions.HAS_ALARM_EMAIL,
            Protocol="email",
            TopicArn=Ref(ALARM_TOPIC),
            Endpoint=Ref("AlarmEmail"),
        ),
        *(alarm.resource() for alarm in ALARMS),
        _fewer_tasks_alarm(),
        dashboard.resource(),
    ]
