"""What the form accepts, receiver and importer accept: a stack that CloudFormation creates also starts.

Covers template/metrics.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from audit import modes
from import_lambda import settings as importer_settings
from import_lambda.metrics import METRICS
from storescp.settings import VARIABLES, read_settings
from storescp_cfn.template import evaluation, importing, metrics, regions, service, timeouts
from tests.testkit.template_values import FACTS, GOOD, TEMPLATE

CASES = [(name, value) for name, values in GOOD.items() for value in values]


def stack(**values: str) -> dict[str, Any]:
    resources: dict[str, Any] = evaluation.resolved(TEMPLATE, {**modes.EXAMPLE_NETWORK, **values}, FACTS)["Resources"]
    return resources


def receiver_environment(resources: dict[str, Any]) -> dict[str, str]:
    (container,) = resources["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    names = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    assert names.pop("DICOM_BUCKET") == {"Ref": "LandingBucket"}
    return names | {"DICOM_BUCKET": "storescp-landingbucket-1a2b3c"}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_the_receiver_starts_with_every_good_value(name: str, value: str) -> None:
    for cores in (1, 4):
        settings = read_settings(receiver_environment(stack(**{name: value})), cores)
        assert settings.stack_name == "StoreSCP"


def test_each_parameter_reaches_the_setting_that_it_names() -> None:
    given = stack(
        SCPAETitle="MY HOSPITAL",
        SCPPort="104",
        RequireCalledAETitle="true",
        RequireCallingAETitle="CT1,MR 1",
        SupportedSOPClassUIDs="1.2.840.10008.5.1.4.1.1.2",
        MaximumAssociations="7",
        DIMSETimeout="30",
        NetworkTimeout="45",
    )
    settings = read_settings(receiver_environment(given), 1)
    assert settings.ae_title == "MY HOSPITAL"
    assert settings.scp_port == 11112  # unprivileged, whatever the listener's port is
    assert settings.require_called_ae_title
    assert settings.require_calling_ae_title == {"CT1", "MR 1"}
    assert settings.supported_sop_class_uids == {"1.2.840.10008.5.1.4.1.1.2"}
    assert settings.maximum_associations == 7
    assert (settings.dimse_timeout, settings.network_timeout) == (30, 45)


@pytest.mark.parametrize("region", regions.SUPPORTED)
def test_the_importer_accepts_its_environment_in_every_region(region: str) -> None:
    facts = evaluation.Facts(region=region)
    values = {**modes.EXAMPLE_NETWORK, "DatastoreID": "0123456789abcdef0123456789abcdef"}
    resources = evaluation.resolved(TEMPLATE, values, facts)["Resources"]
    environment = resources["Importer"]["Properties"]["Environment"]["Variables"]
    environment |= {
        "LANDING_BUCKET": "landing",
        "RESULTS_BUCKET": "results",
        "LEDGER_TABLE": "ledger",
        "DATA_ACCESS_ROLE_ARN": "arn:aws:iam::123456789012:role/import",
    }
    settings = importer_settings.read_settings(environment)
    assert settings.max_concurrent_jobs == (20 if region == "ap-southeast-2" else 100)


def test_the_limits_of_the_chain_fit_together() -> None:
    values = {variable.name: variable.default for variable in VARIABLES}
    assert timeouts.RECEIVER_STOP_SECONDS < timeouts.CONTAINER_STOP_SECONDS <= 120
    assert max(int(GOOD["NetworkTimeout"][-1]), int(GOOD["DIMSETimeout"][-1])) < timeouts.LOAD_BALANCER_IDLE_SECONDS
    assert timeouts.HEALTH_CHECK_TIMEOUT_SECONDS < timeouts.HEALTH_CHECK_INTERVAL_SECONDS
    assert timeouts.IMPORTER_TIMEOUT_SECONDS <= 900
    # An orphan's age counts from its last object: no receiver may still be draining then.
    drained = timeouts.DEREGISTRATION_DELAY_SECONDS + timeouts.CONTAINER_STOP_SECONDS
    longest_open = float(values["BATCH_MAX_AGE_SECONDS"]) + 300 + timeouts.CONTAINER_STOP_SECONDS
    assert importer_settings.Settings.orphan_after_seconds > max(drained, longest_open)
    assert importer_settings.Settings.orphan_after_seconds < timeouts.UNSETTLED_BATCH_ALARM_SECONDS


def test_the_landing_buckets_layout_is_the_importers() -> None:
    from storescp import keys

    assert keys.object_key("20261123T200315123Z-9f3a61c2-0001", "1.2", "1.3", "1.4").startswith("incoming/")
    assert keys.manifest_key("20261123T200315123Z-9f3a61c2-0001").startswith("batches/")


def test_every_metric_that_the_template_reads_is_emitted_by_its_owner() -> None:
    from storescp import metrics as of_receiver

    assert metrics.NAMESPACE == of_receiver.NAMESPACE
    assert metrics.STACK_DIMENSION == of_receiver.DIMENSION
    assert set(metrics.OF_RECEIVER) <= set(of_receiver.METRICS)
    assert set(metrics.OF_IMPORTER) <= set(METRICS)
    used = json.dumps({name: TEMPLATE["Resources"][name] for name in ("Dashboard", "AssociationScaling")})
    used += json.dumps([r for r in TEMPLATE["Resources"].values() if r["Type"] == "AWS::CloudWatch::Alarm"])
    assert [
        name for name in (*metrics.OF_RECEIVER, *metrics.OF_IMPORTER) if f'"{name}' not in used.replace("\\", "")
    ] == []


def test_the_container_runs_as_the_image_says() -> None:
    from pathlib import Path

    dockerfile = (Path(__file__).parents[2] / "container/Dockerfile").read_text()
    assert f"USER {service.CONTAINER_USER}\n" in dockerfile
    assert json.dumps(service.HEALTH_COMMAND[1:]) in dockerfile
    assert importing.RUNTIME.startswith("python3.")
