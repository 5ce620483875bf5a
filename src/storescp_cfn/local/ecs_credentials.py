"""The credentials endpoint that ECS gives to each task: short-lived keys of the task role, and nothing else.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html. `POST /tasks` (the launcher, in the
place of ECS) names a role and gets a token; `GET /credentials` with that token answers as ECS does.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from storescp_cfn.local.service_sessions import SessionKeys, TrustDenied

OpenSession = Callable[[str, str, str], SessionKeys]


class EcsCredentials(ThreadingHTTPServer):
    """The endpoint, on a free port of loopback; `open_session` is `service_sessions.open_session`."""

    daemon_threads = True

    def __init__(self, open_session: OpenSession) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.open_session = open_session
        self.tasks: dict[str, tuple[str, str]] = {}
        threading.Thread(target=self.serve_forever, name="ecs-credentials", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: EcsCredentials

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a request a quarter of an hour is not news."""

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        task = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        token = secrets.token_urlsafe(24)
        self.server.tasks[token] = (task["role_arn"], task["task_arn"])
        self.answer(201, {"token": token})

    def do_GET(self) -> None:
        task = self.server.tasks.get(self.headers.get("Authorization", ""))
        if task is None:
            self.answer(403, {"message": "unknown task token"})
            return
        role_arn, task_arn = task
        try:
            keys = self.server.open_session(role_arn, "ecs-tasks.amazonaws.com", task_arn)
        except TrustDenied as error:
            self.answer(403, {"message": str(error)})
        else:
            self.answer(200, dataclasses.asdict(keys))
