"""Some two hundred odd things that devices send, as data: what a receiver makes of each is in `outcomes.json`."""

from tests.testkit.odd_objects import commands, data_sets, encodings, negotiation, uids
from tests.testkit.odd_objects.case import OddObject

__all__ = ["OddObject", "odd_objects"]


def odd_objects() -> list[OddObject]:
    """All cases, in the order of the page."""
    cases = [case for part in (commands, negotiation, uids, data_sets, encodings) for case in part.cases()]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return cases
