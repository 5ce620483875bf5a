"""What the tests of a release share: the order for version 1.2.0, and the command line of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.testkit import marketplace_stub

ROOT = Path(__file__).parents[2]
IMAGE = f"{marketplace_stub.REGISTRY}/acme/storescp:1.2.0"
CHANGELOG = "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-12-01\n\n- Receives more.\n\n## 1.1.0\n\n- Older.\n"
ARGUMENTS = ("--version", "1.2.0", "--image", IMAGE, "--template-bucket", "acme-storescp")

Run = Callable[..., subprocess.CompletedProcess[str]]


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
