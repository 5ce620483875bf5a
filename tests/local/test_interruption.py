"""A Ctrl-C is never lost."""

from __future__ import annotations

import contextlib
import signal

import pytest

from storescp_cfn.local.demo import Interruption


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
