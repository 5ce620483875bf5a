"""What `render()` promises: purity, names, fresh files, and nothing that ties a stack to one Region or account.

Covers dashboard.py, evaluation.py, findings.py, outputs.py, release.py, rendering.py.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from audit import modes
from storescp_cfn.template import Release, evaluation, files, findings, render
from storescp_cfn.template.composer import importer_source

ROOT = Path(__file__).parents[2]

# A stateful resource that gets another logical id is a new, empty one: the old one stays behind, unused.
STATEFUL = {
    "LandingBucket": "AWS::S3::Bucket",
    "ResultsBucket": "AWS::S3::Bucket",
    "AccessLogBucket": "AWS::S3::Bucket",
    "Ledger": "AWS::DynamoDB::Table",
    "Datastore": "AWS::HealthImaging::Datastore",
    "ReceiverLogGroup": "AWS::Logs::LogGroup",
    "ImporterLogGroup": "AWS::Logs::LogGroup",
}
FIXED_NAMES = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::ECS::Service": "ServiceName",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "Name",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "Name",
    "AWS::SNS::Topic": "TopicName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::Events::Rule": "Name",
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    rendered: dict[str, Any] = json.loads(render().to_json())
    return rendered


def test_render_looks_at_nothing_outside_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def outside(*_: object, **__: object) -> None:
        raise AssertionError("render() reached outside itself")

    for owner, name in (
        (builtins, "open"),
        (io, "open"),
        (os, "open"),
        (os, "getenv"),
        (socket, "socket"),
        (subprocess, "Popen"),
        (time, "time"),
        (time, "time_ns"),
        (Path, "read_text"),
    ):
        monkeypatch.setattr(owner, name, outside)
    rendered = render()
    monkeypatch.undo()
    assert rendered.to_json() == render().to_json()


def test_importing_the_library_renders_nothing_and_loads_no_aws_sdk() -> None:
    code = (
        "import sys, storescp_cfn.template; print([m for m in ('boto3', 'botocore', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_committed_files_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert files.differences(files.COMMITTED) == "", "run `make render`"


def test_parameters_have_the_names_of_the_guide_and_the_product_on_sale(template: dict[str, Any]) -> None:
    network = "VpcID PublicSubnetIDs PrivateSubnetIDs SecurityGroupID VpcCIDR PeerCIDR1 PeerCIDR2 PeerCIDR3 "
    network += "LoadBalancerScheme PrivateRouteTableIDs OnlyThroughVPCEndpoint"
    dicom = "SCPAETitle SCPPort RequireCalledAETitle RequireCallingAETitle SupportedSOPClassUIDs MaximumAssociations "
    dicom += "DIMSETimeout NetworkTimeout CommitmentDevices CommitmentTimeout"
    tls = "TLSCertificateARN AllowUnencryptedInternet TLSCertificateSecretARN TLSKeySecretARN TLSClientCASecretARN"
    tls += " RequireCertificateAETitle"
    capacity = "TaskCPU TaskMemoryLimit TaskDesiredCount AutoscaleMaxCapacity CpuArchitecture"
    data = "DatastoreID KmsKeyARN FastImport RetentionDays LogRetentionDays AdministratorARN"
    expected = f"{network} {dicom} {tls} {capacity} {data} AlarmEmail SilenceHours ContainerImage".split()
    assert set(template["Parameters"]) == set(expected)


def test_the_form_shows_every_parameter_once_with_a_label(template: dict[str, Any]) -> None:
    form = template["Metadata"]["AWS::CloudFormation::Interface"]
    shown = [name for group in form["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(shown) == sorted(template["Parameters"]) == sorted(form["ParameterLabels"])
    for name, label in form["ParameterLabels"].items():
        assert label["default"].startswith(f"{name}: ")
        assert label["default"].endswith(" (optional)") == (template["Parameters"][name].get("Default") == "")


def test_the_form_begins_with_what_must_be_answered(template: dict[str, Any]) -> None:
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert [group["Label"]["default"] for group in groups] == [
        "You must answer",
        "You may want to change",
        "Leave as they are",
    ]
    required = [name for name, parameter in template["Parameters"].items() if "Default" not in parameter]
    assert set(required) <= set(groups[0]["Parameters"])
    assert groups[0]["Parameters"] == [
        "VpcID",
        "PublicSubnetIDs",
        "PrivateSubnetIDs",
        "VpcCIDR",
        "PeerCIDR1",
        "PeerCIDR2",
        "PeerCIDR3",
        "SecurityGroupID",
        "SCPAETitle",
        "LoadBalancerScheme",
        "TLSCertificateARN",
        "AllowUnencryptedInternet",
        "AlarmEmail",
    ]


def test_outputs_begin_with_the_three_of_the_guide(template: dict[str, Any]) -> None:
    assert {"NetworkLoadBalancerDNS", "DICOMPort", "DICOMAETitle"} <= set(template["Outputs"])
    assert {
        "ConnectionTest",
        "DashboardLink",
        "HealthImagingDatastoreID",
        "LandingBucketName",
        "ResultsBucketName",
        "LedgerTableName",
    } <= set(template["Outputs"])


def test_what_holds_images_or_facts_keeps_its_logical_id(template: dict[str, Any]) -> None:
    found = {name: r["Type"] for name, r in template["Resources"].items() if r["Type"] in STATEFUL.values()}
    del found["PreflightLogGroup"]  # a failed launch must not leave it behind
    assert found == STATEFUL


@pytest.mark.parametrize("name", STATEFUL)
def test_what_holds_images_or_facts_outlives_the_stack(template: dict[str, Any], name: str) -> None:
    assert template["Resources"][name]["DeletionPolicy"] == "Retain"
    assert template["Resources"][name]["UpdateReplacePolicy"] == "Retain"


def test_what_outlives_the_stack_is_made_after_the_preflight_check(template: dict[str, Any]) -> None:
    """A launch that it refuses leaves nothing behind."""
    resources = template["Resources"]
    retained = {name for name, resource in resources.items() if resource.get("DeletionPolicy") == "Retain"}
    assert retained > set(STATEFUL)
    assert [name for name in retained if "Preflight" not in resources[name]["DependsOn"]] == []
    # The first that a key without a word for CloudWatch Logs keeps from being made.
    others = retained - {"ReceiverLogGroup"}
    assert [name for name in others if "ReceiverLogGroup" not in resources[name]["DependsOn"]] == []
    assert "KmsKeyId" not in resources["PreflightLogGroup"]["Properties"]
    needed, seen = ["Preflight"], {"Preflight"}
    while needed:
        found = referred(resources[needed.pop()]) & set(resources) - seen
        seen |= found
        needed += found
    assert "PreflightFunction" in seen
    assert not seen & retained


def referred(resource: dict[str, Any]) -> set[str]:
    """Names that a resource refers to, by whatever function."""
    text = json.dumps({key: value for key, value in resource.items() if key != "Metadata"})
    functions = r'"Ref": "(\w+)"|"Fn::GetAtt": \["(\w+)"|\$\{(\w+)[.}]'
    names = {name for groups in re.findall(functions, text) for name in groups if name}
    return names | set(resource.get("DependsOn", []))


def test_nothing_has_a_fixed_name(template: dict[str, Any]) -> None:
    named = {
        name: FIXED_NAMES[resource["Type"]]
        for name, resource in template["Resources"].items()
        if FIXED_NAMES.get(resource["Type"]) in resource.get("Properties", {})
        and resource["Type"] not in ("AWS::Lambda::EventInvokeConfig",)
    }
    assert named == {}


def test_only_the_image_registry_is_tied_to_a_region(template: dict[str, Any]) -> None:
    template["Resources"]["Importer"]["Properties"]["Code"] = {}
    image = template["Mappings"]["Release"]["Receiver"]["Image"]
    assert image.startswith("709825985650.dkr.ecr.us-east-1.amazonaws.com/")
    text = json.dumps({"Resources": template["Resources"], "Outputs": template["Outputs"]})
    assert re.findall(r"(us|eu|ap)-(east|west|southeast)-\d", text) == []
    assert re.findall(r"arn:aws:", text) == []


def test_every_resource_says_why_it_is_there(template: dict[str, Any]) -> None:
    whys = {name: r["Metadata"][findings.CONTEXT]["why"] for name, r in template["Resources"].items()}
    assert all(len(why) > 10 for why in whys.values())


def test_the_template_stays_far_below_a_megabyte(template: dict[str, Any]) -> None:
    largest = max(len(files.text("yaml").encode()), len(files.text("json").encode()))
    assert largest < 500_000
    assert len(template["Resources"]) < 200
    assert len(template["Description"].encode()) <= 1024


def test_a_release_changes_version_image_and_metering_only() -> None:
    plain = json.loads(render(Release(version="1.2.0")).to_json())
    paid = json.loads(render(Release(version="1.2.0", metered=True)).to_json())
    assert plain["Mappings"]["Release"]["Receiver"]["Image"].endswith(":1.2.0")
    own = json.loads(render(Release(image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/x:1")).to_json())
    assert own["Mappings"]["Release"]["Receiver"]["Image"] == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/x:1"
    differing = [name for name in plain["Resources"] if plain["Resources"][name] != paid["Resources"][name]]
    assert differing == ["ReceiverPolicy"]
    sids = [s["Sid"] for s in paid["Resources"]["ReceiverPolicy"]["Properties"]["PolicyDocument"]["Statement"]]
    assert sids[-1] == "RegisterUsage"
    assert "PRODUCT_CODE" not in json.dumps(paid["Resources"]["TaskDefinition"])


@pytest.mark.parametrize(
    ("given", "runs"),
    [
        ("", "the version's own"),
        ("709825985650.dkr.ecr.us-east-1.amazonaws.com/storescp/dicom-store-scp:0.1.0", "the version's own"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:0.1.0", "the given one"),
        ("709825985650.dkr.ecr.us-east-1.amazonaws.com/storescp/dicom-store-scp:0.2.0", "the given one"),
    ],
)
def test_a_stack_carries_an_earlier_default_image_along_and_yet_runs_the_versions_own(given: str, runs: str) -> None:
    """An update gives a parameter the value that it has in the stack, so an old default must not count as a choice."""
    newer = json.loads(render(Release(version="9.9.9")).to_json())
    values = {**modes.EXAMPLE_NETWORK, "ContainerImage": given}
    left = evaluation.resolved(newer, values, evaluation.Facts(subnets=modes.EXAMPLE_SUBNETS))["Resources"]
    (container,) = left["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    assert container["Image"] == (given if runs == "the given one" else Release(version="9.9.9").container_image)


def test_yaml_and_json_are_the_same_template() -> None:
    from cfnlint.decode import decode_str

    as_yaml, problems = decode_str(files.text("yaml"))
    assert problems == []
    assert json.loads(json.dumps(as_yaml)) == json.loads(files.text("json"))


def test_cfn_lint_says_nothing_of_any_mode(tmp_path: Path) -> None:
    """The whole template is linted by `make lint` and `make audit`; here two modes as they are left."""
    template = json.loads(files.text("json"))
    facts = evaluation.Facts(subnets=modes.EXAMPLE_SUBNETS)
    all_modes = modes.modes()
    paths = []
    for mode in (all_modes[0], all_modes[-1]):
        left = evaluation.resolved(template, {**modes.EXAMPLE_NETWORK, **mode.parameters}, facts)
        paths.append(tmp_path / f"{mode.name}.json")
        paths[-1].write_text(json.dumps(left))
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *paths], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_importers_source_is_readable_in_the_template() -> None:
    assert ast.get_docstring(ast.parse(importer_source()))
    assert "\n" in json.loads(files.text("json"))["Resources"]["Importer"]["Properties"]["Code"]["ZipFile"]
