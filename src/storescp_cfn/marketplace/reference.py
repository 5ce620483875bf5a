"""The parameter reference of a release, read from the rendered template: the form's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def parameters_markdown(template: Mapping[str, Any], version: str) -> str:
    """Every parameter in the order of the form, a table for each of its groups, in Markdown."""
    form = template["Metadata"]["AWS::CloudFormation::Interface"]
    parts = [f"# Parameters of StoreSCP {version}\n"]
    for group in form["ParameterGroups"]:
        rows = "\n".join(
            _row(name, form["ParameterLabels"].get(name, {}).get("default", name), template["Parameters"][name])
            for name in group["Parameters"]
        )
        parts.append(
            f"## {group['Label']['default']}\n\n| Parameter | Label | Meaning | Default | Allowed |\n"
            f"| --- | --- | --- | --- | --- |\n{rows}\n"
        )
    return "\n".join(parts)


def _row(name: str, label: str, parameter: Mapping[str, Any]) -> str:
    default = parameter.get("Default")
    shown = "required" if default is None else f"`{default}`" if default != "" else "empty"
    allowed = ", ".join(f"`{value}`" for value in parameter.get("AllowedValues", ()))
    cells = (f"`{name}`", label, parameter["Description"], shown, allowed or parameter.get("ConstraintDescription", ""))
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
