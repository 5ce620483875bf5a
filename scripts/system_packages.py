"""system_packages.py PACKAGE:FILE ... - install the Debian packages whose FILE is missing, or say how to.

FILE may lie where Debian, Fedora, Homebrew or DCMTK_BIN have it: besides its own place only its name counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def missing(pairs: Iterable[str]) -> list[str]:
    """The packages whose file is not there.

    Raises ValueError: an argument is not PACKAGE:FILE.
    """
    found = []
    for pair in pairs:
        package, colon, file = pair.partition(":")
        if not (package and colon and file):
            raise ValueError(f"{pair!r} is not PACKAGE:FILE")
        if not any(place.exists() for place in places(Path(file))):
            found.append(package)
    return found


def places(file: Path) -> list[Path]:
    """Where a program may lie."""
    folders = (os.environ.get("DCMTK_BIN", "/usr/bin"), "/usr/local/bin", "/opt/homebrew/bin")
    return [file, *(Path(folder) / file.name for folder in folders)]


def install(packages: list[str]) -> str:
    """Install them with apt-get; what it said if it failed, empty if it did not."""
    if not shutil.which("apt-get"):
        return "there is no apt-get here"
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        command = [*as_root, "apt-get", *arguments]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return "this takes root, and there is no sudo here"
        if done.returncode:
            return "\n".join((done.stdout + done.stderr).strip().splitlines()[-3:]) or "apt-get failed"
    return ""


def require(*pairs: str) -> None:
    """Have the files there, or end with a sentence that says how to get them."""
    packages = missing(pairs)
    if not packages:
        return
    names = " ".join(packages)
    print(f"Installing Debian packages: {names} ...", file=sys.stderr)
    problem = install(packages)
    if problem:
        sys.exit(
            f"These packages are missing and could not be installed here: {names}. Debian and Ubuntu: "
            f"sudo apt-get install {names}; Fedora: sudo dnf install {names}; macOS: brew install {names}.\n"
            f"{problem}"
        )


if __name__ == "__main__":
    require(*sys.argv[1:])
