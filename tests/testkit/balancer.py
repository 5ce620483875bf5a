"""A network load balancer as its users saw it, in scaled time: a TCP proxy in front of receivers.

New connections still reach a target for 120 s after its deregistration and for 40 s after it turned unhealthy
(aws/containers-roadmap#470, kubernetes-sigs/aws-load-balancer-controller#2366); those that are there go on.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from dataclasses import dataclass

NEW_AFTER_DEREGISTRATION_SECONDS = 120.0
NEW_AFTER_UNHEALTHY_SECONDS = 40.0
DEREGISTRATION_DELAY_SECONDS = 300.0
_CHUNK_BYTES = 65536


@dataclass
class Target:
    """A receiver's port; until when it is given new connections, and how many it was given."""

    port: int
    new_until: float = float("inf")
    connections: int = 0


class Balancer:
    """Context manager. `scale`: seconds here for each second of AWS."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.targets: list[Target] = []
        self.late_connections = 0  # that reached a target after its deregistration or its last good health check
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Balancer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def register(self, port: int) -> None:
        """Give a receiver new connections from now on."""
        with self._lock:
            self.targets.append(Target(port))

    def deregister(self, port: int) -> None:
        """Take a receiver out; new connections still reach it for a while."""
        self._fade(port, NEW_AFTER_DEREGISTRATION_SECONDS)

    def unhealthy(self, port: int) -> None:
        """A receiver's health checks fail from now on."""
        self._fade(port, NEW_AFTER_UNHEALTHY_SECONDS)

    def drain_seconds(self) -> float:
        """How long ECS waits between deregistration and SIGTERM."""
        return DEREGISTRATION_DELAY_SECONDS * self.scale

    def _fade(self, port: int, seconds: float) -> None:
        with self._lock:
            for target in self.targets:
                if target.port == port:
                    target.new_until = min(target.new_until, time.monotonic() + seconds * self.scale)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            target = self._choose()
            try:
                server = socket.create_connection(("127.0.0.1", target.port)) if target else None
            except OSError:
                server = None
            if server is None:
                client.close()
                continue
            self._start(_relay, client, server)

    def _choose(self) -> Target | None:
        now = time.monotonic()
        with self._lock:
            able = [target for target in self.targets if now < target.new_until]
            if not able:
                return None
            target = able[next(self._turn) % len(able)]
            target.connections += 1
            self.late_connections += target.new_until != float("inf")
            return target


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes on both ways until both sides are done."""
    with client, server:
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the source ends, then end the sink's direction."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
