"""A Ctrl-C is never lost, and ends the program at once with its own exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storescp_cfn.local.demo import Interruption

AMID_EXEC = 'exec("signal.raise_signal(signal.SIGINT)")'
WITH_A_LOCK_HELD = "lock.acquire(); signal.raise_signal(signal.SIGINT)"
INTERRUPTED = """
import atexit, signal, threading
from storescp_cfn.local import demo

lock = threading.Lock()
atexit.register(lock.acquire)  # as urllib3's finalisers want the locks of their pools

def run(self):
    {moment}

demo.Demonstration.run = run
raise SystemExit(demo.demonstrate("", demo.DemoRequest(port=0)))
"""


def test_an_interrupt_that_python_dropped_is_raised_again() -> None:
    interruption = Interruption()
    interruption.check()
    before = signal.signal(signal.SIGINT, interruption)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # as a finaliser does
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


@pytest.mark.parametrize("moment", [AMID_EXEC, WITH_A_LOCK_HELD])
def test_an_interrupt_at_a_bad_moment_ends_it_with_our_status(tmp_path: Path, moment: str) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.format(moment=moment))
    command = [sys.executable, "-m", "interrupted"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (130, "Ended; nothing is left running.\n")
