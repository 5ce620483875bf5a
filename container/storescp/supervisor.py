"""One port, several processes: accept connections, hand each to the worker that has fewest, keep workers alive.

The supervisor has neither an event loop nor threads, so that it can fork a worker at any time. Its death closes
the workers' control sockets, which they take for a stop.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from storescp.log import Log
from storescp.slots import SharedCounts

_RESTART_SECONDS: Final = 1.0
_HAND_OVER_SECONDS: Final = 5.0
_HAND_OVER_PAUSE_SECONDS: Final = 0.005
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

ServeWorker = Callable[[int, socket.socket], None]


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int
    control: socket.socket
    handed_over: int = 0


class Supervisor:
    """Owns the port and the workers."""

    def __init__(
        self,
        listener: socket.socket,
        workers: int,
        associations: SharedCounts,
        closed_connections: SharedCounts,
        serve_worker: ServeWorker,
        log: Log,
    ) -> None:
        """`serve_worker` runs in the forked process, with its number and its end of the control socket."""
        self._listener = listener
        self._number = workers
        self._associations = associations
        self._closed = closed_connections
        self._serve_worker = serve_worker
        self._log = log
        self._workers: dict[int, _Worker] = {}  # by number
        self._restart_at: dict[int, float] = {}
        self._is_stopping = False
        self._failed = False
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, and until all workers have ended; return the exit code."""
        wake, woken = socket.socketpair()
        with wake, woken, self._selector:
            return self._run(wake, woken)

    def _run(self, wake: socket.socket, woken: socket.socket) -> int:
        for end in (wake, woken):
            end.setblocking(False)
        for number in range(self._number):
            self._fork(number)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while self._workers or not self._is_stopping:
            for key, _ in self._selector.select(_RESTART_SECONDS / 4 if self._restart_at else None):
                key.data()
            self._reap()
            self._restart_due()
        return 1 if self._failed else 0

    def _on_signal(self, number: int, _: object) -> None:
        if number == signal.SIGCHLD or self._is_stopping:
            return
        self._is_stopping = True
        self._restart_at.clear()
        self._selector.unregister(self._listener)
        self._listener.close()
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGTERM)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # out of descriptors or memory: the connection waits
            self._log.error("connection not accepted", detail=str(error))
            time.sleep(0.1)
            return
        with connection:
            self._hand_over(connection)

    def _hand_over(self, connection: socket.socket) -> None:
        """Send a connection to the worker that has fewest.

        In a burst the workers may be behind: then the port's backlog is the queue. A connection that none of
        them takes in time is closed.
        """
        deadline = time.monotonic() + _HAND_OVER_SECONDS
        while not self._is_stopping and time.monotonic() < deadline:
            for worker in sorted(self._workers.values(), key=self._load):
                try:
                    socket.send_fds(worker.control, [b"c"], [connection.fileno()])
                except OSError:
                    continue
                worker.handed_over += 1
                return
            time.sleep(_HAND_OVER_PAUSE_SECONDS)

    def _load(self, worker: _Worker) -> int:
        return worker.handed_over - self._closed.of(worker.number)

    def _fork(self, number: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A signal between the fork and the worker's own handlers would run the supervisor's handler in the worker.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if not pid:
            self._become_worker(number, ours, theirs, unblocked)
        theirs.close()
        ours.setblocking(False)
        self._workers[number] = _Worker(number, pid, ours)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        if self._is_stopping:  # since the worker was due
            os.kill(pid, signal.SIGTERM)

    def _become_worker(
        self, number: int, ours: socket.socket, theirs: socket.socket, unblocked: set[signal.Signals | int]
    ) -> None:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for signal_number in _SIGNALS:
                signal.signal(signal_number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            ours.close()
            self._listener.close()
            for worker in self._workers.values():
                worker.control.close()
            self._serve_worker(number, theirs)
            code = 0
        finally:
            os._exit(code)  # the supervisor's own clean-up is not the worker's

    def _reap(self) -> None:
        """Take note of workers that ended; orphans, which PID 1 of a container is given, leave no zombie."""
        ended = dict(_ended_children())
        for number, worker in tuple(self._workers.items()):
            if worker.pid not in ended:
                continue
            status = ended[worker.pid]
            del self._workers[number]
            worker.control.close()
            self._associations.clear(number)
            self._closed.clear(number)
            if self._is_stopping:
                # One that SIGTERM met before it could listen to it has nothing to lose.
                self._failed |= status not in (0, signal.SIGTERM)
                continue
            self._log.error("worker died", worker=number, status=os.waitstatus_to_exitcode(status))
            self._restart_at[number] = time.monotonic() + _RESTART_SECONDS

    def _restart_due(self) -> None:
        for number, due in tuple(self._restart_at.items()):
            if time.monotonic() >= due:
                del self._restart_at[number]
                self._fork(number)


def _ended_children() -> Iterator[tuple[int, int]]:
    """Process id and wait status of every child that has ended since the last call."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status
