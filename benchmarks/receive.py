"""The receiver beside its peers: `python -m benchmarks.receive`, or `make bench`.

Scenarios and rows are data, below. A scenario starts its peer anew, warms it up, sends, checks the counts and stops
it; scenarios take turns (A B C, A B C, …), and the table shows medians over the rounds. What is timed is a sender's
whole life, from its start to its end. A scenario in which an object was acknowledged and not stored, or not
acknowledged, ends the run with exit code 1: a receiver that loses images has no speed.
"""

import argparse
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import crowds, data, machine, peers, senders, stores
from benchmarks.data import CT, SMALL, WARM_UP, Kind
from benchmarks.peers import Receiver
from benchmarks.processes import DidNotStart
from benchmarks.scu import AssociationFailed
from benchmarks.table import Missing, Results, Row, Target, render

_CACHE = peers.ROOT / ".cache" / "bench"
_WARM_UP_INSTANCES = 5
_IDLE_SECONDS = 10
_KILL_AFTER_SECONDS = 2.5
_LATENCY_MS = 30
_PEAK_EVERY_SECONDS = 0.05
_MANY = {"MAXIMUM_ASSOCIATIONS": "1100"}

Measured = dict[str, float]
Server = Callable[[Path], AbstractContextManager[Receiver]]


class Miscount(Exception):
    """Sent, acknowledged and stored differ; the message has the numbers."""


@dataclass(frozen=True)
class Scenario:
    """Measures something in a scratch folder; `once`: repetitions would tell nothing new."""

    run: Callable[[Path], Measured]
    once: bool = False


@dataclass(frozen=True)
class Load:
    """What is sent: `count` objects over `associations`; by storescu, or with a `window` by a sender of ours."""

    kind: Kind
    count: int
    associations: int = 1
    nodelay: bool = False
    window: int = 0


# ---- receivers -------------------------------------------------------------------------------------------------


def _ours(
    *, latency_ms: int = 0, cores: float | None = None, null: bool = False, settings: dict[str, str] | None = None
) -> Server:
    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[Receiver]:
        with stores.sink(latency_ms) as store, peers.ours(store, settings=settings, cores=cores, null=null) as receiver:
            yield receiver

    return serve


@contextlib.contextmanager
def _ours_with_seaweedfs(folder: Path) -> Iterator[Receiver]:
    with stores.seaweedfs(folder) as store, peers.ours(store) as receiver:
        yield receiver


@contextlib.contextmanager
def _early(folder: Path) -> Iterator[Receiver]:
    """Its stored objects are not counted at the end of the transfer: by its nature they are not all there."""
    with stores.sink() as store, peers.acknowledges_early(store) as receiver:
        yield Receiver(receiver.port, receiver.program, lambda: None)


def _dcmtk_ram(folder: Path) -> AbstractContextManager[Receiver]:
    return peers.dcmtk(folder, ram=True, nodelay=True)


def _dcmtk_ignore(folder: Path) -> AbstractContextManager[Receiver]:
    return peers.dcmtk(folder, ignore=True)


def _pynetdicom(folder: Path) -> AbstractContextManager[Receiver]:
    return peers.pynetdicom_empty()


# ---- what is measured ------------------------------------------------------------------------------------------


def rate(
    server: Server,
    load: Load,
    beside: Callable[[int], AbstractContextManager[None]] | None = None,
    *,
    once: bool = False,
) -> Scenario:
    """Instances and megabytes a second of a load, with something else going on `beside` it."""

    def run(folder: Path) -> Measured:
        with server(folder) as receiver:
            warm_up = data.files(_CACHE, WARM_UP, 0, _WARM_UP_INSTANCES)
            _check(len(warm_up), senders.storescu(receiver.port, [warm_up]).acknowledged, "acknowledged in the warm-up")
            with beside(receiver.port) if beside else contextlib.nullcontext():
                sent = _send(receiver.port, load)
            _check(load.count, sent.acknowledged, "acknowledged")
            stored = receiver.stored()
            if stored is not None:
                _check(load.count + len(warm_up), stored, "stored")
        size_mb = data.files(_CACHE, load.kind, 0, 1)[0].stat().st_size / 1e6
        per_second = load.count / sent.seconds
        return {"instances/s": per_second, "MB/s": per_second * size_mb}

    return Scenario(run, once)


def idle(associations: int) -> Scenario:
    """CPU and memory of our process tree while that many associations do nothing."""

    def run(folder: Path) -> Measured:
        with (
            _ours(settings=_MANY)(folder) as receiver,
            senders.idle_associations(receiver.port, associations),
        ):
            time.sleep(1)
            before, started = machine.cpu_seconds(receiver.program.pid), time.monotonic()
            time.sleep(_IDLE_SECONDS)
            used = machine.cpu_seconds(receiver.program.pid) - before
            percent = 100 * used / (time.monotonic() - started)
            memory_mb = machine.memory_mib(receiver.program.pid) * 2**20 / 1e6
        return {"% of a core": percent, "MB": memory_mb}

    return Scenario(run, once=True)


def large(associations: int, size_mib: int) -> Scenario:
    """Peak memory of our process tree while each association sends one object of that size."""

    def run(folder: Path) -> Measured:
        with _ours()(folder) as receiver:
            objects = [[data.multi_frame(number, size_mib)] for number in range(associations)]
            with machine.peak_memory(receiver.program.pid, _PEAK_EVERY_SECONDS) as peak:
                sent = senders.at_once(receiver.port, objects)
            _check(associations, sent.acknowledged, f"acknowledged {' '.join(sent.failures[:1])}".rstrip())
            _check(associations, receiver.stored() or 0, "stored")
        return {"MB": peak[0] * 2**20 / 1e6, "MB/s": associations * size_mib * 2**20 / 1e6 / sent.seconds}

    return Scenario(run, once=True)


def killed(start: Callable[[stores.Store], AbstractContextManager[Receiver]], *, may_lose: bool = False) -> Scenario:
    """Six senders, 400 slices, a store that takes 200 ms, SIGKILL: how many were acknowledged, and lost."""
    associations, count = 6, 400

    def run(folder: Path) -> Measured:
        edges = [count * index // associations for index in range(associations + 1)]
        shares = [data.instances(CT, low, high - low) for low, high in itertools.pairwise(edges)]
        with stores.sink(200) as store, start(store) as receiver:
            timer = threading.Timer(_KILL_AFTER_SECONDS, receiver.program.kill)
            timer.start()
            sent = senders.at_once(receiver.port, shares)
            timer.join()
            time.sleep(0.5)  # what the store had read by then, it keeps
            lost = len(sent.uids - store.stored_uids())
        if sent.acknowledged == 0:
            raise Miscount("nothing was acknowledged before the receiver was killed")
        if lost and not may_lose:
            raise Miscount(f"{lost} of {sent.acknowledged} acknowledged objects were lost by SIGKILL")
        return {"acknowledged": sent.acknowledged, "lost": lost}

    return Scenario(run, once=True)


def _send(port: int, load: Load) -> senders.Sent:
    if load.window:
        return senders.windowed(port, data.instances(load.kind, 0, load.count), load.window)
    files = data.files(_CACHE, load.kind, 0, load.count)
    shares = [files[index :: load.associations] for index in range(load.associations)]
    return senders.storescu(port, shares, nodelay=load.nodelay)


def _check(expected: int, found: int, what: str) -> None:
    if expected != found:
        raise Miscount(f"{expected} sent, {found} {what}")


# ---- scenarios and rows ----------------------------------------------------------------------------------------

# Those that are compared stand side by side, so that a round measures them within seconds of one another.
SCENARIOS: dict[str, Scenario] = {
    "ours ct": rate(_ours(), Load(CT, 1000)),
    "dcmtk ram ct": rate(_dcmtk_ram, Load(CT, 1000, nodelay=True)),
    "silent ct": rate(_ours(), Load(CT, 1000), lambda port: senders.silent_sockets(port, 1500)),
    "dcmtk ct": rate(peers.dcmtk, Load(CT, 40)),
    "orthanc ct": rate(peers.orthanc, Load(CT, 40)),
    "dcmtk ignore ct": rate(_dcmtk_ignore, Load(CT, 40)),
    "early ct": rate(_early, Load(CT, 100)),
    "ours small": rate(_ours(), Load(SMALL, 4000)),
    "dcmtk ram small": rate(_dcmtk_ram, Load(SMALL, 4000, nodelay=True)),
    "dcmtk small": rate(peers.dcmtk, Load(SMALL, 30)),
    "orthanc small": rate(peers.orthanc, Load(SMALL, 30)),
    "dcmtk ignore small": rate(_dcmtk_ignore, Load(SMALL, 30)),
    "early small": rate(_early, Load(SMALL, 50)),
    "ours seaweedfs ct": rate(_ours_with_seaweedfs, Load(CT, 300)),
    "ours seaweedfs small": rate(_ours_with_seaweedfs, Load(SMALL, 600)),
    "ours 4 ct": rate(_ours(), Load(CT, 2000, associations=4)),
    "slow ct": rate(_ours(), Load(CT, 2000, associations=4), senders.slow_sender),
    "null 4 ct": rate(_ours(null=True), Load(CT, 2000, associations=4)),
    "pynetdicom 4 ct": rate(_pynetdicom, Load(CT, 400, associations=4)),
    "ours 4 small": rate(_ours(), Load(SMALL, 4000, associations=4)),
    "null 4 small": rate(_ours(null=True), Load(SMALL, 4000, associations=4)),
    "pynetdicom 4 small": rate(_pynetdicom, Load(SMALL, 200, associations=4)),
    "quota ct": rate(_ours(cores=0.25), Load(CT, 300)),
    "quota 4 ct": rate(_ours(cores=0.25), Load(CT, 300, associations=4)),
    "quota small": rate(_ours(cores=0.25), Load(SMALL, 600)),
    "latency ct": rate(_ours(latency_ms=_LATENCY_MS), Load(CT, 50, window=1)),
    "latency window ct": rate(_ours(latency_ms=_LATENCY_MS), Load(CT, 600, window=16)),
    "idle": idle(1000),
    "large": large(8, 1024),
    **{name: Scenario(crowd.run, once=True) for name, crowd in crowds.CROWDS.items()},
    "killed": killed(peers.ours),
    "killed early": killed(peers.acknowledges_early, may_lose=True),
}

ROWS = (
    Row("ct", "1 association, CT: dcmtk storescp", "ours ct", peer="dcmtk ct", target=Target("≥", 40)),
    Row("ct", "1 association, CT: dcmtk storescp --ignore", "ours ct", peer="dcmtk ignore ct"),
    Row("ct", "1 association, CT: Orthanc", "ours ct", peer="orthanc ct", target=Target("≥", 40)),
    Row("ct", "1 association, CT: acknowledges early (re-creation)", "ours ct", peer="early ct"),
    Row("small", "1 association, 2 KiB: dcmtk storescp", "ours small", peer="dcmtk small", target=Target("≥", 120)),
    Row("small", "1 association, 2 KiB: dcmtk storescp --ignore", "ours small", peer="dcmtk ignore small"),
    Row("small", "1 association, 2 KiB: Orthanc", "ours small", peer="orthanc small", target=Target("≥", 120)),
    Row("small", "1 association, 2 KiB: acknowledges early (re-creation)", "ours small", peer="early small"),
    Row(
        "ram",
        "1 association, CT: dcmtk storescp, RAM disk, TCP_NODELAY on its both sides",
        "ours ct",
        peer="dcmtk ram ct",
        target=Target("≥", 1.3),
    ),
    Row("ram", "the same, 2 KiB", "ours small", peer="dcmtk ram small", target=Target("≥", 1.3)),
    Row(
        "seaweedfs",
        "1 association, CT, we into SeaweedFS: dcmtk storescp",
        "ours seaweedfs ct",
        peer="dcmtk ct",
    ),
    Row("seaweedfs", "the same, 2 KiB", "ours seaweedfs small", peer="dcmtk small"),
    Row(
        "four",
        "4 associations, CT: pynetdicom, empty handler",
        "ours 4 ct",
        peer="pynetdicom 4 ct",
        target=Target("≥", 5),
    ),
    Row("four", "the same, 2 KiB", "ours 4 small", peer="pynetdicom 4 small", target=Target("≥", 5)),
    Row("four", "4 associations, CT: we, storing nothing", "ours 4 ct", peer="null 4 ct", target=Target("≥", 0.8)),
    Row("four", "the same, 2 KiB", "ours 4 small", peer="null 4 small", target=Target("≥", 0.8)),
    Row("quota", "0.25 vCPU, 1 association, CT", "quota ct"),
    Row("quota", "the same", "quota ct", "MB/s"),
    Row("quota", "0.25 vCPU, 4 associations, CT", "quota 4 ct"),
    Row("quota", "0.25 vCPU, 1 association, 2 KiB", "quota small"),
    Row(
        "window",
        f"store {_LATENCY_MS} ms away, 1 association, CT, window 16: no window",
        "latency window ct",
        peer="latency ct",
        target=Target("≥", 10),
    ),
    Row("idle", "1,000 idle associations", "idle", "% of a core", target=Target("<", 1)),
    Row("idle", "the same, memory", "idle", "MB", target=Target("<", 150)),
    Row(
        "silent",
        "1,500 silent sockets, then 1 association, CT: without them",
        "silent ct",
        peer="ours ct",
        target=Target("≥", 0.9),
    ),
    Row("large", "8 associations × 1 GiB, peak memory", "large", "MB", target=Target("<", 512)),
    Row("large", "the same", "large", "MB/s"),
    Row(
        "slow",
        "4 associations, CT, beside a sender of 24 KB/s: without it",
        "slow ct",
        peer="ours 4 ct",
        target=Target("≥", 0.8),
    ),
    *crowds.rows(),
    Row("killed", "SIGKILL amid 6 senders, store 200 ms away: acknowledged", "killed", "acknowledged"),
    Row("killed", "the same: acknowledged and lost", "killed", "lost", target=Target("=", 0)),
    Row("killed", "the same, acknowledges early (re-creation): lost", "killed early", "lost"),
)


# ---- the command -----------------------------------------------------------------------------------------------


def measure(names: list[str], rounds: int) -> tuple[Results, list[str]]:
    """Run the scenarios in turns; their figures, and a sentence for each that miscounted."""
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    missing: dict[str, Missing] = {}
    wrong: list[str] = []
    for turn in range(rounds):
        for name in names:
            if name in missing or (turn and SCENARIOS[name].once):
                continue
            try:
                with TemporaryDirectory(dir=_CACHE, prefix="run-") as folder:
                    measured = SCENARIOS[name].run(Path(folder))
            except machine.NoQuota as error:
                missing[name] = Missing(str(error))
            except (Miscount, DidNotStart, AssociationFailed, OSError) as error:
                missing[name] = Missing(f"failed: {error}")
                wrong.append(f"{name}: {error}")
            else:
                for quantity, value in measured.items():
                    figures[name].setdefault(quantity, []).append(value)
                said = ", ".join(f"{value:.1f} {quantity}" for quantity, value in measured.items())
                print(f"{turn + 1}/{rounds} {name}: {said}", file=sys.stderr, flush=True)
    return {name: missing.get(name) or figures[name] for name in names}, wrong


def main() -> int:
    """Exit code 0 unless something failed to count or to run."""
    arguments = _arguments()
    rows = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    if absent := peers.missing():
        print(f"These programs are missing: {', '.join(absent)} (Debian: dcmtk, orthanc).", file=sys.stderr)
        return 2
    alone = machine.own_loopback()
    machine.allow_many_sockets()
    _CACHE.mkdir(parents=True, exist_ok=True)
    for kind, count in ((CT, 2000), (SMALL, 4000), (WARM_UP, _WARM_UP_INSTANCES)):
        data.files(_CACHE, kind, 0, count)
    wanted = {name for row in rows for name in (row.ours, row.peer)}
    started, others = time.monotonic(), machine.OthersMeter()
    results, wrong = measure([name for name in SCENARIOS if name in wanted], 2 if arguments.quick else arguments.rounds)
    print(f"Machine: {machine.describe()}{'' if alone else ', shared loopback'}.")
    minutes = (time.monotonic() - started) / 60
    print(f"Took {minutes:.1f} minutes; others used {others.percent_of_cores():.0f} % of the cores meanwhile.")
    print("Medians; a ratio (we / peer) is the median of the rounds' ratios.\n")
    print(render(rows, results))
    for sentence in wrong:
        print(f"MISCOUNT {sentence}")
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    names = list(dict.fromkeys(row.name for row in ROWS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.receive", description="The receiver beside its peers.")
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=f"only these: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="two repetitions")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="repetitions (default: 5)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
