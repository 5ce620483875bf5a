"""Covers src/storescp_cfn/markdown.py."""

from __future__ import annotations

from storescp_cfn import markdown


def test_a_table_has_a_rule_and_a_line_for_each_row() -> None:
    assert markdown.table(["a", "b"], [["1", "2"]], ["---", "---:"]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert markdown.table(["a"], []) == "| a |\n| --- |"


def test_a_cell_cannot_break_the_table() -> None:
    assert markdown.table(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"


def test_code_of_nothing_is_nothing() -> None:
    assert markdown.code("") == ""
    assert markdown.code_lines(["a", "b"]) == "`a`<br>`b`"
