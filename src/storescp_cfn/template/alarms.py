"""Every alarm, as data: what happened, the first step of whoever gets the message, and where to look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from troposphere import GetAtt, Ref, Sub
from troposphere.cloudwatch import Alarm, MetricDimension

from storescp_cfn.template import (
    conditions,
    findings,
    importing,
    metrics,
    network,
    service,
    storage,
    timeouts,
    wake_ups,
)

ALARM_TOPIC = "AlarmTopic"
ABOVE = "GreaterThanThreshold"
BELOW = "LessThanThreshold"

# Places that a message may lead to: what the reader is told, and the address, with logical ids in ${…}.
_CONSOLE = "https://${AWS::Region}.console.aws.amazon.com"
_LOG = f"{_CONSOLE}/cloudwatch/home?region=${{AWS::Region}}#logsV2:log-groups/log-group/"
PLACES = {
    "receiver log": f"{_LOG}${{{service.RECEIVER_LOG_GROUP}}}",
    "importer log": f"{_LOG}${{{importing.IMPORTER_LOG_GROUP}}}",
    "quarantine": f"{_CONSOLE}/s3/buckets/${{{storage.LANDING_BUCKET}}}?region=${{AWS::Region}}&prefix=quarantine/",
    "service events": f"{_CONSOLE}/ecs/v2/clusters/${{{service.CLUSTER}}}/services/${{{service.SERVICE}.Name}}/events"
    "?region=${AWS::Region}",
}
STATUS = "storescp-cfn status ${AWS::StackName}"
QUARANTINE_LIST = "storescp-cfn quarantine list ${AWS::StackName}"
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
MOST_DESCRIPTION_CHARACTERS = 1024


@dataclass(frozen=True)
class AlarmSpec:
    """One alarm: `statistic` of `metric` over `periods` of `period_seconds` is on the wrong side of `threshold`.

    happened, first_step: for the person who gets the message, with parameters and resources in ${…}. places: keys of
    PLACES. missing: how missing data are treated. after: what must be there before it, lest a new stack alarm.
    """

    logical_id: str
    metric: str
    statistic: str
    happened: str
    first_step: str
    places: tuple[str, ...] = ()
    threshold: int = 0
    comparison: str = ABOVE
    period_seconds: int = 300
    periods: Any = 1
    missing: str = "notBreaching"
    namespace: str = metrics.NAMESPACE
    dimensions: Mapping[str, Any] = field(default_factory=lambda: {metrics.STACK_DIMENSION: Ref("AWS::StackName")})
    condition: str = ""
    after: tuple[str, ...] = ()

    @property
    def is_state(self) -> bool:
        """Whether the metric is a gauge of what is still open, so that OK means that it was dealt with."""
        return self.namespace != metrics.NAMESPACE or self.metric in metrics.STATES

    @property
    def message(self) -> str:
        """The text of the message: stack, what happened, first step, links, and the page that tells the rest."""
        links = "".join(f" {name.capitalize()}: {PLACES[name]}" for name in self.places)
        return (
            f"Stack ${{AWS::StackName}}: {self.happened} First step: {self.first_step}{links} "
            f"More: the runbook, section {self.logical_id}."
        )

    def resource(self) -> Alarm:
        """The CloudWatch alarm; it tells the topic when it starts and when it is over."""
        attributes: dict[str, Any] = {"Condition": self.condition} if self.condition else {}
        attributes |= {"DependsOn": list(self.after)} if self.after else {}
        return Alarm(
            self.logical_id,
            Metadata=findings.metadata(re.sub(r"\$\{(\w+)\}", r"\1", self.happened)),
            AlarmDescription=Sub(self.message),
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
        "No receiver is healthy: devices cannot send.",
        "read the last service events; they say why receivers do not start or stay.",
        ("service events", "receiver log"),
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
    ),
    AlarmSpec(
        "FailedStoresAlarm",
        metrics.INSTANCES_FAILED,
        "Sum",
        "Images were answered with a failure status: the devices still have them.",
        f"run `{STATUS}` and see which device and which reason.",
        ("receiver log",),
    ),
    AlarmSpec(
        "RejectedAssociationsAlarm",
        metrics.REJECTIONS,
        "Sum",
        "Associations were rejected: a device calls or is called by a wrong AE title, or all receivers are full.",
        f"run `{STATUS}` and compare the AE titles with those of the form.",
        ("receiver log",),
        # A scanner of ports or a single slip is no reason to wake anybody.
        threshold=10,
    ),
    AlarmSpec(
        "ManifestWriteFailedAlarm",
        metrics.MANIFEST_FAILURES,
        "Sum",
        "A receiver could not close a batch. Nothing is lost: the importer adopts it later.",
        "read why in the receiver's log, message `manifest not written`.",
        ("receiver log",),
    ),
    AlarmSpec(
        "QuarantinedInstancesAlarm",
        metrics.QUARANTINE_OPEN,
        "Maximum",
        "HealthImaging refused images; each lies in quarantine with its reason.",
        f"run `{QUARANTINE_LIST}`, mend the cause, then retry or close each.",
        ("quarantine",),
    ),
    AlarmSpec(
        "NonPrimaryInstancesAlarm",
        metrics.NON_PRIMARY_OPEN,
        "Maximum",
        "Imported images contradict their series, for example in the patient's id: HealthImaging put them where "
        "viewers do not look.",
        f"run `{STATUS}`; it names the studies.",
    ),
    AlarmSpec(
        "TlsHandshakesFailedAlarm",
        metrics.TLS_HANDSHAKES_FAILED,
        "Sum",
        "TLS handshakes with receivers failed: a device has no certificate, an unknown one, or an old TLS version.",
        "read the reason and the device's address in the receiver's log, message `TLS handshake failed`.",
        ("receiver log",),
        threshold=10,
        condition=conditions.HAS_RECEIVER_TLS,
    ),
    AlarmSpec(
        "CommitmentsUndeliveredAlarm",
        metrics.COMMITMENT_RESULTS_OVERDUE,
        "Maximum",
        "A device did not take its storage commitment report, and keeps its images until it does.",
        "compare CommitmentDevices with the device's address, port and AE title; reports are sent again by themselves.",
        ("receiver log",),
    ),
    AlarmSpec(
        "MissingInstancesAlarm",
        metrics.INSTANCES_MISSING,
        "Maximum",
        "A batch counts images that are not in the landing bucket.",
        f"run `{STATUS}`, ask the sender for the study again, and find out from the access logs who removed them.",
    ),
    AlarmSpec(
        "UnrecognizedObjectsAlarm",
        metrics.UNRECOGNIZED_OPEN,
        "Maximum",
        "Objects lay in the landing bucket that no receiver wrote; they are in quarantine now.",
        "find out from the access logs who put them there.",
        ("quarantine",),
    ),
    AlarmSpec(
        "UnsettledBatchAlarm",
        metrics.OLDEST_UNSETTLED_BATCH_SECONDS,
        "Maximum",
        f"A batch is neither imported nor quarantined {timeouts.UNSETTLED_BATCH_ALARM_SECONDS // 60} minutes after it "
        "was closed, or the importer is silent. Nothing is lost.",
        "read the last error in the importer's log.",
        ("importer log",),
        threshold=timeouts.UNSETTLED_BATCH_ALARM_SECONDS,
        missing="breaching",
        periods=2,
        # By the time that receivers are steady, the importer has run and said how things stand.
        after=(service.SERVICE, wake_ups.EVERY_MINUTE_RULE),
    ),
    AlarmSpec(
        "OrphanedBatchAlarm",
        metrics.OLDEST_ORPHAN_SECONDS,
        "Maximum",
        "Images lie in the landing bucket that the importer has not taken up although their receiver is long gone.",
        "read the last warning in the importer's log.",
        ("importer log",),
        threshold=2 * timeouts.UNSETTLED_BATCH_ALARM_SECONDS,
        periods=2,
    ),
    AlarmSpec(
        "WarnedInstancesAlarm",
        metrics.WARNED_OPEN,
        "Maximum",
        "HealthImaging took images that it may not be able to give back whole; their originals are kept.",
        f"run `{QUARANTINE_LIST}`; it names them and what HealthImaging warned of.",
        ("quarantine",),
    ),
    AlarmSpec(
        "ImportErrorsAlarm",
        metrics.IMPORT_ERRORS,
        "Sum",
        "The importer met what cannot be fixed by retrying, such as a refused call. Nothing is lost.",
        "read which call was refused, and give back the permission or the resource.",
        ("importer log",),
    ),
    AlarmSpec(
        "ImporterFailedAlarm",
        "Errors",
        "Sum",
        "The importer ended with an error, three times in a row. The next minute's run tries again.",
        "read the error in its log and tell the vendor.",
        ("importer log",),
        periods=3,
        namespace="AWS/Lambda",
        dimensions={"FunctionName": Ref(importing.IMPORTER)},
    ),
    AlarmSpec(
        "CertificateExpiringAlarm",
        "DaysToExpiry",
        "Minimum",
        f"The TLS certificate expires in less than {timeouts.CERTIFICATE_ALARM_DAYS} days; then devices cannot send.",
        "renew ${TLSCertificateARN} in AWS Certificate Manager.",
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
        "No image has come from any device for ${SilenceHours} hours.",
        "send an echo from a device (output ConnectionTest); then look whether devices have something to send.",
        ("receiver log",),
        threshold=1,
        comparison=BELOW,
        period_seconds=3600,
        # A new stack has to be silent for so long before it says so: what was before it is no data.
        periods=Ref("SilenceHours"),
        condition=conditions.WATCHES_SILENCE,
    ),
)
