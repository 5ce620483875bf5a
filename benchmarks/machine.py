"""The machine under the measurements: ports, a loopback of its own, memory and CPU of process trees, quotas."""

import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_CGROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class NoQuota(Exception):
    """CPU control groups cannot be written here; the message says why."""


def own_loopback() -> bool:
    """Move this process into a network of its own, so that peers which bind every address are seen by nobody.

    Returns whether that was permitted (Linux, root); without it everything works, on the shared loopback.
    To be called before any thread or socket exists.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not sys.platform.startswith("linux") or libc.unshare(_CLONE_NEWNET) != 0:
        return False
    with socket.socket() as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    return True


def allow_many_sockets() -> None:
    """Raise the soft limit of open files to the hard one, for this process and those it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants that live."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found


def memory_mib(pid: int) -> float:
    """Proportional set size of a process tree, in MiB: what it would give back, shared pages counted once."""
    total_kib = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kib += int(line.split()[1])
    return total_kib / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time that the living processes of a tree have used, in seconds."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def peak_memory(pid: int, every_seconds: float = 0.02) -> Iterator[list[float]]:
    """Sample `memory_mib` until the block ends; the one number in the list is the highest, in MiB."""
    peak = [memory_mib(pid)]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(every_seconds):
            peak[0] = max(peak[0], memory_mib(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def cpu_quota(cores: float | None) -> Iterator[list[str]]:
    """Words to put before a command so that it and its children get `cores` of a core; none where it is None.

    Raises NoQuota where control groups (version 1 or 2) are absent or cannot be written.
    """
    if cores is None:
        yield []
        return
    quota_us = int(cores * _PERIOD_US)
    if (_CGROUPS / "cgroup.controllers").exists():
        parent, settings = _CGROUPS, {"cpu.max": f"{quota_us} {_PERIOD_US}"}
    else:
        parent, settings = _CGROUPS / "cpu", {"cpu.cfs_period_us": f"{_PERIOD_US}", "cpu.cfs_quota_us": f"{quota_us}"}
    group = parent / f"storescp-bench-{os.getpid()}"
    try:
        group.mkdir()
        for name, value in settings.items():
            (group / name).write_text(value)
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        raise NoQuota(f"no CPU control group can be made in {parent}: {error.strerror}") from error
    try:
        yield ["/bin/sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "quota"]
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """A group can be removed only when the kernel has reaped its last process."""
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return


class OthersMeter:
    """How busy the machine was with what is not the benchmark: it explains figures that jump about."""

    def __init__(self) -> None:
        self._before = _busy_seconds(), _own_seconds(), time.monotonic()

    def percent_of_cores(self) -> float:
        """CPU used by others since the start, and taken by the hypervisor, in per cent of all cores."""
        busy, own, started = self._before
        others = (_busy_seconds() - busy) - (_own_seconds() - own)
        cores = os.cpu_count() or 1
        return max(0.0, 100 * others / (time.monotonic() - started) / cores)


def _busy_seconds() -> float:
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def describe() -> str:
    """One line: processor, cores, memory, kernel, Python, dcmtk."""
    model = "unknown processor"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    dcmtk = subprocess.run(["/usr/bin/storescu", "--version"], capture_output=True, text=True, check=False).stdout
    version = dcmtk.split()[2] if dcmtk else "none"
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, dcmtk {version}"
    )
