"""`make live` in full against the local stack: it has to work the first time somebody has an account.

Covers acceptance and measuring. It takes a minute: `make test` leaves it out, STORESCP_SLOW=1 runs it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from healthimaging_emulator.settings import Settings, read_behaviour_file
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.local import operator
from storescp_cfn.local.processes import free_port
from storescp_cfn.local.stack import REGION, STACK_NAME, LocalStack
from tests.live import measuring
from tests.live.acceptance import STEPS, Account, Plan, run, table


class LocalAccount(Account):
    """The local stack: tasks do not start by themselves, and a killed one is started again by hand."""

    def __init__(self, stack: LocalStack, port: int) -> None:
        super().__init__(Connection(region_name=REGION, endpoint_url=stack.endpoint_url))
        self.stack = stack
        self.port = port

    def launched(self, deployment: Deployment) -> None:
        self.stack.start_receiver(self.stack.deployed(), self.port)

    def kill_receiver(self, deployment: Deployment) -> None:
        assert self.stack.receiver_child is not None
        self.stack.receiver_child.kill()
        if self.stack.log_driver is not None:
            self.stack.log_driver.stop()
        self.stack.start_receiver(self.stack.deployed(), self.port)


@pytest.mark.skipif(not os.environ.get("STORESCP_SLOW"), reason="takes minutes: STORESCP_SLOW=1 runs it")
@pytest.mark.timeout(600)
# pynetdicom forgets its socket without closing it when a receiver dies under it (its _shutdown_socket).
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_whole_life_of_a_stack(tmp_path: Path) -> None:
    port = free_port()
    extra = {"SCPPort": str(port), "LoadBalancerScheme": "internal", "TaskDesiredCount": "1"}
    plan = Plan("203.0.113.0/24", slices=20, stack=STACK_NAME, extra=extra)
    with LocalStack("") as stack:
        stack.start_aws()
        with operator.variables(stack):
            results = run(LocalAccount(stack, port), plan, print, tmp_path / "facts.json")
    print(table(results))
    assert [result.name for result in results if result.failed] == []
    assert [result.name for result in results] == [name for name, _ in STEPS]
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["facts"]["verify_seconds"].keys() >= {"C-STORE", "imported", "readable"}
    assert [row["status"] for row in facts["facts"]["store_dicom"]] == [200] * measuring.STORE_REQUESTS
    Settings().changed(read_behaviour_file(tmp_path / "facts.json"))  # the emulator reads it


def test_durations_become_a_line() -> None:
    assert measuring.line([100, 1100], [60.5, 65.5]) == (0.005, 60.0)
    assert measuring.line([5, 5], [60.0, 62.0]) == (0.0, 61.0)


def test_a_shape_holds_no_value() -> None:
    assert measuring.shape_of({"a": [{"b": "secret"}], "c": 1, "d": []}) == {"a": [{"b": "str"}], "c": "int", "d": []}


def test_without_the_word_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from tests.live.__main__ import main

    monkeypatch.delenv("STORESCP_LIVE", raising=False)
    result = CliRunner().invoke(main, ["--region", "us-east-1"])
    assert result.exit_code == 1
    assert "STORESCP_LIVE=1" in result.output
