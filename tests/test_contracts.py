"""What the receiver, the importer and the template agree on (docs/adr/0001), held to the module that owns it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import MISSING
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from import_lambda import commitments
from import_lambda.commitment_requests import read_request
from import_lambda.keys import INSTANCE_KEY, epoch, is_batch_id, job_name
from import_lambda.metrics import METRICS
from import_lambda.settings import Settings
from storescp import batches, commitment, keys, metrics, settings
from storescp.clock import utc_now
from storescp.commitment_service import MAXIMUM_RECORD_BYTES
from storescp_cfn.template import render

ROOT = Path(__file__).parents[1]
BATCH = "20261123T200315123Z-9f3a61c2-0001"


def resources(kind: str) -> dict[str, Any]:
    template = json.loads(render().to_json())
    return {name: body["Properties"] for name, body in template["Resources"].items() if body["Type"] == kind}


def test_the_task_gives_the_receiver_only_variables_that_it_knows() -> None:
    known = {variable.name for variable in settings.VARIABLES}
    for task in resources("AWS::ECS::TaskDefinition").values():
        for container in task["ContainerDefinitions"]:
            given = {entry["Name"] for entry in container["Environment"] if isinstance(entry.get("Name"), str)}
            assert given <= known
            assert {"DICOM_BUCKET", "AE_TITLE", "STACK_NAME"} <= given


def test_the_function_gives_the_importer_all_that_it_requires_and_nothing_it_does_not_know() -> None:
    fields = Settings.__dataclass_fields__.values()
    known = {field.name.upper() for field in fields}
    functions = resources("AWS::Lambda::Function").values()
    given = [set(function["Environment"]["Variables"]) for function in functions if "Environment" in function]
    importers = [names for names in given if "LEDGER_TABLE" in names]
    assert len(importers) == 1
    assert importers[0] <= known
    required = known - {field.name.upper() for field in fields if field.default is not MISSING}
    assert required <= importers[0]


def test_an_orphan_is_adopted_only_when_no_receiver_can_still_write_to_it() -> None:
    defaults = {variable.name: variable.default for variable in settings.VARIABLES}
    given = {
        entry["Name"]: entry["Value"]
        for task in resources("AWS::ECS::TaskDefinition").values()
        for entry in task["ContainerDefinitions"][0]["Environment"]
        if isinstance(entry.get("Name"), str) and isinstance(entry["Value"], str)
    }
    values = defaults | given
    longest = float(values["BATCH_MAX_AGE_SECONDS"]) + 2 * float(values["DIMSE_TIMEOUT"])
    functions = resources("AWS::Lambda::Function").values()
    variables = next(
        f["Environment"]["Variables"] for f in functions if "LEDGER_TABLE" in f["Environment"]["Variables"]
    )
    adopted_after = variables.get("ORPHAN_AFTER_SECONDS", Settings.orphan_after_seconds)
    assert float(adopted_after) > longest


def test_the_importer_reads_the_keys_that_the_receiver_writes() -> None:
    key = keys.object_key(BATCH, "1.2.3", "1.2.3.4", "1.2.3.4.5")
    match = INSTANCE_KEY.fullmatch(key)
    assert match is not None
    assert match.groups() == (BATCH, "1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert is_batch_id(BATCH)
    assert keys.manifest_key(BATCH) == f"batches/{BATCH}.json"


def test_a_receivers_limits_fit_into_an_import_job() -> None:
    defaults = {variable.name: variable.default for variable in settings.VARIABLES}
    assert int(defaults["BATCH_MAX_INSTANCES"]) <= Settings.max_files_per_job
    assert int(defaults["BATCH_MAX_BYTES"]) <= Settings.max_bytes_per_job


def test_a_batch_id_of_the_receiver_is_one_for_the_importer_and_for_healthimaging() -> None:
    placement = batches.Batches(batches.Limits(1, 1, 1, 10, 10), "9f3a61c2").place(
        batches.Contributor(), batches.Instance("1.2", "1.3", "1.4", "1.5", "CT1"), 1, None, 0.0, utc_now()
    )
    made = placement.batch.batch_id
    assert is_batch_id(made)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", job_name(made, 1))


def metric_names(properties: Any) -> set[str]:
    """Names of our own metrics anywhere in dashboards and alarms."""
    text = json.dumps(properties)
    return set(re.findall(r'"MetricName": "([A-Za-z]+)"', text)) | set(
        re.findall(r'\\"StoreSCP\\", ?\\"([A-Za-z]+)\\"', text)
    )


def test_alarms_and_dashboard_speak_of_metrics_that_somebody_emits() -> None:
    emitted = dict.fromkeys(metrics.METRICS, "receiver") | dict.fromkeys(METRICS, "importer")
    alarms = [alarm for alarm in resources("AWS::CloudWatch::Alarm").values() if alarm.get("Namespace") == "StoreSCP"]
    named = set().union(*(metric_names(alarm) for alarm in alarms), set())
    for dashboard in resources("AWS::CloudWatch::Dashboard").values():
        named |= metric_names(dashboard)
    assert named <= set(emitted), named - set(emitted)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("storescp.__main__", "storescp_cfn|pynetdicom|pydicom|boto3|troposphere"),
        ("storescp_cfn.template", "storescp_cfn\\.(account|local|marketplace)|ministack|boto3|storescp\\."),
        ("import_lambda.handler", "storescp|pydicom"),
    ],
)
def test_arrows_point_one_way(module: str, forbidden: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = [name for name in done.stdout.split() if re.match(rf"({forbidden})(\b|_)", name)]
    assert imported == []


def test_the_importer_reads_the_receivers_commitment_requests_and_the_receiver_its_results() -> None:
    pairs = (("1.2.840.10008.5.1.4.1.1.2", "1.2.3"), ("1.2.840.10008.5.1.4.1.1.2", "DOE-JANE"))
    asked = commitment.new_request("1.2.9", "CT 1", "STORESCP", pairs, datetime(2026, 11, 24, 12, tzinfo=UTC), 24)
    request = read_request(commitment.encode_request(asked))
    assert request.id == asked.commitment_id
    assert f"{commitments.REQUESTS}{request.id}.json" == keys.commitment_request_key(request.id)
    assert epoch(request.timeout_at) == asked.timeout_at.timestamp()
    assert [instance for _, instance in request.instances] == ["1.2.3", keys.safe_name("DOE-JANE")]
    (first, second) = request.instances
    result = json.dumps({"committed": [first], "failed": [[*second, commitments.NO_SUCH_INSTANCE]]}).encode()
    assert commitment.decode_result(result, asked) == commitment.CommitmentResult(
        "1.2.9", (pairs[0],), ((*pairs[1], 0x0112),)
    )


def test_commitments_lie_where_both_look_for_them() -> None:
    assert keys.commitment_result_key("a") == f"{commitments.RESULTS}a.json"
    assert keys.commitment_delivered_key("a") == f"{commitments.DELIVERIES}a.json"
    assert keys.commitment_attempt_key("a", 1).startswith(f"{commitments.ATTEMPTS}a/")
    assert commitments.MAX_REQUEST_BYTES >= MAXIMUM_RECORD_BYTES
