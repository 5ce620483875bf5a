"""What is done again and again goes on, whatever becomes of one time (clock.py, failures.py)."""

import asyncio
import json

import pytest

from storescp.clock import Clock
from storescp.failures import describe_failure
from storescp.log import Log


def test_a_step_that_fails_costs_no_other_step_and_no_tick(capfd: pytest.CaptureFixture[str]) -> None:
    async def run() -> int:
        taken = 0
        done = asyncio.Event()

        def fail(monotonic_now: float) -> None:
            raise ValueError("Doe^Jane")

        def count(monotonic_now: float) -> None:
            nonlocal taken
            taken += 1
            if taken == 3:
                done.set()

        log = Log("INFO")
        Clock(asyncio.get_running_loop(), log, fail, count).start()
        await asyncio.wait_for(done.wait(), 60)
        log.writer.finish(1.0)
        return taken

    assert asyncio.run(run()) == 3
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    failures = [line for line in lines if line["message"] == "clock step failed"]
    assert len(failures) >= 2
    assert {(line["error"], line["place"].split(":")[0]) for line in failures} == {("ValueError", "fail")}
    assert "Doe" not in str(lines)


def test_a_failure_is_described_by_its_type_and_place_and_by_no_word_of_it() -> None:
    try:
        int("Doe^Jane")
    except ValueError as error:
        described = describe_failure(error)
    assert described["error"] == "ValueError"
    assert described["place"].startswith("test_a_failure")
    assert describe_failure(KeyError("x")) == {"error": "KeyError", "place": ""}
