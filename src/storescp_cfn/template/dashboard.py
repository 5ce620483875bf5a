"""The dashboard: what a radiology administrator wants to see, in words of the archive rather than of AWS.

First words and links, then numbers, alarms, curves with an axis for each unit, and tables by device.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from troposphere import GetAtt, Ref, Sub
from troposphere.cloudwatch import Dashboard

from storescp_cfn.template import findings, metrics, queries, service
from storescp_cfn.template.alarms import PLACES, QUARANTINE_LIST, STATUS

DASHBOARD = "Dashboard"
_WIDTH, _COLUMNS = 24, 3
Widget = dict[str, Any]

_WORDS = f"""## StoreSCP: what devices send, and what became of it
An image is **received**, **acknowledged** once it is stored, and then **imported** into AWS HealthImaging or kept in
**quarantine** with the reason. *Still open* is what somebody has to look at; it should be 0.

`{STATUS}` tells the same in one screen, `{STATUS} --study UID` where a study is, and `{QUARANTINE_LIST}` what was
refused.

[Receivers' log]({PLACES["receiver log"]}) · [Importer's log]({PLACES["importer log"]}) ·
[Quarantine]({PLACES["quarantine"]}) · [Service events]({PLACES["service events"]})
"""


def _line(metric: str, label: str, statistic: str, axis: str = "left") -> list[Any]:
    shown = {"label": label, "stat": statistic, **({"yAxis": axis} if axis != "left" else {})}
    return [metrics.NAMESPACE, metric, metrics.STACK_DIMENSION, "${AWS::StackName}", shown]


def _tasks(metric: str, label: str) -> list[Any]:
    where = ["ECS/ContainerInsights", metric, "ClusterName", f"${{{service.CLUSTER}}}", "ServiceName", "${ServiceName}"]
    return [*where, {"label": label, "stat": "Average"}]


# Numbers of the time that is shown.
_NUMBERS = {
    "Received, acknowledged and imported": [
        _line(metrics.INSTANCES_RECEIVED, "received", "Sum"),
        _line(metrics.INSTANCES_ACKNOWLEDGED, "acknowledged", "Sum"),
        _line(metrics.INSTANCES_IMPORTED, "imported", "Sum"),
    ],
    "On the way, and refused": [
        _line(metrics.BATCHES_WAITING, "batches waiting", "Maximum"),
        _line(metrics.BATCHES_IMPORTING, "batches importing", "Maximum"),
        _line(metrics.INSTANCES_FAILED, "answered with a failure", "Sum"),
    ],
    "Still open": [
        _line(metrics.QUARANTINE_OPEN, "in quarantine", "Maximum"),
        _line(metrics.WARNED_OPEN, "kept because of a warning", "Maximum"),
        _line(metrics.NON_PRIMARY_OPEN, "contradicting their series", "Maximum"),
        _line(metrics.INSTANCES_MISSING, "missing", "Maximum"),
        _line(metrics.UNRECOGNIZED_OPEN, "nobody's objects", "Maximum"),
    ],
}

# Title, unit of the axis, and lines of each curve, in reading order.
_CURVES: list[tuple[str, str, list[list[Any]]]] = [
    (
        "Images: received and acknowledged",
        "images",
        [
            _line(metrics.INSTANCES_RECEIVED, "received", "Sum"),
            _line(metrics.INSTANCES_ACKNOWLEDGED, "acknowledged", "Sum"),
            _line(metrics.INSTANCES_FAILED, "answered with a failure", "Sum"),
        ],
    ),
    (
        "Images: imported and quarantined",
        "images",
        [
            _line(metrics.INSTANCES_IMPORTED, "imported", "Sum"),
            _line(metrics.INSTANCES_QUARANTINED, "quarantined", "Sum"),
            _line(metrics.INSTANCES_NON_PRIMARY, "imported, but contradicting their series", "Sum"),
            _line(metrics.UNRECOGNIZED_OBJECTS, "objects that no receiver wrote", "Sum"),
        ],
    ),
    (
        "From the last image to the image set",
        "seconds",
        [
            _line(metrics.SECONDS_TO_IMAGE_SET, "median", "p50"),
            _line(metrics.SECONDS_TO_IMAGE_SET, "slowest", "Maximum"),
        ],
    ),
    (
        "Associations",
        "associations",
        [
            _line(metrics.ASSOCIATIONS_ACCEPTED, "accepted", "Sum"),
            _line(metrics.REJECTIONS, "rejected", "Sum"),
            _line(metrics.OPEN_ASSOCIATIONS, "open, in the busiest receiver", "Maximum"),
        ],
    ),
    (
        "Age of the oldest batch on its way",
        "seconds",
        [_line(metrics.OLDEST_UNSETTLED_BATCH_SECONDS, "age", "Maximum")],
    ),
    ("Receivers", "tasks", [_tasks("RunningTaskCount", "running"), _tasks("DesiredTaskCount", "wanted")]),
]


def _metric(title: str, lines: list[list[Any]], **properties: Any) -> Widget:
    shown = {"title": title, "region": "${AWS::Region}", "period": 300, "metrics": lines, **properties}
    return {"type": "metric", "properties": shown}


def _number(title: str, lines: list[list[Any]]) -> Widget:
    return _metric(title, lines, view="singleValue", setPeriodToTimeRange=True)


def _curve(title: str, unit: str, lines: list[list[Any]]) -> Widget:
    axis = {"left": {"min": 0, "label": unit, "showUnits": False}}
    return _metric(title, lines, view="timeSeries", yAxis=axis)


def _table(query: queries.SavedQuery) -> Widget:
    text = f"SOURCE '${{{query.log_group}}}' | {query.text}"
    return {
        "type": "log",
        "properties": {"title": query.title, "region": "${AWS::Region}", "view": "table", "query": text},
    }


def _rows(alarm_ids: list[str]) -> Iterator[tuple[int, list[Widget]]]:
    """Height and widgets of each row, from the top."""
    yield 5, [{"type": "text", "properties": {"markdown": _WORDS}}]
    yield 4, [_number(title, lines) for title, lines in _NUMBERS.items()]
    alarms = [f"${{{alarm_id}.Arn}}" for alarm_id in alarm_ids]
    yield 3, [{"type": "alarm", "properties": {"title": "Alarms", "alarms": alarms}}]
    curves = [_curve(*curve) for curve in _CURVES]
    for first in range(0, len(curves), _COLUMNS):
        yield 6, curves[first : first + _COLUMNS]
    yield 7, [_table(query) for query in queries.TABLES]


def _widgets(alarm_ids: list[str]) -> Iterator[Widget]:
    y = 0
    for height, row in _rows(alarm_ids):
        width = _WIDTH // len(row)
        for column, widget in enumerate(row):
            yield {"x": column * width, "y": y, "width": width, "height": height, **widget}
        y += height


def resource(alarm_ids: list[str]) -> Dashboard:
    """The dashboard, under a name that CloudFormation makes; it shows the alarms of these logical ids."""
    body = json.dumps({"widgets": list(_widgets(alarm_ids))}, separators=(",", ":"))
    return Dashboard(
        DASHBOARD,
        Metadata=findings.metadata("Shows images, associations, imports and alarms on one page"),
        DashboardBody=Sub(body, ServiceName=GetAtt(service.SERVICE, "Name")),
    )


def link() -> Sub:
    """The address of the dashboard in the console."""
    return Sub(
        "https://${AWS::Region}.console.aws.amazon.com/cloudwatch/home?region=${AWS::Region}#dashboards/dashboard/${Name}",
        Name=Ref(DASHBOARD),
    )
