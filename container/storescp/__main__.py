"""The console command `storescp`: read the environment, open the ports, serve."""

import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import NoReturn

import uvloop

from storescp.listeners import (
    Listener,
    PlainListener,
    PlainOpener,
    TlsHandshaker,
    TlsListener,
    WorkerInbox,
    listen,
    raise_descriptor_limit,
)
from storescp.log import Log
from storescp.metrics import Metrics
from storescp.opening import open_store, prepare_folder
from storescp.product_code import built_in_product_code
from storescp.registry import WorkerReport
from storescp.settings import SettingError, Settings, read_settings
from storescp.slots import SharedCounts, Slots
from storescp.supervisor import Supervisor
from storescp.tls import device_context, server_context
from storescp.traces import PeerLog
from storescp.worker import StoreFactory, serve

EXIT_FAILURE = 1
EXIT_USAGE = 2
_LOG_SECONDS_AT_STOP = 1.0


def main(store_factory: StoreFactory = open_store) -> None:
    """Run the receiver until SIGTERM; `store_factory` makes each worker's store."""
    try:
        settings = read_settings(os.environ, cores())
        tls = server_context(settings)
        device_context(settings)  # only to refuse what it refuses before a port opens
    except SettingError as error:
        _fail(str(error), EXIT_USAGE)
    product_code = built_in_product_code()
    if product_code:
        _register_usage(product_code)
    raise_descriptor_limit()
    sockets = []
    for name, port in (("SCP_PORT", settings.scp_port), ("HEALTH_PORT", settings.health_port)):
        try:
            sockets.append(listen(settings.bind_address, port))
        except OSError as error:
            _fail(f"{name}={port} cannot be opened on {settings.bind_address}: {error.strerror}", EXIT_FAILURE)
    try:
        prepare_folder(settings)
    except OSError as error:
        _fail(f"STORAGE_DIR={settings.storage_dir!r} cannot be used: {error.strerror}", EXIT_FAILURE)
    sys.exit(run(settings, tls, store_factory, *sockets))


def run(
    settings: Settings,
    tls: ssl.SSLContext | None,
    store_factory: StoreFactory,
    dicom: socket.socket,
    health: socket.socket,
) -> int:
    """Serve on two open ports, in this process or in WORKERS of them; return the exit code."""
    associations = SharedCounts(settings.workers)
    closed = SharedCounts(settings.workers)
    log = Log(settings.log_level)
    log.info(
        "receiver started",
        scp_port=dicom.getsockname()[1],
        health_port=health.getsockname()[1],
        ae_title=settings.ae_title,
        store=settings.dicom_bucket or settings.storage_dir,
        workers=settings.workers,
        tls=tls is not None,
        client_certificates=tls is not None and tls.verify_mode is ssl.CERT_REQUIRED,
    )

    def serve_worker(worker: int, control: socket.socket | None) -> None:
        slots = Slots(settings.maximum_associations, associations, worker)
        report = WorkerReport(worker, closed)
        traces = PeerLog(log, Metrics(settings.stack_name))
        listener = _listener(settings, tls, dicom, control, report, log, traces)
        uvloop.run(serve(settings, os.environ, listener, health, slots, report, log, traces, store_factory))

    if settings.workers == 1:
        # PID 1 of a container is given orphans, and we have no children of our own: the kernel reaps them for us.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        serve_worker(0, None)
        return 0
    with health:
        code = Supervisor(dicom, settings.workers, associations, closed, serve_worker, log).run()
    log.writer.finish(_LOG_SECONDS_AT_STOP)
    return code


def _listener(
    settings: Settings,
    tls: ssl.SSLContext | None,
    dicom: socket.socket,
    control: socket.socket | None,
    report: WorkerReport,
    log: Log,
    traces: PeerLog,
) -> Listener:
    """Where a worker gets its connections from: the port, or the supervisor if there is a `control` socket."""
    if tls is None:
        opener = PlainOpener()
        return WorkerInbox(control, opener) if control else PlainListener(dicom, opener, log)
    handshaker = TlsHandshaker(tls, settings.artim_timeout, traces, report.connection_closed)
    return WorkerInbox(control, handshaker) if control else TlsListener(dicom, handshaker, log)


def _register_usage(product_code: str) -> None:
    # Imported here: the urllib that it needs would cost every free listing a slower start.
    from storescp.metering import MeteringError, register_usage

    try:
        register_usage(product_code, os.environ)
    except MeteringError as error:
        _fail(str(error), EXIT_FAILURE)


def cores() -> int:
    """Cores this process may use: a container's CPU quota, rounded down, or the machine's cores."""
    available = len(os.sched_getaffinity(0))
    for path, parse in (
        ("/sys/fs/cgroup/cpu.max", lambda text: text.split()),
        (
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
            lambda text: (text, Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text()),
        ),
    ):
        try:
            quota, period = parse(Path(path).read_text())
        except OSError:
            continue
        if quota.strip() not in ("max", "-1"):
            return max(1, min(available, int(quota) // int(period)))
    return available


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"storescp: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
