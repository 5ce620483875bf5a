"""What the vendor's and the project's texts name is there: commands, options, pages, files, parameters, outputs.

Covers usage.py, and listing.toml, usage.txt, README, CONTRIBUTING, SECURITY, issue forms, docs/release-checklist.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from storescp_cfn.cli import main
from storescp_cfn.marketplace import usage
from storescp_cfn.marketplace.bundle import Bundle
from storescp_cfn.template import render
from tests.testkit.release_checkout import ROOT

TEXTS = (
    "listing.toml",
    "src/storescp_cfn/marketplace/usage.txt",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/release-checklist.md",
    ".github/ISSUE_TEMPLATE/defect.yml",
    ".github/pull_request_template.md",
)
TEMPLATE = render().to_dict()
# Words of these texts that look like a parameter and are names of something else.
OTHER_NAMES = {"HealthImaging", "CloudFormation", "DynamoDB", "CloudWatch", "ReleaseProduct"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_that_a_text_names_exists(name: str) -> None:
    for words in re.findall(r"storescp-cfn ([a-z-]+(?: [a-z-]+)?)", text_of(name)):
        first, _, second = words.partition(" ")
        command = main.commands.get(first)
        assert command is not None, f"{name} names storescp-cfn {first}"
        if isinstance(command, click.Group) and second:
            assert second in command.commands, f"{name} names storescp-cfn {words}"


@pytest.mark.parametrize("name", TEXTS)
def test_every_target_and_file_that_a_text_names_exists(name: str) -> None:
    text = text_of(name)
    makefiles = text_of("Makefile") + text_of("release.mk")
    targets = set(re.findall(r"^([a-z-]+):", makefiles, re.MULTILINE))
    named = {word for words in re.findall(r"`make ([a-z -]+)", text) for word in words.split()}
    assert named <= targets, name
    linked = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    folder = Path(name).parent
    assert [link for link in linked if not (ROOT / folder / link).exists()] == [], name


def test_what_the_instructions_name_is_in_the_template(release: Bundle) -> None:
    text = release.read("usage-instructions.txt").decode()
    parameters = set(re.findall(r"\b(TLSCertificateARN|KmsKeyARN|RetentionDays|AlarmEmail)\b", text))
    assert parameters == {"TLSCertificateARN", "KmsKeyARN", "RetentionDays", "AlarmEmail"}
    outputs = {"NetworkLoadBalancerDNS", "DICOMPort", "DICOMAETitle", "DashboardLink"}
    roles = {name for name, resource in TEMPLATE["Resources"].items() if resource["Type"] == "AWS::IAM::Role"}
    known = {*TEMPLATE["Parameters"], *TEMPLATE["Outputs"], *roles}
    assert parameters | outputs <= known and all(name in text for name in outputs | roles)
    assert any(name.startswith("PeerCIDR") for name in known)


def test_the_instructions_cover_the_checklist_name_the_image_and_fit(release: Bundle) -> None:
    text = release.read("usage-instructions.txt").decode()
    headings = dict(line.split(": ", 1) for line in text.splitlines()[1:])
    assert set(headings) == {*usage.CHECKLIST.values(), "Image", "SUPPORT"}
    assert headings["Image"] == release.images[0]
    assert "Business Associate Addendum" in headings["DATA"]
    assert len(text) <= 4000, f"{len(text)} characters"


def test_nothing_is_promised_that_the_listing_does_not_show() -> None:
    """The Catalog has no place for a diagram of a container product; buyers see texts, links and a logo."""
    promised = " ".join(text_of(name) for name in ("listing.toml", "src/storescp_cfn/marketplace/usage.txt"))
    assert "diagram" not in promised.lower() and "deployment guide" not in promised.lower()
