"""The publish command as a process: its sentences, its exit codes, and what a terminal is asked.

Covers terminal.py.
"""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storescp_cfn.marketplace.bundle import Bundle
from tests.testkit import marketplace_stub as stub
from tests.testkit.release_checkout import command


def started(aws: stub.Aws) -> list[str]:
    return [change_set.request["Intent"] for change_set in aws.change_sets]


def test_without_credentials_there_is_one_sentence(aws: stub.Aws, release: Bundle, pristine: Path) -> None:
    environment = aws.environment() | {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    ended = command(pristine, environment)("publish", str(release.folder))
    assert ended.returncode == 1
    what = "there are no AWS credentials; set AWS_PROFILE or log in to the seller account"
    assert ended.stderr == f"Error: Asking AWS who you are: {what}.\n"


def test_a_profile_that_does_not_exist_is_one_sentence(aws: stub.Aws, release: Bundle, pristine: Path) -> None:
    ended = command(pristine, aws.environment() | {"AWS_PROFILE": "nope"})("publish", str(release.folder))
    assert ended.returncode == 1
    assert ended.stderr == "Error: Reading the AWS configuration: The config profile (nope) could not be found.\n"


def test_apply_without_a_terminal_needs_yes(aws: stub.Aws, release: Bundle, pristine: Path) -> None:
    aws.outcomes = [(["SUCCEEDED"], [], ""), (["SUCCEEDED"], [], "")]
    run = command(pristine, aws.environment())
    refused = run("publish", str(release.folder), "--apply")
    assert (refused.returncode, aws.calls) == (1, [])
    assert "so give --yes as well" in refused.stderr
    done = run("publish", str(release.folder), "--apply", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Version 1.2.0 is published: change set changeset2.\n")


def test_validate_is_the_default_and_says_so(aws: stub.Aws, release: Bundle, pristine: Path) -> None:
    aws.outcomes = [(["SUCCEEDED"], [], "")]
    done = command(pristine, aws.environment())("publish", str(release.folder))
    assert done.stdout.endswith("would be accepted (nothing was published): change set changeset1.\n")


@pytest.mark.parametrize("spoil", ["changed", "added", "removed", "unsummed"])
def test_a_bundle_that_is_not_as_it_was_packaged_is_refused(
    aws: stub.Aws, release: Bundle, pristine: Path, tmp_path: Path, spoil: str
) -> None:
    folder = Path(shutil.copytree(release.folder, tmp_path / "dist"))
    match spoil:
        case "changed":
            (folder / "changeset.json").write_text(json.dumps({}))
        case "added":
            (folder / "more.txt").write_text("")
        case "removed":
            (folder / "sbom.cdx.json").unlink()
        case "unsummed":
            (folder / "SHA256SUMS").unlink()
    ended = command(pristine, aws.environment())("publish", str(folder))
    assert ended.returncode == 1
    assert re.fullmatch(r"Error: .* run `package` (again|first)\.\n", ended.stderr)
    assert aws.calls == []


def on_a_terminal(checkout: Path, environment: dict[str, str], arguments: list[str], typed: str) -> tuple[int, str]:
    """Run the command line on a terminal of its own, type a line when asked; its exit code and what it showed."""
    code = "from storescp_cfn.cli import main; main(prog_name='storescp-cfn')"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, cwd=checkout, env=os.environ | environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
            if b"to publish it" in shown and typed:
                os.write(ours, typed.encode() + b"\n")
                typed = ""
    os.close(ours)
    return process.returncode, shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError as error:  # Linux says EIO when the other end of a terminal has been closed.
        assert error.errno == errno.EIO
        return b""


@pytest.mark.parametrize(
    ("typed", "ends", "intents"),
    [("1.2.0", 0, ["VALIDATE", "APPLY"]), ("yes", 1, ["VALIDATE"]), ("1.2", 1, ["VALIDATE"])],
)
def test_on_a_terminal_the_version_has_to_be_typed(
    aws: stub.Aws, release: Bundle, pristine: Path, typed: str, ends: int, intents: list[str]
) -> None:
    aws.outcomes = [(["SUCCEEDED"], [], ""), (["SUCCEEDED"], [], "")]
    environment = aws.environment() | {"PYTHONPATH": str(pristine / "src")}
    code, shown = on_a_terminal(pristine, environment, ["publish", str(release.folder), "--apply"], typed)
    assert "A public version can never be changed. Type 1.2.0 to publish it" in shown
    assert (code, started(aws)) == (ends, intents)
    assert ("Not confirmed: nothing was published." in shown) is (ends == 1)
