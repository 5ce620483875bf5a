"""Screens as they were agreed on: `GOLDEN=write` writes them anew, and git shows how they changed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from storescp_cfn.account.screen import Screen, Style, as_json, as_text

FOLDER = Path(__file__).parent / "golden"
ON_A_TERMINAL = Style(width=80)
IN_A_PIPE = Style()


def check(name: str, screen: Screen) -> None:
    """Compare a screen at 80 columns, in a pipe and as JSON with its golden files."""
    for suffix, text in (
        ("80.txt", as_text(screen, ON_A_TERMINAL)),
        ("piped.txt", as_text(screen, IN_A_PIPE)),
        ("json", as_json(screen) + "\n"),
    ):
        check_text(f"{name}.{suffix}", text)


def check_text(name: str, text: str) -> None:
    """Compare a text with its golden file."""
    path = FOLDER / name
    text = re.sub(r"\b[0-9a-f]{32}\b", "<32 hex>", text)
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, f"GOLDEN=write would change {path}"
    if name.endswith(".80.txt"):
        assert max(map(len, text.splitlines())) <= 80 or _only_long_words(text)


def _only_long_words(text: str) -> bool:
    """Whether each line over 80 columns is one word that cannot be broken, such as a UID, behind its indent."""
    return all(len(line.split()[-1]) > 40 for line in text.splitlines() if len(line) > 80)
