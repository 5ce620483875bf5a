"""What a release engineer may ask for: every input that cannot be is one sentence, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from storescp_cfn import cli
from tests.testkit.marketplace_stub import REGISTRY
from tests.testkit.release_checkout import ARGUMENTS, IMAGE

LONG = "a" * 63
BAD = {
    "a version that is none": (("--version", "1.2"), "Version '1.2' is not MAJOR.MINOR.PATCH"),
    "a version with a v": (("--version", "v1.2.0"), "Version 'v1.2.0' is not MAJOR.MINOR.PATCH"),
    "a version without notes": (
        ("--version", "9.9.9", "--image", f"{REGISTRY}/acme/storescp:9.9.9", "--image-files", "../image-9.9.9"),
        "CHANGELOG.md has no notes below a heading '## 9.9.9'",
    ),
    "an image tagged latest": (("--image", f"{REGISTRY}/acme/storescp:latest"), "is tagged `latest`, which AWS"),
    "an image without a tag": (("--image", f"{REGISTRY}/acme/storescp"), "is not 709825985650"),
    "an image elsewhere": (("--image", "docker.io/acme/storescp:1.2.0"), "is not in AWS Marketplace's registry"),
    "an image of another account": (
        ("--image", "111122223333.dkr.ecr.us-east-1.amazonaws.com/acme/storescp:1.2.0"),
        "is not in AWS Marketplace's registry",
    ),
    "an image of another version": (
        ("--image", f"{REGISTRY}/acme/storescp:1.1.0"),
        r"is tagged 1\.1\.0, but the version is 1\.2\.0: push it under its version",
    ),
    "a repository that AWS refuses": (("--image", f"{REGISTRY}/acme/-store..scp:1.2.0"), "is not 709825985650"),
    "a prerelease": (("--version", "1.2.0-rc.1"), "is not MAJOR.MINOR.PATCH"),
    "an image twice": (("--image", IMAGE, "--image", IMAGE), "ContainerImages names something twice"),
    "a bucket with capitals": (("--template-bucket", "Acme"), "is not a bucket's name"),
    "a bucket with a dot": (("--template-bucket", "acme.storescp"), "has a dot, with which https:// does not work"),
    "a bucket too long for the link": (
        ("--template-bucket", LONG, "--region", "ap-southeast-2"),
        r"is \d+ characters long; the limit is 255: take a bucket whose name is at least \d+ characters shorter",
    ),
    "a Region without HealthImaging": (("--region", "eu-central-1"), "Region 'eu-central-1' has no AWS HealthImaging"),
    "a Region twice": (("--region", "eu-west-1", "--region", "eu-west-1"), "links to different Regions"),
    "a product id that is none": (("--product-id", "abc"), "Product id 'abc' is not prod- and 13 or 25"),
    "a product code that is none": (("--product-code", "a b"), "Product code 'a b' is not one of AWS Marketplace"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_nothing_is_written(
    arguments: tuple[str, ...], sentence: str, pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storescp_cfn.commands.marketplace.CHECKOUT", pristine)
    monkeypatch.chdir(pristine)
    given = dict.fromkeys(arguments[::2])
    kept = [part for pair in zip(ARGUMENTS[::2], ARGUMENTS[1::2], strict=True) if pair[0] not in given for part in pair]
    ended = CliRunner().invoke(cli.main, ["package", *kept, *arguments, "--output", str(tmp_path / "dist")])
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert re.fullmatch(rf"Error: [^\n]*{sentence}[^\n]*\n", ended.stderr), ended.stderr
    assert list(tmp_path.iterdir()) == []
