"""How answers look: worst first, wrapped on a terminal, one line each in a pipe, an exit status for scripts."""

from __future__ import annotations

import io
import json

import pytest

from storescp_cfn.account.screen import Level, Line, Screen, Style, Table, as_json, as_text, show, style_of

LINES = [
    Line(Level.OK, "The stack is complete."),
    Line(Level.WARNING, "Two images of MR1 are in quarantine: " + "a long reason " * 6, "storescp-cfn quarantine list"),
    Line(Level.STOP, "No receiver is healthy.", "storescp-cfn doctor"),
]


def test_the_worst_line_is_first_and_everything_fits_80_columns() -> None:
    text = as_text(Screen("A headline.", LINES), Style(width=80))
    assert text.splitlines()[2].startswith("stop")
    assert max(map(len, text.splitlines())) <= 80
    assert "Do: storescp-cfn doctor" in text


def test_in_a_pipe_a_line_is_a_line_with_what_to_do_and_no_colour() -> None:
    lines = as_text(Screen("A headline.", LINES), Style()).splitlines()
    assert len(lines) == 5
    assert all("Do: " in line for line in lines[2:])
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ([Level.OK], 0),
        ([Level.OK, Level.UNKNOWN], 2),
        ([Level.UNKNOWN, Level.WARNING], 1),
        ([Level.STOP], 1),
        ([], 0),
    ],
)
def test_the_exit_status_says_what_is_to_do(levels: list[Level], status: int) -> None:
    screen = Screen("x", [Line(level, "y") for level in levels])
    assert screen.exit_status == status
    assert show(screen, json_wanted=False, stream=io.StringIO()) == status


def test_json_has_everything() -> None:
    answer = json.loads(as_json(Screen("x", LINES, facts={"today": 3})))
    assert (answer["headline"], answer["exit_status"], answer["today"]) == ("x", 1, 3)
    assert [line["level"] for line in answer["lines"]] == ["stop", "warning", "ok"]


def test_a_device_cannot_paint_on_the_terminal() -> None:
    hostile = Screen("x", [Line(Level.OK, "CT\x1b[2J\x07\n1")], [Table("t", ["a"], [["\x1b]0;x"]])])
    for style in (Style(), Style(80)):
        text = as_text(hostile, style)
        assert "\x1b" not in text
        assert "\x07" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "colour", "wrapped"),
    [
        (Terminal(), {}, True, True),
        (Terminal(), {"NO_COLOR": "1"}, False, True),
        (Terminal(), {"TERM": "dumb"}, False, True),
        (io.StringIO(), {}, False, False),
    ],
)
def test_colour_only_where_it_is_wanted(
    stream: io.StringIO, environment: dict[str, str], colour: bool, wrapped: bool
) -> None:
    style = style_of(stream, environment)
    assert (style.colour, style.width is not None) == (colour, wrapped)
