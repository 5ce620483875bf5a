"""What a command shows: lines with the worst one first, each with what to do, and tables; as text or as JSON.

On a terminal a screen is wrapped to its width and coloured; in a pipe each line stays one line, so that grep finds it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import IO, Any

ALL_WELL, SOMETHING_TO_DO, COULD_NOT_FIND_OUT = 0, 1, 2  # exit statuses
NARROWEST, WIDEST = 60, 120  # columns of a terminal that a screen makes use of
COLUMN_GAP = "  "


class Level(IntEnum):
    """How a line stands; the worst is the highest."""

    OK = 0
    UNKNOWN = 1
    WARNING = 2
    STOP = 3

    @property
    def word(self) -> str:
        """The level as a reader sees it."""
        return {Level.OK: "ok", Level.UNKNOWN: "unknown", Level.WARNING: "warning", Level.STOP: "stop"}[self]


WORD_WIDTH = max(len(level.word) for level in Level) + 2
COLOURS = {Level.OK: "32", Level.UNKNOWN: "35", Level.WARNING: "33", Level.STOP: "31;1"}  # ANSI SGR
NOTHING_TO_DO = "nothing"


@dataclass(frozen=True)
class Line:
    """One finding.

    text: a sentence or two. to_do: what the reader does about it, a sentence or a command. subject: a short name for
    programs that read the JSON. details: facts for the JSON only.
    """

    level: Level
    text: str
    to_do: str = NOTHING_TO_DO
    subject: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The line in the JSON."""
        about = {"level": self.level.word, "text": self.text, "to_do": self.to_do}
        return about | ({"subject": self.subject} if self.subject else {}) | dict(self.details)


@dataclass(frozen=True)
class Table:
    """Rows below headings; the last column takes the width that is left, the columns in `numbers` are set right."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    if_empty: str = ""


@dataclass(frozen=True)
class Screen:
    """A whole answer.

    headline: the answer in one sentence. lines: shown worst first. facts: what the JSON says besides. text: shown as it
    is, after the tables.
    """

    headline: str
    lines: Sequence[Line] = ()
    tables: Sequence[Table] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def sorted_lines(self) -> list[Line]:
        """The worst first; equals in their own order."""
        return sorted(self.lines, key=lambda line: -line.level)

    @property
    def exit_status(self) -> int:
        """0 all is well, 1 there is something to do, 2 something could not be found out (and nothing else is wrong)."""
        worst = max((line.level for line in self.lines), default=Level.OK)
        return {Level.OK: ALL_WELL, Level.UNKNOWN: COULD_NOT_FIND_OUT}.get(worst, SOMETHING_TO_DO)


def as_json(screen: Screen) -> str:
    """The screen for programs: one object, its keys stable."""
    answer = {
        "headline": screen.headline,
        "exit_status": screen.exit_status,
        "lines": [line.facts() for line in screen.sorted_lines],
        **screen.facts,
    }
    return json.dumps(answer, indent=2, default=str)


@dataclass(frozen=True)
class Style:
    """How text is laid out. width: columns to wrap at, None for never. colour: whether ANSI colours are used."""

    width: int | None = None
    colour: bool = False

    def paint(self, text: str, codes: str) -> str:
        """The text in a colour, or as it is."""
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colour else text

    def wrap(self, text: str, first: str, rest: str) -> list[str]:
        """`text` behind `first`, further lines behind `rest`; no word is broken, so that UIDs can be copied."""
        text = printable(text)
        if self.width is None:
            return [first + text]
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [first]


def style_of(stream: IO[str], environment: Mapping[str, str]) -> Style:
    """Wrapped and coloured on a terminal (https://no-color.org), plain elsewhere."""
    if not stream.isatty():
        return Style()
    width = shutil.get_terminal_size((80, 24)).columns
    colour = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return Style(min(max(width, NARROWEST), WIDEST), colour)


def printable(text: str) -> str:
    """The text without what could steer a terminal: AE titles and reasons come from strangers."""
    return "".join(character if character.isprintable() else " " for character in text)


def as_text(screen: Screen, style: Style) -> str:
    """The screen for people."""
    parts = ["\n".join(style.paint(line, "1") for line in style.wrap(screen.headline, "", ""))]
    if screen.lines:
        parts.append("\n".join(text for line in screen.sorted_lines for text in _line_text(line, style)))
    parts += ["\n".join(_table_text(table, style)) for table in screen.tables if table.rows or table.if_empty]
    if screen.text:
        parts.append(screen.text.rstrip("\n"))
    return "\n\n".join(parts) + "\n"


def _line_text(line: Line, style: Style) -> list[str]:
    indent = " " * WORD_WIDTH
    if style.width is None:
        return [f"{line.level.word:<{WORD_WIDTH}}{printable(line.text)} Do: {printable(line.to_do)}"]
    wrapped = style.wrap(line.text, indent, indent)
    word = style.paint(f"{line.level.word:<{WORD_WIDTH}}", COLOURS[line.level])
    wrapped[0] = word + wrapped[0][WORD_WIDTH:]
    return (
        wrapped if line.to_do == NOTHING_TO_DO else wrapped + style.wrap(line.to_do, f"{indent}Do: ", f"{indent}    ")
    )


def _table_text(table: Table, style: Style) -> Iterable[str]:
    yield style.paint(table.title, "1")
    if not table.rows:
        yield f"  {table.if_empty}"
        return
    rows = [[printable(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.headings))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in table.numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        first = COLUMN_GAP + "".join(cell + COLUMN_GAP for cell in cells)
        last = row[-1].rjust(widths[-1]) if len(row) - 1 in table.numbers else row[-1]
        fits = style.width is None or len(first) + len(last) <= style.width or len(first) + 20 > (style.width or 0)
        text = [(first + last).rstrip()] if fits else [x.rstrip() for x in style.wrap(last, first, " " * len(first))]
        yield from ([style.paint(line, "2") for line in text] if number == 0 else text)


def show(screen: Screen, json_wanted: bool, stream: IO[str] | None = None) -> int:
    """Print the screen on `stream` (standard output); return the exit status."""
    stream = stream or sys.stdout
    text = as_json(screen) + "\n" if json_wanted else as_text(screen, style_of(stream, os.environ))
    stream.write(text)
    return screen.exit_status
