"""A batch's life, drawn by hypothesis: no path leads from received to gone without imported or quarantined.

Covers discovery.py, import_lambda/errors.py, import_lambda/keys.py.
"""

from __future__ import annotations

import random
from contextlib import suppress

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from import_lambda.errors import error_of
from tests.testkit.import_scenarios import (
    QUICK_DOUBTS,
    Instance,
    at_rest,
    close_batch,
    problems,
    receive,
    wake,
    wake_every_minute,
)
from tests.testkit.memory_aws import KilledError
from tests.testkit.memory_world import LANDING, World

BODIES = st.sampled_from(
    [
        b"DICM",
        b"DICM",
        b"DICM",
        b"BAD",
        b"",
        b"CONFLICT",
        b"FLAKY:1",
        b"FLAKY:9",
        b"ODD",
        b"WARN:45330",
        b"SILENT",
        b"POISON",
    ]
)


class LifeCycle(RuleBasedStateMachine):
    """Receivers that close, die or come late; an importer that is woken, killed, throttled, or has a wrong clock."""

    @initialize(
        limit=st.sampled_from([3, 5_000]),
        lag=st.sampled_from([0.0, 20.0]),
        jobs=st.sampled_from([1, 100]),
        token=st.sampled_from([-1.0, 86_400.0]),
    )
    def begin(self, limit: int, lag: float, jobs: int, token: float) -> None:
        random.seed(0)
        self.world = World(manifest_lag_seconds=lag, concurrent_jobs=jobs, token_seconds=token, files_per_job=limit)
        self.settings = QUICK_DOUBTS
        self.acknowledged: list[Instance] = []
        self.open: list[tuple[str, int]] = []
        self.number = 0

    @rule(bodies=st.lists(BODIES, min_size=1, max_size=5), close=st.booleans())
    def receive_batch(self, bodies: list[bytes], close: bool) -> None:
        self.number += 1
        bodies = [body + b" %d" % count if body.startswith(b"DICM") else body for count, body in enumerate(bodies)]
        more = receive(self.world, bodies, self.number, f"1.{self.number}", close)
        self.acknowledged += more
        if not close:
            self.open.append((more[0][0], len(more)))

    @rule()
    def close_a_batch(self) -> None:
        if self.open:
            close_batch(self.world, *self.open.pop(0), self.world.time)

    @rule(which=st.integers(0, 100))
    def store_one_late(self, which: int) -> None:
        if self.acknowledged:
            batch, rest = self.acknowledged[which % len(self.acknowledged)]
            late = (batch, f"{rest}.{which}")
            if late not in self.acknowledged:
                self.world.put(LANDING, f"incoming/{late[0]}/{late[1]}.dcm", b"DICM late")
                self.acknowledged.append(late)

    @rule(seconds=st.sampled_from([0.5, 10, 70, 1_000, 4_000]))
    def time_passes(self, seconds: float) -> None:
        self.world.time += seconds

    @rule(skew=st.sampled_from([0.0, -200.0, 200.0]))
    def wake_up(self, skew: float) -> None:
        wake(self.world, self.settings, skew=skew)

    @rule(call=st.integers(1, 60), moment=st.sampled_from(["before", "after"]))
    def wake_up_and_death(self, call: int, moment: str) -> None:
        def kill(when: str, number: int, _: str) -> None:
            if (when, number) == (moment, call):
                raise KilledError

        with suppress(KilledError):
            wake(self.world, self.settings, kill)

    @rule(call=st.integers(1, 60), code=st.sampled_from(["ThrottlingException", "AccessDenied"]))
    def wake_up_and_fault(self, call: int, code: str) -> None:
        def fail(when: str, number: int, _: str) -> None:
            if (when, number) == ("before", call):
                raise error_of(code, 400)

        wake(self.world, self.settings, fail)

    @rule(call=st.integers(1, 60), seconds=st.sampled_from([100, 2_000]))
    def wake_up_and_a_long_pause(self, call: int, seconds: float) -> None:
        def pause(when: str, number: int, _: str) -> None:
            if (when, number) == ("before", call):
                self.world.time += seconds
                wake(self.world, self.settings)

        wake(self.world, self.settings, pause)

    @invariant()
    def nothing_acknowledged_is_gone(self) -> None:
        """At every moment each instance is below incoming/, in an image set, or below quarantine/."""
        if not hasattr(self, "world"):
            return
        stored = {
            key.split("/", 1)[1] for prefix in ("incoming/", "split/", "quarantine/") for key in self.world.keys(prefix)
        }
        somewhere = {self.origin(key) for key in stored if key.endswith(".dcm")}
        somewhere |= {self.origin(key.split("/", 1)[1]) for key in self.world.image_sets}
        assert [instance for instance in self.acknowledged if instance not in somewhere] == []

    @staticmethod
    def origin(key: str) -> Instance:
        batch, rest = key.removesuffix(".dcm").split("/", 1)
        return batch.split(".")[0], rest

    def teardown(self) -> None:
        """When the world calms down, all is settled."""
        if not hasattr(self, "world"):
            return
        while self.open:
            self.close_a_batch()
        # Other batches show that HealthImaging works, and so what does not is the objects' fault. What came late to a
        # batch of long ago is found by the daily look at everything.
        self.world.healthy_every_minutes = 4
        for _ in range(2):
            wake_every_minute(self.world, self.settings, minutes=120)
            if at_rest(self.world):
                break
            self.world.time += 86_400
        # Where one job runs at a time, or faults last, evidence may take longer than this: then nothing is gone yet.
        self.nothing_acknowledged_is_gone()
        if at_rest(self.world):
            assert problems(self.world, self.acknowledged, imports=1_000) == []


TestLifeCycle = LifeCycle.TestCase
TestLifeCycle.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
