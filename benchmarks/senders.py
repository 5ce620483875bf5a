"""Send a number of objects to a port, and say how long it took and how many were acknowledged."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import SLOW, Instance, instances
from benchmarks.processes import clean_environment
from benchmarks.scu import SUCCESS, Association, AssociationFailed

_DCMTK_STORESCU = "/usr/bin/storescu"
_SLOW_BYTES_PER_SECOND = 24_000


@dataclass(frozen=True)
class Sent:
    """What senders report: wall seconds from first to last, successes; whose, and what failed, where that is known."""

    seconds: float
    acknowledged: int
    uids: frozenset[str] = frozenset()
    failures: tuple[str, ...] = ()


def storescu(port: int, shares: Sequence[Sequence[Path]], *, nodelay: bool = False) -> Sent:
    """dcmtk's storescu with default socket settings, one process and association a share, all at once.

    storescu ends with 0 only if every object was answered with success; any other end counts as none.
    """
    environment = clean_environment() | ({"TCP_NODELAY": "1"} if nodelay else {})
    started = time.perf_counter()
    processes = [
        subprocess.Popen(
            [_DCMTK_STORESCU, "127.0.0.1", str(port), *map(str, share)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for share in shares
    ]
    ends = [process.wait() for process in processes]
    seconds = time.perf_counter() - started
    acknowledged = sum(len(share) for share, end in zip(shares, ends, strict=True) if end == 0)
    return Sent(seconds, acknowledged)


def windowed(port: int, objects: Iterable[Instance], window: int) -> Sent:
    """One association of ours with that operations window; an acceptance of a smaller one is an error."""
    started = time.perf_counter()
    with Association(port, window=window) as association:
        if association.window < window:
            raise AssociationFailed(f"a window of {window} was proposed, {association.window} accepted")
        acknowledged = association.store_all(objects)
        association.release()
    return Sent(time.perf_counter() - started, acknowledged)


def at_once(port: int, shares: Sequence[Iterable[Instance]], timeout_seconds: float = 300) -> Sent:
    """One association a share, each in a thread; an association that fails leaves what was acknowledged before."""
    statuses: list[dict[str, int]] = [{} for _ in shares]
    failures: list[str] = []

    def send(index: int) -> None:
        try:
            with Association(port, timeout_seconds=timeout_seconds) as association:
                statuses[index] = association.statuses
                association.store_all(shares[index])
                association.release()
        except (AssociationFailed, OSError) as error:
            failures.append(str(error))

    started = time.perf_counter()
    threads = [threading.Thread(target=send, args=(index,)) for index in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    uids = frozenset(uid for each in statuses for uid, status in each.items() if status == SUCCESS)
    return Sent(seconds, len(uids), uids, tuple(failures))


@contextmanager
def slow_sender(port: int) -> Iterator[None]:
    """One association that trickles a CT slice at 24 KB/s while the block runs, and then vanishes."""
    stop = threading.Event()
    failures: list[str] = []

    def trickle() -> None:
        (slice_,) = instances(SLOW, 0, 1)
        try:
            with Association(port) as association:
                if association.trickle(slice_, _SLOW_BYTES_PER_SECOND, stop):
                    failures.append("it was done before the fast ones were")
        except (AssociationFailed, OSError) as error:
            failures.append(str(error))

    thread = threading.Thread(target=trickle)
    thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise AssociationFailed(f"the slow sender: {failures[0]}")


@contextmanager
def idle_associations(port: int, count: int) -> Iterator[None]:
    """`count` accepted associations that send nothing, and are released at the end: each has to be alive by then."""
    with ExitStack() as stack:
        associations = [stack.enter_context(Association(port)) for _ in range(count)]
        yield
        for association in associations:
            association.release()


@contextmanager
def silent_sockets(port: int, count: int) -> Iterator[None]:
    """`count` open connections without a byte of DICOM."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        yield
