"""The AWS Marketplace product code that a paid listing's image is built with.

It is a file of the image and no setting: whoever launches the template can change every environment variable there, and
would run a paid receiver unmetered by deleting one.
"""

from __future__ import annotations

from pathlib import Path

FILE = Path(__file__).with_name("product_code.txt")


def built_in_product_code(file: Path = FILE) -> str:
    """The code, at most 255 characters; empty for a free listing, whose image has an empty file or none."""
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
