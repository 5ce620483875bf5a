"""The command render-template, as a program and in-process.

Covers cli.py, files.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from storescp_cfn.cli import render_template
from storescp_cfn.template import files

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "templates").mkdir()
    for path, style in files.COMMITTED.items():
        (tmp_path / path).write_text(files.text(style))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("program", [["storescp-cfn", "render-template"], ["render-template"]])
def test_both_programs_print_the_template(program: list[str]) -> None:
    path = Path(sys.executable).with_name(program[0])
    done = subprocess.run([path, *program[1:]], capture_output=True, text=True, check=True)
    assert done.stdout == files.text("yaml")
    assert done.stderr == ""


def test_json_is_printed_when_asked_for() -> None:
    result = CliRunner().invoke(render_template, ["--format", "json"])
    assert json.loads(result.stdout)["AWSTemplateFormatVersion"] == "2010-09-09"


def test_a_file_is_written(tmp_path: Path) -> None:
    result = CliRunner().invoke(render_template, ["--output", str(tmp_path / "t.yaml")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "t.yaml").read_text() == files.text("yaml")


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(render_template, ["--output", str(tmp_path / "none" / "t.yaml")])
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_is_silent_about_fresh_files(checkout: Path) -> None:
    result = CliRunner().invoke(render_template, ["--check"])
    assert (result.exit_code, result.output) == (0, "")


def test_check_shows_how_a_stale_file_differs(checkout: Path) -> None:
    stale = checkout / "templates/storescp.yaml"
    stale.write_text(stale.read_text().replace("PeerCIDR1", "PeerCidr1"))
    result = CliRunner().invoke(render_template, ["--check"])
    assert result.exit_code == 1
    assert "--- templates/storescp.yaml" in result.stdout
    assert "-  PeerCidr1:" in result.stdout
    assert "+  PeerCIDR1:" in result.stdout


def test_check_compares_the_file_it_is_given(checkout: Path) -> None:
    (checkout / "own.json").write_text("{}\n")
    arguments = ["--check", "--format", "json", "--output", "own.json"]
    assert CliRunner().invoke(render_template, arguments).exit_code == 1
    (checkout / "own.json").write_text(files.text("json"))
    assert CliRunner().invoke(render_template, arguments).exit_code == 0


def test_check_outside_a_checkout_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(render_template, ["--check"])
    assert result.exit_code == 1
    assert "templates/storescp.yaml cannot be read" in result.stderr
    assert "make render" in result.stderr


def test_check_of_a_file_that_is_not_text_is_one_sentence(checkout: Path) -> None:
    (checkout / "templates/storescp.yaml").write_bytes(b"\xff\xfe")
    result = CliRunner().invoke(render_template, ["--check"])
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_does_not_load_the_template() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from storescp_cfn.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "print(sorted({'troposphere', 'boto3', 'rich', 'ministack'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_functions_of_rules_have_their_long_form() -> None:
    """AWS documents no other, and CloudFormation has to read the file as it is."""
    assert "Fn::Contains:" in files.text("yaml")
    assert not re.search(r"!(Contains|EachMember|ValueOf|RefAll)", files.text("yaml"))
