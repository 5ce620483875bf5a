"""Lambda's entry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from import_lambda.boto3_aws import Boto3Aws
from import_lambda.metrics import log, print_metrics
from import_lambda.reconcile import reconcile
from import_lambda.settings import SPARE_SECONDS, read_settings


def handler(event: Any, context: Any) -> dict[str, float | list[float]] | None:
    """Do one run. What the event says is never read; returns the run's metrics, None if another run is at work.

    Raises ValueError: the environment is not what `Settings` allows.
    """
    try:
        settings = read_settings(os.environ)
    except ValueError as error:
        log("ERROR", "the function is not configured", reason=str(error))
        raise
    aws = Boto3Aws(settings)
    deadline = aws.now() + max(1.0, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS)

    def emit(values: Mapping[str, float | list[float]]) -> None:
        print_metrics(settings, aws.now(), values)

    values = reconcile(aws, settings, deadline, emit)
    if values is not None:
        emit(values)
    return values
