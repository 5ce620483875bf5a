"""The conformance statement says what the code does."""

import re
import subprocess
import sys
from pathlib import Path

from storescp.dimse import Status
from storescp.settings import VARIABLES
from storescp.uids import HEALTHIMAGING_TRANSFER_SYNTAXES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/conformance-statement.md").read_text(encoding="utf-8")


def test_the_generated_tables_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "docs/conformance_statement.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_table_of_the_code_is_in_it_whole() -> None:
    assert all(f"| {status:04X} |" in PAGE for status in Status)
    assert all(f"`{variable.name}`" in PAGE for variable in VARIABLES)
    assert all(f"`{uid}`" in PAGE for uid in HEALTHIMAGING_TRANSFER_SYNTAXES)


def test_it_names_no_variable_that_the_receiver_does_not_have() -> None:
    known = {variable.name for variable in VARIABLES}
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)`", PAGE)) <= known
