"""From measured figures to a table: medians, ratios round by round, targets. Pure; nothing is measured here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Figures = Mapping[str, Sequence[float]]
"""Per quantity (its unit is its name, as "instances/s"), one value for each repetition."""


@dataclass(frozen=True)
class Target:
    """What a row has to reach: of its ratio to the peer, or of the value itself where a row has no peer."""

    sign: str
    number: float

    def met_by(self, value: float) -> bool:
        return {"≥": value >= self.number, "<": value < self.number, "=": value == self.number}[self.sign]

    def __str__(self) -> str:
        return f"{self.sign} {self.number:g}"


@dataclass(frozen=True)
class Row:
    """One line: its name (for --rows), what it says, our scenario, the quantity, the peer's scenario, the target."""

    name: str
    label: str
    ours: str
    quantity: str = "instances/s"
    peer: str | None = None
    target: Target | None = None


@dataclass(frozen=True)
class Missing:
    """A scenario without figures, and why."""

    reason: str


Results = Mapping[str, Figures | Missing]
HEADINGS = ("row", "we", "peer", "ratio", "target", "met")


def line(row: Row, results: Results) -> tuple[str, ...]:
    """The cells of a row; a dash where there is nothing to say."""
    ours = results[row.ours]
    peer = results[row.peer] if row.peer else None
    absent = next((each for each in (ours, peer) if isinstance(each, Missing)), None)
    if absent:
        return (row.label, "–", "–", "–", str(row.target or "–"), absent.reason)
    value = _median(ours, row.quantity)
    reference = _median(peer, row.quantity) if peer is not None else None
    ratio = _ratio(ours, peer, row.quantity) if peer is not None else None
    judged = ratio if row.peer else value
    return (
        row.label,
        f"{_number(value)} {row.quantity}",
        "–" if reference is None else _number(reference),
        "–" if ratio is None else f"{ratio:.2f}",
        str(row.target or "–"),
        "–" if row.target is None else _verdict(row.target, judged),
    )


def render(rows: Iterable[Row], results: Results) -> str:
    """The whole table as aligned plain text."""
    lines = [HEADINGS, *(line(row, results) for row in rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in lines
    )


def _median(figures: Figures | Missing, quantity: str) -> float:
    assert not isinstance(figures, Missing)
    return median(figures[quantity])


def _ratio(ours: Figures | Missing, peer: Figures | Missing, quantity: str) -> float:
    """Median of the rounds' ratios: what slows a machine down for a minute slows both sides of a round down."""
    assert not isinstance(ours, Missing) and not isinstance(peer, Missing)
    return median(value / reference for value, reference in zip(ours[quantity], peer[quantity], strict=True))


def _verdict(target: Target, judged: float | None) -> str:
    return "yes" if judged is not None and target.met_by(judged) else "NO"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
