"""Metrics become lines that CloudWatch understands and that a pipe takes whole.

Covers storescp/metrics.py.
"""

import json

from storescp.log import MAXIMUM_LINE_BYTES
from storescp.metrics import DIMENSION, METRICS, NAMESPACE, Metrics


def test_every_metric_is_written_once_in_lines_that_fit() -> None:
    metrics = Metrics("a" * 128)
    for number in range(1000):
        metrics.acknowledged(10**9, 12.345678 + number)
    metrics.received()
    metrics.failed(0xA700)
    metrics.failed(0x0122)
    metrics.rejected("LocalLimitExceeded")
    lines = metrics.take_lines({"OpenAssociations": 3, "BytesBuffered": 1.0, "BatchAgeSeconds": 0.5})
    values: dict[str, object] = {}
    for line in lines:
        assert len(json.dumps(line)) < MAXIMUM_LINE_BYTES
        [directive] = line["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [[DIMENSION]])
        for metric in directive["Metrics"]:
            assert METRICS[metric["Name"]] == metric["Unit"]
            assert metric["Name"] not in values
            values[metric["Name"]] = line[metric["Name"]]
    assert set(values) == set(METRICS)
    assert isinstance(values["PutSeconds"], list)
    assert len(values["PutSeconds"]) == 100
    assert (values["InstancesAcknowledged"], values["InstancesFailed"], values["InstancesFailedOther"]) == (1000, 2, 1)


def test_counts_begin_again_after_each_time() -> None:
    metrics = Metrics("")
    metrics.count("BatchesClosed", 2)
    assert [line["BatchesClosed"] for line in metrics.take_lines({}) if "BatchesClosed" in line] == [2]
    assert [line["BatchesClosed"] for line in metrics.take_lines({}) if "BatchesClosed" in line] == [0]
    assert all(line[DIMENSION] == "local" for line in metrics.take_lines({}))
