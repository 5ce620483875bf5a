"""Several questions at once: an account answers slowly, and one missing permission must not hide the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line

T = TypeVar("T")
AT_ONCE = 8


def lines_of(questions: Mapping[str, Callable[[], Sequence[Line]]]) -> list[Line]:
    """Ask all at once; the lines in the questions' order. What cannot be asked is a line itself."""

    def ask(subject: str) -> Sequence[Line]:
        try:
            return questions[subject]()
        except AccountError as error:
            return [unknown(subject, error)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [line for lines in pool.map(ask, questions) for line in lines]


def unknown(subject: str, error: AccountError) -> Line:
    """The line for what could not be found out."""
    return Line(Level.UNKNOWN, f"{subject}: {error}", "mend this, then run the command again", subject)


def each(values: Sequence[str], ask: Callable[[str], T]) -> list[T]:
    """`ask` about every value at once; the answers in order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, values))
