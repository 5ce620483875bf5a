"""The function's environment and metrics: settings.py, metrics.py, gauges.py, handler.py.

Covers import_lambda/settings.py.
"""

from __future__ import annotations

import json

import pytest

from import_lambda.handler import handler
from import_lambda.metrics import METRICS, print_metrics
from import_lambda.settings import read_settings

REGION = "us-east-1"
LANDING, RESULTS, TABLE = "landing-bucket", "results-bucket", "ledger"
ROLE = "arn:aws:iam::000000000000:role/import"


class Context:
    """Lambda's context, as far as it is looked at."""

    def get_remaining_time_in_millis(self) -> int:
        return 90_000


SETTINGS_ENVIRONMENT = {
    "LANDING_BUCKET": "landing",
    "RESULTS_BUCKET": "results",
    "LEDGER_TABLE": "ledger",
    "DATASTORE_ID": "0" * 32,
    "DATA_ACCESS_ROLE_ARN": ROLE,
    "STACK_NAME": "stack",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in SETTINGS_ENVIRONMENT),
        ("LANDING_BUCKET", "s3://landing"),
        ("DATASTORE_ID", "images"),
        ("DATA_ACCESS_ROLE_ARN", "import"),
        ("ORPHAN_AFTER_SECONDS", "soon"),
        ("ORPHAN_AFTER_SECONDS", "1"),
        ("JOB_STARTS_PER_SECOND", "0"),
        ("JOB_STARTS_PER_SECOND", "nan"),
        ("MAX_CONCURRENT_JOBS", "1.5"),
        ("MAX_FILES_PER_JOB", "0"),
        ("MAX_BYTES_PER_JOB", "10GB"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, good in (SETTINGS_ENVIRONMENT | {name: value}).items():
        monkeypatch.setenv(key, good)
    with pytest.raises(ValueError, match=f"^{name} is '{value}'; it must "):
        handler({}, Context())
    line = json.loads(capsys.readouterr().out)
    assert line["level"] == "ERROR"
    assert line["reason"].startswith(f"{name} is '{value}'")


def test_the_defaults_are_the_documented_quotas() -> None:
    settings = read_settings(SETTINGS_ENVIRONMENT)
    assert (settings.job_starts_per_second, settings.max_concurrent_jobs) == (1, 100)
    assert (settings.max_files_per_job, settings.max_bytes_per_job) == (5_000, 10_000_000_000)


def test_metrics_are_in_cloudwatchs_embedded_format(capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, float | list[float]] = {**dict.fromkeys(METRICS, 1), "SecondsToImageSet": [1.5, 2.0]}
    print_metrics(read_settings(SETTINGS_ENVIRONMENT), 1_795_000_000.0, values)
    line = json.loads(capsys.readouterr().out)
    about = line["_aws"]["CloudWatchMetrics"][0]
    assert about["Namespace"] == "StoreSCP"
    assert about["Dimensions"] == [["StackName"]]
    assert line["StackName"] == "stack"
    assert {metric["Name"] for metric in about["Metrics"]} == set(METRICS) <= line.keys()
