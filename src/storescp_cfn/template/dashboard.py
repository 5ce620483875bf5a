"""The dashboard: what a radiology administrator wants to see, in words of the archive rather than of AWS."""

from __future__ import annotations

import json
from typing import Any

from troposphere import GetAtt, Ref, Sub
from troposphere.cloudwatch import Dashboard

from storescp_cfn.template import findings, metrics, service

DASHBOARD = "Dashboard"
_WIDTH, _HEIGHT, _COLUMNS = 8, 6, 3


def _line(metric: str, label: str, statistic: str) -> list[Any]:
    return [
        metrics.NAMESPACE,
        metric,
        metrics.STACK_DIMENSION,
        "${AWS::StackName}",
        {"label": label, "stat": statistic},
    ]


def _tasks(metric: str, label: str) -> list[Any]:
    where = ["ECS/ContainerInsights", metric, "ClusterName", f"${{{service.CLUSTER}}}", "ServiceName", "${ServiceName}"]
    return [*where, {"label": label, "stat": "Average"}]


def _widgets() -> dict[str, list[list[Any]]]:
    """Title and lines of each widget, in reading order."""
    return {
        "Images: received and acknowledged": [
            _line(metrics.INSTANCES_RECEIVED, "received", "Sum"),
            _line(metrics.INSTANCES_ACKNOWLEDGED, "acknowledged", "Sum"),
            _line(metrics.INSTANCES_FAILED, "answered with a failure", "Sum"),
        ],
        "Images: imported and quarantined": [
            _line(metrics.INSTANCES_IMPORTED, "imported", "Sum"),
            _line(metrics.INSTANCES_QUARANTINED, "quarantined", "Sum"),
            _line(metrics.INSTANCES_NON_PRIMARY, "imported, but contradicting their series", "Sum"),
        ],
        "Seconds from last image to image set": [
            _line(metrics.SECONDS_TO_IMAGE_SET, "median", "p50"),
            _line(metrics.SECONDS_TO_IMAGE_SET, "slowest", "Maximum"),
        ],
        "Associations": [
            _line(metrics.ASSOCIATIONS_ACCEPTED, "accepted", "Sum"),
            _line(metrics.REJECTIONS, "rejected", "Sum"),
            _line(metrics.OPEN_ASSOCIATIONS, "open, in the busiest receiver", "Maximum"),
        ],
        "Batches on their way": [
            _line(metrics.BATCHES_WAITING, "waiting", "Maximum"),
            _line(metrics.BATCHES_IMPORTING, "importing", "Maximum"),
            _line(metrics.OLDEST_UNSETTLED_BATCH_SECONDS, "age of the oldest, seconds", "Maximum"),
        ],
        "Receivers": [
            _tasks("RunningTaskCount", "running"),
            _tasks("DesiredTaskCount", "wanted"),
        ],
    }


def _widget(position: int, title: str, lines: list[list[Any]]) -> dict[str, Any]:
    return {
        "type": "metric",
        "x": position % _COLUMNS * _WIDTH,
        "y": position // _COLUMNS * _HEIGHT,
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {
            "title": title,
            "region": "${AWS::Region}",
            "period": 300,
            "view": "timeSeries",
            "yAxis": {"left": {"min": 0}},
            "metrics": lines,
        },
    }


def resource() -> Dashboard:
    """The dashboard, under a name that CloudFormation makes."""
    widgets = [_widget(position, title, lines) for position, (title, lines) in enumerate(_widgets().items())]
    body = json.dumps({"widgets": widgets}, separators=(",", ":"))
    return Dashboard(
        DASHBOARD,
        Metadata=findings.metadata("Shows images, associations and imports on one page"),
        DashboardBody=Sub(body, ServiceName=GetAtt(service.SERVICE, "Name")),
    )


def link() -> Sub:
    """The address of the dashboard in the console."""
    return Sub(
        "https://${AWS::Region}.console.aws.amazon.com/cloudwatch/home?region=${AWS::Region}#dashboards/dashboard/${Name}",
        Name=Ref(DASHBOARD),
    )
