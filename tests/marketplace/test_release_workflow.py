"""The workflows that a vendor adopts: pinned, by privilege, made of the Makefile's targets, and in the right order."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from storescp_cfn.marketplace import bundle
from tests.testkit.release_checkout import ROOT

WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
CHECKLIST = ROOT / "docs/release-checklist.md"
RELEASE = {
    "VERSION": "v1.2.0",
    "REPOSITORY": "709825985650.dkr.ecr.us-east-1.amazonaws.com/acme/storescp",
    "TEMPLATE_BUCKET": "acme-storescp",
    "REGIONS": "us-east-1 eu-west-1",
    "PRODUCT_ID": "prod-abcd1234efgh5",
    "PRODUCT_CODE": "code1",
    "BASE": "docker.io/library/python@sha256:0",
}
# What a job may do with GitHub's token. Whoever holds an identity for AWS (id-token) runs no test and no build.
PRIVILEGES = {
    ("checks", "make"): {"contents": "read"},
    ("publish", "publish"): {"contents": "read", "id-token": "write"},
    ("release", "checks"): {"contents": "read"},
    ("release", "image"): {"contents": "read"},
    ("release", "rehearsal"): {"contents": "read", "id-token": "write"},
    ("release", "launch"): {"contents": "read", "id-token": "write"},
    ("release", "publish"): {"contents": "read", "id-token": "write"},
    ("release", "github-release"): {"contents": "write", "id-token": "write", "attestations": "write"},
}


def workflow(name: str) -> dict[str | bool, Any]:
    loaded: dict[str | bool, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return loaded


def jobs() -> dict[tuple[str, str], dict[str, Any]]:
    return {(name, job): body for name in WORKFLOWS for job, body in workflow(name)["jobs"].items()}


def steps_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.get("steps", [])
    return found


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", "".join((ROOT / n).read_text() for n in ("Makefile", "release.mk")), re.M))


def dry_run(target: str, **more: str) -> str:
    """What `make` would run, with the variables that the workflow sets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | RELEASE | more
    command = ["make", "--dry-run", "--always-make", target]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return re.sub(r"\s*\\\n\s*", " ", done.stdout)


@pytest.mark.parametrize("path", WORKFLOWS.values(), ids=WORKFLOWS.keys())
def test_every_action_is_pinned_by_its_commit_and_names_its_version(path: Path) -> None:
    """A tag can be moved to other code, as happened to setup-trivy on 2026-03-19."""
    used = re.findall(r"uses: *(.+)", path.read_text())
    of_others = [action for action in used if not action.startswith("./")]
    assert [action for action in of_others if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
    assert all((ROOT / action).is_file() for action in used if action.startswith("./"))


def test_each_job_may_do_what_it_needs_and_nothing_else() -> None:
    assert all(workflow(name)["permissions"] == {} for name in WORKFLOWS)
    assert {place: body["permissions"] for place, body in jobs().items()} == PRIVILEGES


def test_no_checkout_leaves_its_credentials_behind() -> None:
    checkouts = [
        step for body in jobs().values() for step in steps_of(body) if "checkout@" in str(step.get("uses", ""))
    ]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_whoever_holds_an_identity_runs_what_was_built_and_scanned_before() -> None:
    for place, body in jobs().items():
        commands = [step["run"] for step in steps_of(body) if "run" in step]
        if "id-token" in body["permissions"]:
            assert not {"make lint", "make test", "make release-image", "make release-scan"} & set(commands), place


def test_credentials_last_as_long_as_their_job() -> None:
    for body in jobs().values():
        for step in steps_of(body):
            if "configure-aws-credentials" in str(step.get("uses", "")):
                assert step["with"]["role-duration-seconds"] >= body["timeout-minutes"] * 60


def test_every_command_is_a_target_of_make() -> None:
    commands = [step["run"] for body in jobs().values() for step in steps_of(body) if "run" in step]
    made = [command.split()[1] for command in commands if command.startswith("make ")]
    assert set(made) - {'"$TARGET"'} <= targets()
    assert [command for command in commands if not command.startswith(("make ", "gh release create "))] == []
    assert not any("${{" in command for command in commands), "an expression in a command can be an injection"


def test_pull_requests_run_what_ci_runs() -> None:
    wanted = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert sorted(workflow("checks")["jobs"]["make"]["strategy"]["matrix"]["target"]) == sorted(wanted)
    assert set(wanted) <= targets()
    assert {"pull_request", "schedule", "workflow_call"} <= set(workflow("checks")[True]), "YAML 1.1 reads `on` as true"


def test_the_order_is_check_build_and_scan_rehearse_launch_publish() -> None:
    release = workflow("release")
    assert release[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    needed = {name: body.get("needs") for name, body in release["jobs"].items()}
    assert needed == {
        "checks": None,
        "image": "checks",
        "rehearsal": "image",
        "launch": "rehearsal",
        "publish": "launch",
        "github-release": "publish",
    }
    built = [step["run"] for step in steps_of(release["jobs"]["image"]) if "run" in step]
    assert built == ["make release-image", "make release-scan", "make release-programs"]
    published = [step["run"] for step in steps_of(workflow("publish")["jobs"]["publish"]) if "run" in step]
    assert published == [
        "make package",
        "make release-push",
        "make publish-validate",
        "make publish-apply YES=1",
    ]
    assert release["jobs"]["publish"]["with"]["environment"] == "marketplace"


def test_every_listed_region_is_launched() -> None:
    from storescp_cfn.template import regions

    assert workflow("release")["jobs"]["launch"]["strategy"]["matrix"]["region"] == list(regions.SUPPORTED)


def test_the_image_is_built_for_both_architectures_without_attestations_and_with_the_product_code() -> None:
    command = dry_run("release-image")
    assert "--platform linux/amd64,linux/arm64 --provenance=false --sbom=false" in command
    assert f'--build-arg BASE="{RELEASE["BASE"]}" --build-arg VERSION="1.2.0"' in command
    assert '--build-arg PRODUCT_CODE="code1" --output type=oci,dest=build/release/image.tar' in command


@pytest.mark.parametrize("base", ["", "docker.io/library/python:3.13-slim-trixie"])
def test_a_base_that_floats_is_refused(base: str) -> None:
    environment = os.environ | RELEASE | {"BASE": base}
    done = subprocess.run(
        ["make", "release-image"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"BASE={base} does not name the base image by its digest" in done.stderr


def test_both_architectures_are_scanned_and_what_is_pushed_is_what_was_scanned() -> None:
    scanned = dry_run("release-scan")
    assert "for architecture in amd64 arm64" in scanned and "--exit-code 1 --severity HIGH,CRITICAL" in scanned
    assert "oci-archive:build/release/image.tar" in scanned
    assert f'copy --all oci-archive:build/release/image.tar "docker://{RELEASE["REPOSITORY"]}:1.2.0"' in dry_run(
        "release-push"
    )


def test_package_and_publish_get_what_the_workflow_knows() -> None:
    command = dry_run("package")
    assert f'storescp-cfn package --version "1.2.0" --image "{RELEASE["REPOSITORY"]}:1.2.0"' in command
    assert (
        '--template-bucket "acme-storescp" --region us-east-1 --region eu-west-1 --product-id "prod-abcd1234efgh5" '
        '--product-code "code1" --image-files build/image --output "dist"'
    ) in command
    assert 'storescp-cfn publish "dist" --validate' in dry_run("publish-validate")
    assert 'storescp-cfn publish "dist" --apply --yes' in dry_run("publish-apply", YES="1")
    assert "--yes" not in dry_run("publish-apply")


def test_the_checklist_names_targets_files_and_commands_that_exist(release: bundle.Bundle) -> None:
    from storescp_cfn.cli import main
    from storescp_cfn.commands.marketplace import listing

    text = CHECKLIST.read_text()
    named = {word for words in re.findall(r"`make ([a-z -]+)`", text) for word in words.split()}
    assert named and named <= targets()
    files = {path.name for path in release.folder.rglob("*")} | {"CHANGELOG.md", "prices.json"}
    mentioned = re.findall(r"`[\w/-]*?([\w-]+\.(?:json|png|txt|md))`", text)
    assert len(mentioned) > 5 and set(mentioned) <= files
    commands = re.findall(r"storescp-cfn ([a-z-]+)(?: ([a-z-]+))?", text)
    assert {command for command, _ in commands} <= set(main.commands)
    assert {second for command, second in commands if command == "listing"} <= set(listing.commands)
