"""The rendered template as files: the only part of the library that reads or writes any."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import cfn_flip
from troposphere import Template

from storescp_cfn.template.release import Release
from storescp_cfn.template.rendering import render

COMMITTED = {"templates/storescp.yaml": "yaml"}


class TemplateFileError(Exception):
    """One sentence on a file that cannot be read or written."""


def text(style: str, release: Release | None = None) -> str:
    """Return the template as `yaml` or `json`, with a newline at its end."""
    template = render(release)
    body = _yaml(template) if style == "yaml" else str(template.to_json(indent=1))
    return body.rstrip("\n") + "\n"


def _yaml(template: Template) -> str:
    """Intrinsic functions in their short form, but for those of Rules.

    AWS documents no short form of Fn::Contains and its like, and not every reader of templates knows one.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-rules.html
    """
    rules = cfn_flip.to_yaml(json.dumps({"Rules": template.to_dict()["Rules"]}), long_form=True)
    return re.sub(r"^Rules:\n(?:[ -].*\n)+", lambda _: rules, str(template.to_yaml()), flags=re.MULTILINE)


def write(path: str, style: str) -> None:
    """Write the template; raise TemplateFileError."""
    write_text(path, text(style))


def write_text(path: str, content: str) -> None:
    """Write a rendered template; raise TemplateFileError."""
    try:
        Path(path).write_text(content, encoding="utf-8")
    except OSError as error:
        raise TemplateFileError(f"{path} cannot be written: {error.strerror}") from error


def differences(expected: Mapping[str, str]) -> str:
    """Return a unified diff from each file (path: style) to what it should hold; empty if all are fresh."""
    return "".join(_difference(path, style) for path, style in expected.items())


def _difference(path: str, style: str) -> str:
    try:
        found = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateFileError(
            f"{path} cannot be read ({error}): run from the root of the checkout, or write it first with `make render`"
        ) from error
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), text(style).splitlines(keepends=True), path, f"{path} (rendered now)"
    )
    return "".join(lines)
