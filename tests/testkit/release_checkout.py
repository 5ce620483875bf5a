"""What the tests of a release share: the order for version 1.2.0, and the command line of a checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.testkit import marketplace_stub

ROOT = Path(__file__).parents[2]
IMAGE = f"{marketplace_stub.REGISTRY}/acme/storescp:1.2.0"
NOTES = "Receives more. Update when it suits you."
CHANGELOG = (
    "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-12-01\n\n"
    f"### For customers (Optional)\n\n{NOTES}\n\n### Changed\n\n- The innermost.\n\n## 1.1.0\n\n- Older.\n"
)
# What a vendor fills in.
FILLED_IN = {
    'logo = ""': 'logo = "https://acme.s3.us-east-1.amazonaws.com/logo.png"',
    'address = ""': 'address = "support@acme.example"',
    "buyer_accounts = []": 'buyer_accounts = ["111122223333"]',
}
ARGUMENTS = (
    *("--version", "1.2.0", "--image", IMAGE, "--template-bucket", "acme-storescp"),
    *("--image-files", "../image", "--region", "us-east-1"),
)

Run = Callable[..., subprocess.CompletedProcess[str]]


def listing_text(**more: str) -> str:
    """The committed listing.toml as a vendor fills it in; `more` sets further entries of its last tables."""
    text = (ROOT / "listing.toml").read_text(encoding="utf-8")
    for empty, filled in FILLED_IN.items():
        assert text.count(empty) == 1
        text = text.replace(empty, filled)
    for key, value in more.items():
        text, count = re.subn(rf"^{key} = .*$", f'{key} = "{value}"', text, flags=re.MULTILINE)
        assert count == 1, key
    return text


def write_image_files(folder: Path, version: str = "1.2.0", metered: bool = False) -> Path:
    """The SBOM and the licence list of an image, in the form in which trivy and scripts/licences.py write them."""
    labels = {"org.opencontainers.image.version": version, "storescp.metered": "yes" if metered else ""}
    properties = [{"name": f"aquasecurity:trivy:Labels:{name}", "value": value} for name, value in labels.items()]
    components = [
        {"bom-ref": "chance-1", "type": "operating-system", "name": "debian", "version": "13"},
        {
            "bom-ref": "pkg:pypi/uvloop@0.23.0",
            "type": "library",
            "name": "uvloop",
            "version": "0.23.0",
            "purl": "pkg:pypi/uvloop@0.23.0",
            "licenses": [{"license": {"id": "MIT"}}],
            "properties": [{"name": "aquasecurity:trivy:PkgType", "value": "python-pkg"}],
        },
        {
            "bom-ref": "chance-2",
            "type": "library",
            "name": "zlib1g",
            "version": "1:1.3",
            "purl": "pkg:deb/debian/zlib1g@1.3?arch=amd64",
            "licenses": [{"license": {"id": "Zlib"}}],
        },
    ]
    subject = {"type": "container", "name": "image.tar", "properties": properties}
    document = {"bomFormat": "CycloneDX", "metadata": {"component": subject}, "components": components}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(document))
    (folder / "licences.md").write_text("# Third-party software in the image\n\n| zlib1g | deb | Zlib |\n")
    return folder


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def command(checkout: Path, environment: dict[str, str] | None = None) -> Run:
    """The command line of a checkout, as a process of its own."""

    def run(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from storescp_cfn.cli import main; main(prog_name='storescp-cfn')", *arguments],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout / "src"), "COLUMNS": "200"} | (environment or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=options.get("input", ""),
        )

    return run
