"""The pages of docs/: every command, option, parameter, output, metric and alarm that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from storescp_cfn.cli import main
from storescp_cfn.template import metrics, render

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROOMS = ("guide", "operations", "security")
PAGES = [*sorted(page for room in ROOMS for page in (DOCS / room).glob("*.md")), DOCS / "glossary.md"]
COMMAND = re.compile(r"storescp-cfn ((?:[^\n`|]|\\\n)+)")
# What looks like a name of the template and is somebody else's.
OTHER_NAMES = {
    "AccessDenied", "AllowEcho", "AllowStorageCommitment", "AllowStore", "DicomModalities", "DicomTlsEnabled",
    "DicomTlsTrustedCertificates", "UseDicomTls",
}  # fmt: skip


def page_id(page: Path) -> str:
    return str(page.relative_to(DOCS))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each call of `storescp-cfn` in a page."""
    for match in COMMAND.finditer(text):
        yield re.sub(r"\\\n", " ", match[1]).split()


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words call, and the words left."""
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        name = words[0].strip(".,;:")
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"no command {name!r}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_exists_with_its_options(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        command, left = resolve(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in left:
            option = re.match(r"\[?(--[a-z][a-z-]*)", word)
            assert option is None or option[1] in known | {"--help"}, f"{command.name} has no {option[1]}"


def names_of_the_template() -> set[str]:
    template = render().to_dict()
    return {*template["Parameters"], *template["Outputs"], *template["Resources"], *template.get("Mappings", {})}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_name_of_the_template_exists(page: Path) -> None:
    known = (
        names_of_the_template() | {value for value in vars(metrics).values() if isinstance(value, str)} | OTHER_NAMES
    )
    text = re.sub(r"```json.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z]+[a-z]*)+[0-9]?)`", text)) | set(
        re.findall(r"\*\*?([A-Z]\w+Alarm)\*", text)
    )
    assert sorted(named - known) == []


def test_each_alarm_has_its_entry_in_the_runbook() -> None:
    alarms = {
        name
        for name, resource in render().to_dict()["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    headings = set(
        re.findall(r"^## (\w+)", (DOCS / "operations" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert headings == alarms
