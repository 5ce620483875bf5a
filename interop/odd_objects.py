"""Send some three hundred odd objects to four receivers: `make what-is-stored`.

Writes `tests/testkit/odd_objects/outcomes.json`, which the receiver's own tests hold it to, and
`docs/what-is-stored.md`.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from storescp_cfn.local.processes import Child, free_port
from tests.testkit.odd_objects import OddObject, odd_objects
from tests.testkit.odd_objects.outcome import STORED, TABLE, send
from tests.testkit.receiver_process import running_receiver, wait_for

PAGE = Path(__file__).resolve().parents[1] / "docs/what-is-stored.md"
DCMTK, ORTHANC = "/usr/bin/storescp", "/usr/sbin/Orthanc"
OURS = "this receiver"
STATISTICS_SECONDS = 10
ANSWER_SECONDS = 8
HOW_TO_READ = """# What is stored

<!-- Written by `make what-is-stored`; every cell is of a real run. Do not edit it by hand. -->

{count} objects, each odd in one way that devices are, were sent as C-STORE requests to four receivers: dcmtk 3.6.7
(`storescp --promiscuous --accept-all`), Orthanc 1.10.1 (`UnknownSopClassAccepted`), pynetdicom's `storescp`, and this
one. *Stored* means: answered with success, and there. A number is the status of the response. What one of the others
stores is stored here, byte for byte, except where the last column says why not
([the decision](adr/0011-keep-the-bytes.md)). What AWS HealthImaging cannot import goes to quarantine with its reason,
and is kept.
"""


@dataclass
class Receiver:
    """A running receiver: its port, and how many objects it holds, in any form."""

    port: int
    count: Callable[[], int]
    is_running: Callable[[], bool] = lambda: True


Start = Callable[[Path], contextlib.AbstractContextManager[Receiver]]


@contextlib.contextmanager
def dcmtk(folder: Path) -> Iterator[Receiver]:
    """dcmtk's storescp as its manual recommends it: any class, any transfer syntax."""
    port = free_port()
    store = folder / "store"
    store.mkdir()
    command = [DCMTK, "--promiscuous", "--accept-all", "--unique-filenames", "-od", str(store), str(port)]
    child = Child(command, os.environ, folder / "log")
    try:
        await_port(port)
        yield Receiver(port, lambda: count_files(store), lambda: child.running)
    finally:
        child.stop(5)


@contextlib.contextmanager
def pynetdicom(folder: Path) -> Iterator[Receiver]:
    """pynetdicom's own storescp."""
    port = free_port()
    store = folder / "store"
    store.mkdir()
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "pynetdicom",
        "storescp",
        "-ba",
        "127.0.0.1",
        "-od",
        str(store),
        str(port),
    ]
    child = Child(command, os.environ, folder / "log")
    try:
        await_port(port)
        yield Receiver(port, lambda: count_files(store), lambda: child.running)
    finally:
        child.stop(5)


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Orthanc, told to accept unknown classes and to check no titles."""
    port, http_port = free_port(), free_port()
    configuration = {
        "StorageDirectory": f"{folder}/storage",
        "IndexDirectory": f"{folder}/index",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomCheckModalityHost": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "HttpPort": http_port,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(configuration))
    child = Child([ORTHANC, str(settings)], os.environ, folder / "log")

    def count() -> int:
        url = f"http://127.0.0.1:{http_port}/statistics"
        with urllib.request.urlopen(url, timeout=STATISTICS_SECONDS) as answer:
            return int(json.load(answer)["CountInstances"])

    try:
        await_port(port)
        await_port(http_port)
        yield Receiver(port, count, lambda: child.running)
    finally:
        child.stop(10)


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Receiver]:
    """This receiver, as it comes."""
    with running_receiver(folder) as process:
        process.await_ready()
        yield Receiver(process.port, lambda: count_files(folder / "incoming"))


RECEIVERS: dict[str, Start] = {"dcmtk": dcmtk, "Orthanc": orthanc, "pynetdicom": pynetdicom, OURS: ours}


def await_port(port: int) -> None:
    """Wait until somebody listens."""

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_for(listens, 60, f"port {port}")


def count_files(folder: Path) -> int:
    """Files below a folder."""
    return sum(path.is_file() for path in folder.rglob("*"))


def outcomes_of(start: Start, cases: list[OddObject]) -> dict[str, str]:
    """What a receiver makes of every case; it is started again when a case has ended it."""
    outcomes: dict[str, str] = {}
    while len(outcomes) < len(cases):
        with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as receiver:
            for case in cases[len(outcomes) :]:
                before = receiver.count()
                outcome = send(case, receiver.port, ANSWER_SECONDS)
                if outcome == "acknowledged":
                    outcome = STORED if has_grown(receiver, before) else "acknowledged, not stored"
                if not receiver.is_running():
                    outcomes[case.name] = "the receiver ended"
                    break
                outcomes[case.name] = outcome
    return outcomes


def has_grown(receiver: Receiver, before: int) -> bool:
    """Whether it holds more than before; some index a moment later."""
    for _ in range(20):
        if receiver.count() > before:
            return True
        time.sleep(0.05)
    return False


def write_page(cases: list[OddObject], table: dict[str, dict[str, str]]) -> None:
    """One table a group."""
    stored = [str(sum(row[name] == STORED for row in table.values())) for name in RECEIVERS]
    heads = " | ".join(RECEIVERS)
    summary = [f"| | {heads} |", "| --- |" + " ---: |" * len(RECEIVERS), f"| stored | {' | '.join(stored)} |"]
    lines = [HOW_TO_READ.format(count=len(cases)), *summary]
    group = ""
    for case in cases:
        if case.group != group:
            group = case.group
            lines += ["", f"## {group}", "", f"| | {heads} | refused, because |", "| --- |" + " --- |" * 5]
        row = table[case.name]
        reason = case.may_be_refused if row[OURS] != STORED else ""
        lines.append(f"| {case.name} | {' | '.join(row[name] for name in RECEIVERS)} | {reason} |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run everything, or the receivers that are named."""
    cases = odd_objects()
    columns = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for name in sys.argv[1:] or RECEIVERS:
        for case, outcome in outcomes_of(RECEIVERS[name], cases).items():
            columns.setdefault(case, {})[name] = outcome
    table = {case.name: {name: columns[case.name][name] for name in RECEIVERS} for case in cases}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    write_page(cases, table)


if __name__ == "__main__":
    main()
