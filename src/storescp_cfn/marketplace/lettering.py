"""Text as outlines: the same picture on every machine, whatever fonts it has, and widths that can be relied on."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

# Of the em: how far letters reach above and below the baseline, as Roboto has it.
ASCENT, DESCENT = 0.77, 0.21


@cache
def _font() -> dict[str, Any]:
    font: dict[str, Any] = json.loads(files(__package__).joinpath("glyphs.json").read_text("utf-8"))
    return font


def width(text: str, size: float, weight: str = "regular") -> float:
    """Width of a line in pixels.

    Raises:
        KeyError: a character has no outline in `glyphs.json`.
    """
    glyphs = _font()["weights"][weight]
    advance: int = sum(glyphs[character][0] for character in text)
    return advance * size / float(_font()["units_per_em"])


def outlines(text: str, x: float, y: float, size: float, weight: str = "regular", fill: str = "#232f3e") -> str:
    """An SVG group that draws the line with its left end at x and its baseline at y, both in pixels."""
    glyphs = _font()["weights"][weight]
    scale = size / float(_font()["units_per_em"])
    paths, advance = [], 0
    for character in text:
        step, path = glyphs[character]
        if path:
            paths.append(f'<path transform="translate({advance} 0)" d="{path}"/>')
        advance += step
    return (
        f'<g aria-label="{escaped(text)}" fill="{fill}" '
        f'transform="translate({number(x)} {number(y)}) scale({scale:.6f} {-scale:.6f})">{"".join(paths)}</g>'
    )


def escaped(text: str) -> str:
    """Text for an XML attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def number(value: float) -> str:
    """A coordinate with at most two decimals and none to spare."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
