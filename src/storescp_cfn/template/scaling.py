"""How many receivers run: the number follows processor load and open associations, whichever asks for more."""

from __future__ import annotations

from typing import Any

from troposphere import AWSObject, Ref, Sub
from troposphere.applicationautoscaling import (
    CustomizedMetricSpecification,
    PredefinedMetricSpecification,
    ScalableTarget,
    ScalingPolicy,
    TargetTrackingMetricDataQuery,
    TargetTrackingMetricStat,
    TargetTrackingScalingPolicyConfiguration,
)
from troposphere.applicationautoscaling import TargetTrackingMetric as Metric
from troposphere.applicationautoscaling import TargetTrackingMetricDimension as Dimension

from storescp_cfn.template import findings, metrics

SCALABLE_TARGET = "ScalableTarget"
TARGET_CPU_PERCENT = 50
# Of MaximumAssociations; the rest is what comes while a further receiver starts.
TARGET_ASSOCIATIONS_PERCENT = 50
SCALE_OUT_COOLDOWN_SECONDS = 60
SCALE_IN_COOLDOWN_SECONDS = 600


def _target_tracking(logical_id: str, why: str, target_percent: int, **specification: Any) -> ScalingPolicy:
    return ScalingPolicy(
        logical_id,
        Metadata=findings.metadata(why),
        PolicyName=logical_id,
        PolicyType="TargetTrackingScaling",
        ScalingTargetId=Ref(SCALABLE_TARGET),
        TargetTrackingScalingPolicyConfiguration=TargetTrackingScalingPolicyConfiguration(
            TargetValue=target_percent,
            ScaleOutCooldown=SCALE_OUT_COOLDOWN_SECONDS,
            ScaleInCooldown=SCALE_IN_COOLDOWN_SECONDS,
            **specification,
        ),
    )


def _associations_percent() -> CustomizedMetricSpecification:
    """Open associations of the average receiver, in percent of those it may have."""
    open_associations = Metric(
        Namespace=metrics.NAMESPACE,
        MetricName=metrics.OPEN_ASSOCIATIONS,
        Dimensions=[Dimension(Name=metrics.STACK_DIMENSION, Value=Ref("AWS::StackName"))],
    )
    return CustomizedMetricSpecification(
        Metrics=[
            TargetTrackingMetricDataQuery(
                Id="associations",
                MetricStat=TargetTrackingMetricStat(Metric=open_associations, Stat="Average"),
                ReturnData=False,
            ),
            TargetTrackingMetricDataQuery(
                Id="percent", Expression=Sub("100 * associations / ${MaximumAssociations}"), ReturnData=True
            ),
        ]
    )


def resources(cluster: str, service: str) -> list[AWSObject]:
    """Every resource of this concern; `cluster` and `service` are logical ids."""
    return [
        ScalableTarget(
            SCALABLE_TARGET,
            Metadata=findings.metadata(
                "Keeps the number of receivers between TaskDesiredCount and AutoscaleMaxCapacity"
            ),
            ServiceNamespace="ecs",
            ScalableDimension="ecs:service:DesiredCount",
            ResourceId=Sub(f"service/${{{cluster}}}/${{{service}.Name}}"),
            MinCapacity=Ref("TaskDesiredCount"),
            MaxCapacity=Ref("AutoscaleMaxCapacity"),
        ),
        _target_tracking(
            "ProcessorScaling",
            "Adds receivers when their processors are busy",
            TARGET_CPU_PERCENT,
            PredefinedMetricSpecification=PredefinedMetricSpecification(
                PredefinedMetricType="ECSServiceAverageCPUUtilization"
            ),
        ),
        _target_tracking(
            "AssociationScaling",
            "Adds receivers when they hold many associations, busy or not",
            TARGET_ASSOCIATIONS_PERCENT,
            CustomizedMetricSpecification=_associations_percent(),
        ),
    ]
