"""Holds the drawn architecture diagram, docs/architecture.svg, to a rendered template.

The picture says itself what it shows: an icon's group has `id`, `data-types` (resource types that it stands for) and
perhaps `data-names` (a regular expression that their logical ids match); an arrow's group has `data-from`, `data-to`
and, where both ends are resources, `data-proof`: whose definition names whom, as logical ids or types with * for any
letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from xml.etree import ElementTree

Resources = Mapping[str, Mapping[str, Any]]

FILE = "docs/architecture.svg"
WIDTH_PIXELS, HEIGHT_PIXELS = 1100, 700  # AWS Marketplace's size of a diagram


@dataclass(frozen=True)
class Icon:
    """One icon, and the resources that it stands for."""

    key: str
    types: tuple[str, ...]
    names: str

    def stands_for(self, name: str, resource: Mapping[str, Any]) -> bool:
        return resource["Type"] in self.types and re.search(self.names, name) is not None


@dataclass(frozen=True)
class Arrow:
    """One arrow between two icons; `proof` is (whose definition, names whom), or nothing outside the template."""

    ends: tuple[str, str]
    proof: tuple[str, ...]


def read(svg: str) -> tuple[list[Icon], list[Arrow]]:
    """The icons and arrows of the picture."""
    groups = [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}g")]
    icons = [
        Icon(group.attrib["id"], tuple(group.get("data-types", "").split()), group.get("data-names", ""))
        for group in groups
        if "id" in group.attrib
    ]
    arrows = [
        Arrow((group.attrib["data-from"], group.attrib["data-to"]), tuple(group.get("data-proof", "").split()))
        for group in groups
        if "data-from" in group.attrib
    ]
    return icons, arrows


def problems(svg: str, template: Mapping[str, Any]) -> Iterator[str]:
    """What the picture and the template disagree about, a sentence each.

    svg: text of the picture. template: as a dictionary.
    """
    resources: Resources = template["Resources"]
    icons, arrows = read(svg)
    for name, resource in resources.items():
        if not any(icon.stands_for(name, resource) for icon in icons):
            yield (
                f"{FILE} has no place for {name} ({resource['Type']}): add the type to the data-types of the icon that "
                "stands for it, or draw an icon."
            )
    for icon in icons:
        for kind in icon.types:
            if not any(icon.stands_for(name, each) for name, each in resources.items() if each["Type"] == kind):
                yield f"{FILE} has {kind} in its icon {icon.key}, but the template has none: remove it there."
    for arrow in arrows:
        missing = set(arrow.ends) - {icon.key for icon in icons}
        if missing:
            yield f"{FILE} has an arrow at {', '.join(sorted(missing))}, but no such icon."
        elif arrow.proof and not _refers(resources, *arrow.proof):
            yield (
                f"{FILE} has an arrow from {' to '.join(arrow.ends)}, but in the template no {arrow.proof[0]} refers "
                f"to a {arrow.proof[1]}: redraw the arrow or its data-proof."
            )


def _refers(resources: Resources, referring: str, referred: str) -> bool:
    """Whether the definition of a resource that matches the one pattern names a resource that matches the other."""
    targets = "|".join(map(re.escape, _matching(resources, referred)))
    if not targets:
        return False
    named = re.compile(rf"(?<![A-Za-z0-9])(?:{targets})(?![A-Za-z0-9])")
    return any(named.search(json.dumps(resources[name])) for name in _matching(resources, referring))


def _matching(resources: Resources, id_or_type: str) -> list[str]:
    return [
        name
        for name, resource in resources.items()
        if fnmatchcase(name, id_or_type) or fnmatchcase(resource["Type"], id_or_type)
    ]
