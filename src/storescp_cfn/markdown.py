"""Markdown tables, written in one place for reference pages, estimates and release files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: Sequence[str] = ()) -> str:
    """A table without a newline at its end.

    header: one cell a column. rows: as many cells each; a bar or a newline in a cell is made harmless.
    align: for each column `---` (left, the default) or `---:` (right).
    """
    rule = align or ["---"] * len(header)
    return "\n".join(map(_line, [header, rule, *rows]))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def code(text: str) -> str:
    """Text set as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def code_lines(values: Iterable[str]) -> str:
    """Values set as code, each on a line of its own within one cell."""
    return "<br>".join(map(code, values))
