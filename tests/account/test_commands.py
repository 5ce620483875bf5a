"""Every command's help: asking.py, launching.py, changing.py, networking.py, verifying.py, completing.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from storescp_cfn.cli import main
from tests.account.conftest import Account

HEAVY = ("boto3", "botocore", "pydicom", "pynetdicom", "rich", "troposphere", "ministack")
ACCOUNT_COMMANDS = (
    "deploy",
    "delete",
    "devices",
    "doctor",
    "outputs",
    "quarantine list",
    "quarantine retry",
    "quarantine close",
    "quarantine show",
    "quarantine export",
    "status",
    "update",
    "verify",
    "warnings close",
    "warnings list",
)


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each command, groups included."""
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


@pytest.mark.parametrize("path", [(), *every_command(main)], ids=" ".join)
def test_help_is_legible_at_80_columns(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("name", ACCOUNT_COMMANDS)
def test_a_command_for_an_account_has_what_the_aws_cli_has(name: str) -> None:
    output = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=80).output
    for option in ("--profile", "--region", "--endpoint-url", "--json"):
        assert option in output


def test_help_imports_nothing_heavy() -> None:
    """What makes it answer within 0.3 s; counted, since times depend on the machine."""
    code = (
        "import sys, contextlib, io\n"
        "from storescp_cfn.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['status', '--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "--study", "1.2", "--batch", "x"], "one question at a time"),
        (["status", "--since", "2h"], "--since goes with --device"),
        (["doctor"], "Name a VPC with --vpc"),
        (["verify", "--aet", "X"], "--aet goes with --host and --port"),
        (["deploy", "--param", "VpcId=x"], "did you mean VpcID"),
        (["quarantine", "retry"], "Say which"),
    ],
)
def test_a_wrong_question_is_one_sentence(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_policies_and_the_network_are_printed(tmp_path: Path) -> None:
    for arguments in (["policy", "launch"], ["policy", "operate", "--bucket", "b"], ["network"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert "Statement" in result.output or "AWS::EC2::VPC" in result.output
    assert CliRunner().invoke(main, ["network", "--output", str(tmp_path / "no" / "file")]).exit_code == 1


def test_doctor_fills_in_the_form(account: Account) -> None:
    arguments = ["doctor", "--vpc", account.deployment.parameters["VpcID"], "--region", "us-east-1", "--json"]
    arguments += ["--endpoint-url", account.stack.endpoint_url]
    arguments += ["--template-url", "https://b.s3.us-east-1.amazonaws.com/t.yaml"]
    result = CliRunner().invoke(main, arguments)
    assert "param_VpcID=vpc-" in result.stdout
    assert "Traceback" not in result.output


def test_a_shell_completes_commands() -> None:
    command = [sys.executable, "-m", "storescp_cfn", "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "_storescp_cfn_completion" in done.stdout
