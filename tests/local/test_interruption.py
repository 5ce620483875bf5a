"""A Ctrl-C is never lost, and ends the program with its own exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storescp_cfn.local.demo import Interrupted, Interruption

INTERRUPTED_IN_EXEC = """
import signal
from storescp_cfn.local.demo import INTERRUPTED, Interrupted, Interruption

signal.signal(signal.SIGINT, Interruption())
try:
    exec("signal.raise_signal(signal.SIGINT)")
except Interrupted:
    raise SystemExit(INTERRUPTED)
"""


def test_an_interrupt_that_python_dropped_is_raised_again() -> None:
    interruption = Interruption()
    interruption.check()
    before = signal.signal(signal.SIGINT, interruption)
    try:
        with contextlib.suppress(Interrupted):  # as a finaliser does
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(Interrupted):
        interruption.check()


def test_an_interrupt_amid_exec_leaves_the_exit_status_to_us(tmp_path: Path) -> None:
    (tmp_path / "interrupted_in_exec.py").write_text(INTERRUPTED_IN_EXEC)
    command = [sys.executable, "-m", "interrupted_in_exec"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=False)
    assert done.returncode == 130
