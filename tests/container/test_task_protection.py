"""A task with open associations asks ECS to stop another first, and never so long that a deployment waits for ever.

Covers protection.py.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from storescp.protection import ProtectionPlan
from tests.testkit.raw_sender import RawSender
from tests.testkit.receiver_process import running_receiver, wait_for


@contextmanager
def ecs_agent(status: int) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """The agent's endpoint: its address, and the requests (method, path, body) that it got."""
    requests: list[tuple[str, str, Any]] = []

    class Agent(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.command, self.path, body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"protection": {"ProtectionEnabled": true}}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Agent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api/token", requests
        finally:
            server.shutdown()


@pytest.mark.parametrize("status", [200, 500])
def test_an_open_association_asks_once_whatever_the_agent_answers(tmp_path: Path, status: int) -> None:
    with ecs_agent(status) as (address, requests), running_receiver(tmp_path, ECS_AGENT_URI=address) as receiver:
        assert requests == []
        with RawSender(receiver.port) as sender:
            wait_for(lambda: len(requests) > 0, 20, "a request")
            sender.release()
        assert receiver.stop() == 0
    expected = {"ProtectionEnabled": True, "ExpiresInMinutes": 5}
    assert requests == [("PUT", "/api/token/task-protection/v1/state", expected)]


def asked(plan: ProtectionPlan, open_associations: int, seconds: range) -> list[int]:
    return [second for second in seconds if plan.is_due(open_associations, second)]


def test_an_idle_task_never_asks() -> None:
    assert asked(ProtectionPlan(), 0, range(10_000)) == []


def test_a_busy_task_renews_each_minute_and_pauses_after_half_an_hour() -> None:
    times = asked(ProtectionPlan(), 1, range(3 * 3600))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert set(gaps) == {60, 600}
    assert gaps.index(600) == 30
    pauses = [place for place, gap in enumerate(gaps) if gap == 600]
    assert all(later - earlier == 31 for earlier, later in itertools.pairwise(pauses))
