"""dciodvfy of David Clunie's dicom3tools: does what arrived draw complaints that what was sent did not?"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path


def complaints(path: Path) -> Counter[str]:
    """Every error that dciodvfy finds in a file, and how often; it writes its report on both streams.

    Raises OSError if it is not installed.
    """
    program = Path(sys.executable).parent / "dciodvfy"
    command = [str(program) if program.exists() else shutil.which("dciodvfy") or "dciodvfy", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    report = (done.stdout + done.stderr).decode("latin-1").replace(str(path), "FILE")
    return Counter(line.strip() for line in report.splitlines() if line.startswith("Error"))


def new_complaints(sent: Path, stored: Path) -> list[str]:
    """Errors of the stored file that the sent one does not have."""
    return sorted((complaints(stored) - complaints(sent)).elements())
