"""The emulator on a port of 127.0.0.1."""

from __future__ import annotations

import logging
import re
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from healthimaging_emulator.api import Api, request_id
from healthimaging_emulator.errors import AnswerLost
from healthimaging_emulator.scheduler import Action, Scheduler

log = logging.getLogger(__name__)
LONGEST_BODY_BYTES = 4 * 1024 * 1024  # no request of the service model is larger
LONGEST_STORE_BYTES = 1_100_000_000  # StoreDICOM: 1 GB of DICOM data, which the API checks, and what is around them
STORE_PATH = re.compile(r"/datastore/[^/]+/studies(/[^/?]+)?")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or "Transfer-Encoding" in self.headers:
            self.refuse(411)
            return
        longest = LONGEST_STORE_BYTES if STORE_PATH.fullmatch(self.path) else LONGEST_BODY_BYTES
        if int(length) > longest:
            self.refuse(413)
            return
        body = self.rfile.read(int(length))
        try:
            answer = self.server.api.answer(self.command, self.path, dict(self.headers.items()), body)
        except AnswerLost:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("x-amzn-RequestId", request_id())
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def refuse(self, status: int) -> None:
        """Answer without having read the body: nothing on this connection can be understood after that."""
        self.close_connection = True
        self.send_error(status)

    do_GET = do_POST = do_DELETE = do_PUT = answer  # noqa: N815 - http.server's own names

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, api: Api) -> None:
        self.api = api
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the connections that clients keep open."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # ended meanwhile


class Workers:
    """The threads in which jobs do their work."""

    def __init__(self, count: int = 4) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="healthimaging-job")

    def run(self, action: Action) -> None:
        self._pool.submit(action).add_done_callback(_report)

    def stop(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _report(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("An import job ended with an error of the emulator's own", exc_info=error)


class EmulatorServer:
    """The emulator at work: its port, its service, and its end."""

    def __init__(self, api: Api, workers: Workers, port: int = 0) -> None:
        """Bind 127.0.0.1:`port` (0: any that is free) and serve. Raises OSError when the port is taken."""
        self.service = api.service
        self._server = _Server(port, api)
        self._workers = workers
        self._scheduler: Scheduler = api.service.state.scheduler
        self.port = self._server.server_port
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="healthimaging-http", daemon=True),
            threading.Thread(target=self._scheduler.serve, name="healthimaging-scheduler", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End every thread; jobs under way are finished first, those that wait never run."""
        self._server.shutdown()
        self._scheduler.stop()
        self._workers.stop()
        self._server.close_connections()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
