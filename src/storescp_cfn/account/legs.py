"""The legs of a test: each took so many seconds, or failed with a likely cause; after a failure none is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line, Screen, Table


class LegFailed(Exception):
    """A leg did not work. cause: the likely one, a sentence. to_do: what the reader does about it."""

    def __init__(self, cause: str, to_do: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.to_do = to_do


@dataclass(frozen=True)
class Leg:
    """One leg as it went. text: what was found."""

    name: str
    seconds: float
    text: str
    level: Level = Level.OK
    to_do: str = "nothing"


@dataclass
class Journey:
    """Legs in their order. `go` runs one, if none has failed before it."""

    clock: Callable[[], float] = time.monotonic
    on_leg: Callable[[str], None] = lambda name: None
    legs: list[Leg] = field(default_factory=list)
    failed: bool = False

    def go(self, name: str, leg: Callable[[], str]) -> bool:
        """Run a leg; return whether it and all before it worked."""
        if self.failed:
            return False
        self.on_leg(name)
        began = self.clock()
        try:
            text = leg()
        except LegFailed as error:
            self.legs.append(Leg(name, self.clock() - began, error.cause, Level.STOP, error.to_do))
            self.failed = True
        except AccountError as error:
            to_do = "mend this, then run the command again"
            self.legs.append(Leg(name, self.clock() - began, str(error), Level.UNKNOWN, to_do))
            self.failed = True
        else:
            self.legs.append(Leg(name, self.clock() - began, text))
        return not self.failed

    def note(self, name: str, text: str, to_do: str) -> None:
        """Something that worked, and not as it should."""
        self.legs.append(Leg(name, 0.0, text, Level.WARNING, to_do))


def screen(what: str, journey: Journey, planned: Sequence[str]) -> Screen:
    """The whole test: failures first, then the seconds of each leg."""
    bad = [leg for leg in journey.legs if leg.level == Level.STOP or leg.level == Level.UNKNOWN]
    done = {leg.name for leg in journey.legs}
    lines = [Line(leg.level, f"{leg.name}: {leg.text}", leg.to_do, leg.name) for leg in journey.legs]
    seconds = sum(leg.seconds for leg in journey.legs)
    headline = f"{what} fails at: {bad[0].name}." if bad else f"{what} works: {len(done)} legs in {seconds:.1f} s."
    rows = [[leg.name, f"{leg.seconds:.1f}"] for leg in journey.legs if leg.level != Level.WARNING]
    rows += [[name, "not tried"] for name in planned if name not in done]
    facts = {
        "legs": [
            {"name": leg.name, "seconds": round(leg.seconds, 3), "level": leg.level.word, "text": leg.text}
            for leg in journey.legs
        ],
        "not_tried": [name for name in planned if name not in done],
    }
    return Screen(headline, lines, [Table("Seconds", ["Leg", "Seconds"], rows, frozenset({1}))], facts)
