"""Numbers of things in plain English."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """`1 image`, `3 images of CT1`, `2 batches`: the first word takes the plural."""
    if number == 1:
        return f"1 {thing}"
    noun, space, rest = thing.partition(" ")
    plural = noun[:-1] + "ies" if noun.endswith(("dy", "ry")) else noun + ("es" if noun.endswith(("ch", "s")) else "s")
    return f"{number} {plural}{space}{rest}"


def are(number: int, thing: str) -> str:
    """`1 image is`, `3 images are`."""
    return f"{counted(number, thing)} {'is' if number == 1 else 'are'}"


def were(number: int, thing: str) -> str:
    """`1 image was`, `3 images were`."""
    return f"{counted(number, thing)} {'was' if number == 1 else 'were'}"


def have(number: int, thing: str) -> str:
    """`1 image has`, `3 images have`."""
    return f"{counted(number, thing)} {'has' if number == 1 else 'have'}"
