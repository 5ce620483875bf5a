"""Slow is allowed, endless is not."""

import pytest

from storescp.pace import PERIOD_SECONDS, Pace


def look_after(pace: Pace, bytes_per_second: float, seconds: int, is_its_turn: bool = True) -> list[bool]:
    found = []
    for second in range(seconds):
        pace.count(int(bytes_per_second))
        found.append(pace.is_too_slow(float(second), is_its_turn, 1000))
    return found


def test_who_sends_less_than_the_minimum_is_found_after_a_period_and_not_before() -> None:
    found = look_after(Pace(), 1, int(PERIOD_SECONDS) + 1)
    assert found.count(True) == 1
    assert found[-1]


@pytest.mark.parametrize("bytes_per_second", [1001, 20_000])
def test_who_is_slow_is_never_found(bytes_per_second: int) -> None:
    assert not any(look_after(Pace(), bytes_per_second, 3600))


def test_time_in_which_the_sender_waits_for_us_does_not_count() -> None:
    assert not any(look_after(Pace(), 0, 3600, is_its_turn=False))


def test_between_objects_nothing_counts() -> None:
    pace = Pace()
    assert not any(look_after(pace, 1, int(PERIOD_SECONDS)))
    pace.restart()
    assert not pace.is_too_slow(PERIOD_SECONDS + 1, True, 1000)
