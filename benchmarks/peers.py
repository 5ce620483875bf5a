"""Every receiver that is measured, each a context manager that starts it, says where it listens, and stops it."""

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.machine import cpu_quota, free_ports
from benchmarks.processes import Program, http_json, http_ok, running
from benchmarks.scu import AssociationFailed, wait_until_listening
from benchmarks.stores import Store

ROOT = Path(__file__).resolve().parent.parent
_DCMTK_STORESCP = "/usr/bin/storescp"
_ORTHANC = "/usr/sbin/Orthanc"
_RAM = Path("/dev/shm")


@dataclass(frozen=True)
class Receiver:
    """A peer that serves: its port, its program, and how many objects it keeps (None: it keeps none)."""

    port: int
    program: Program
    stored: Callable[[], int | None]


@contextlib.contextmanager
def dcmtk(folder: Path, *, ram: bool = False, ignore: bool = False, nodelay: bool = False) -> Iterator[Receiver]:
    """dcmtk's storescp with its defaults, writing to a disk or to a RAM disk, or reading and ignoring."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(dir=_RAM if ram else folder, prefix="dcmtk-") as received:
        command = [_DCMTK_STORESCP, *(["--ignore"] if ignore else ["--output-directory", received]), str(port)]
        environment = {"TCP_NODELAY": "1"} if nodelay else {}
        with running("dcmtk", command, lambda: _listens(port), environment=environment) as program:
            yield Receiver(port, program, lambda: None if ignore else sum(1 for _ in Path(received).iterdir()))


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Orthanc with its defaults, apart from the ports and folders; no plug-ins."""
    port, http_port = free_ports(2)
    with tempfile.TemporaryDirectory(dir=folder, prefix="orthanc-") as data:
        configuration = Path(data) / "orthanc.json"
        configuration.write_text(
            json.dumps(
                {
                    "Name": "benchmark",
                    "StorageDirectory": f"{data}/storage",
                    "IndexDirectory": f"{data}/index",
                    "DicomPort": port,
                    "DicomCheckCalledAet": False,
                    "DicomAlwaysAllowStore": True,
                    "HttpPort": http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "Plugins": [],
                }
            )
        )
        statistics = f"http://127.0.0.1:{http_port}/statistics"
        command = [_ORTHANC, str(configuration)]
        with running("orthanc", command, lambda: http_ok(statistics) and _listens(port)) as program:
            yield Receiver(port, program, lambda: cast("int", http_json(statistics)["CountInstances"]))


@contextlib.contextmanager
def pynetdicom_empty() -> Iterator[Receiver]:
    """pynetdicom with a handler that does nothing."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.pynetdicom_receiver", "empty", str(port)]
    with running("pynetdicom", command, lambda: _listens(port), folder=ROOT) as program:
        yield Receiver(port, program, lambda: None)


@contextlib.contextmanager
def acknowledges_early(store: Store) -> Iterator[Receiver]:
    """Our re-creation of the guidance's pattern; what it stored is asked of the store."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.pynetdicom_receiver", "early", str(port)]
    environment = store.environment
    with running("early", command, lambda: _listens(port), environment=environment, folder=ROOT) as program:
        yield Receiver(port, program, lambda: len(store.stored_uids()))


@contextlib.contextmanager
def ours(
    store: Store, *, settings: Mapping[str, str] | None = None, cores: float | None = None, null: bool = False
) -> Iterator[Receiver]:
    """The receiver of `container/`, as its image starts it; with `null`, its store replaced by one that keeps nothing.

    Raises NoQuota when `cores` asks for a quota that this machine cannot give.
    """
    port, health_port = free_ports(2)
    module = "benchmarks.null_store" if null else "storescp"
    environment = {"SCP_PORT": str(port), "HEALTH_PORT": str(health_port), "LOG_LEVEL": "INFO"}
    environment |= store.environment | dict(settings or {})
    ready = f"http://127.0.0.1:{health_port}/readyz"
    with (
        cpu_quota(cores) as quota,
        running(
            "storescp",
            [*quota, sys.executable, "-m", module],
            lambda: http_ok(ready),
            environment=environment,
            folder=ROOT,
        ) as program,
    ):
        yield Receiver(port, program, lambda: None if null else len(store.stored_uids()))


def missing() -> list[str]:
    """Paths of the programs that are not installed."""
    return [path for path in (_DCMTK_STORESCP, _ORTHANC) if not shutil.which(path)]


def _listens(port: int) -> bool:
    try:
        wait_until_listening(port, 0.2)
    except AssociationFailed:
        return False
    return True
