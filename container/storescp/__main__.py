"""The console command `storescp`: read the environment, open the ports, serve."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import uvloop

from storescp.server import listen, raise_descriptor_limit, serve
from storescp.settings import SettingError, read_settings
from storescp.slots import Slots

EXIT_FAILURE = 1
EXIT_USAGE = 2


def main() -> None:
    """Run the receiver until SIGTERM."""
    try:
        settings = read_settings(os.environ, cores())
    except SettingError as error:
        _fail(str(error), EXIT_USAGE)
    if settings.product_code:
        _register_usage(settings.product_code)
    raise_descriptor_limit()
    sockets = []
    for name, port in (("SCP_PORT", settings.scp_port), ("HEALTH_PORT", settings.health_port)):
        try:
            sockets.append(listen(settings.bind_address, port))
        except OSError as error:
            _fail(f"{name}={port} cannot be opened on {settings.bind_address}: {error.strerror}", EXIT_FAILURE)
    slots = Slots(settings.maximum_associations, settings.workers)
    try:
        uvloop.run(serve(settings, os.environ, sockets[0], sockets[1], slots))
    except OSError as error:
        _fail(f"STORAGE_DIR={settings.storage_dir!r} cannot be used: {error.strerror}", EXIT_FAILURE)


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
