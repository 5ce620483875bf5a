"""The workflow that a vendor adopts: it parses, its steps are the Makefile's, and it publishes nothing by itself."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest
import yaml

from storescp_cfn.marketplace import bundle
from tests.testkit.release_checkout import ROOT

WORKFLOW = ROOT / ".github/workflows/release.yml"
CHECKLIST = ROOT / "docs/release-checklist.md"
RELEASE = {
    "VERSION": "v1.2.0",
    "REPOSITORY": "709825985650.dkr.ecr.us-east-1.amazonaws.com/acme/storescp",
    "TEMPLATE_BUCKET": "acme-storescp",
    "REGIONS": "us-east-1 eu-west-1",
    "PRODUCT_ID": "prod-abcd1234efgh5",
    "BASE": "docker.io/library/python@sha256:0",
}


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (job,) = workflow["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def targets() -> set[str]:
    return set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text() + (ROOT / "release.mk").read_text(), re.MULTILINE)
    )


def dry_run(target: str) -> str:
    """What `make` would run, with the variables that the workflow sets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | RELEASE
    command = ["make", "--dry-run", "--always-make", target]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return re.sub(r"\s*\\\n\s*", " ", done.stdout)


def test_every_step_is_a_target_of_the_makefile_or_a_published_action(steps: list[dict[str, Any]]) -> None:
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = [step["run"] for step in steps if "run" in step]
    assert [command for command in commands if not re.fullmatch(r"make [a-z-]+", command)] == []
    assert {command.removeprefix("make ") for command in commands} <= targets()
    assert [
        step["uses"] for step in steps if "uses" in step and not re.fullmatch(r"[\w.-]+/[\w.-]+@v[\d.]+", step["uses"])
    ] == []


def test_the_order_is_check_build_scan_package_validate_and_nothing_is_applied(steps: list[dict[str, Any]]) -> None:
    commands = [step["run"].removeprefix("make ") for step in steps if "run" in step]
    assert commands == [
        "lint",
        "test",
        "registry-login",
        "release-image",
        "release-scan",
        "package",
        "publish-validate",
    ]


def test_only_a_version_s_tag_starts_it_and_it_may_write_nothing() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}, "YAML 1.1 reads `on` as true"
    assert workflow["permissions"] == {"contents": "read", "id-token": "write"}
    assert set(RELEASE) <= set(workflow["env"])


def test_the_image_is_built_for_both_architectures_without_attestations() -> None:
    command = dry_run("release-image")
    assert "--platform linux/amd64,linux/arm64 --provenance=false --sbom=false --push" in command
    assert f'--tag "{RELEASE["REPOSITORY"]}:1.2.0"' in command
    assert f'--build-arg BASE="{RELEASE["BASE"]}"' in command


def test_package_and_publish_get_what_the_workflow_knows() -> None:
    command = dry_run("package")
    assert f'storescp-cfn package --version "1.2.0" --image "{RELEASE["REPOSITORY"]}:1.2.0"' in command
    assert (
        '--template-bucket "acme-storescp" --region us-east-1 --region eu-west-1 --product-id "prod-abcd1234efgh5"'
        in command
    )
    assert "storescp-cfn publish dist/ --validate" in dry_run("publish-validate")


def test_the_checklist_names_targets_and_files_that_exist(release: bundle.Bundle) -> None:
    text = CHECKLIST.read_text()
    named = {word for words in re.findall(r"`make ([a-z -]+)`", text) for word in words.split()}
    assert named and named <= targets()
    files = {path.name for path in release.folder.rglob("*")} | {"CHANGELOG.md", "prices.json"}
    mentioned = re.findall(r"`[\w/-]*?([\w-]+\.(?:json|png|txt|md))`", text)
    assert len(mentioned) > 5 and set(mentioned) <= files
