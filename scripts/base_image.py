"""A stand-in for the official Python image where no registry can be reached.

Debian's own build of the same Python on the same Debian, `python3` and its pip in /usr/local/bin. It is cached as an
archive, so that every engine and every checkout finds it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import system_packages

SUITE = "trixie"
PACKAGES = "python3,python3-pip,ca-certificates"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "storescp-cfn"
# What it is made of, and this file, which makes it.
RECIPE = hashlib.sha256(f"{SUITE} {PACKAGES}".encode() + Path(__file__).read_bytes()).hexdigest()[:12]
TAG = f"localhost/storescp-base:{RECIPE}"


def archive() -> Path:
    """The tar file of its root file system, made if it is not in the cache."""
    file = CACHE / f"base-{RECIPE}.tar"
    if file.exists():
        return file
    if os.geteuid() != 0:
        sys.exit(
            "No registry can be reached, and only root can make a base image: run as root, or name one: "
            "make image BASE=..."
        )
    print("Making a base image with debootstrap (a minute, once) ...", file=sys.stderr)
    system_packages.require("debootstrap:/usr/sbin/debootstrap")
    CACHE.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp())
    try:
        bootstrap(root)
        trim(root)
        partial = file.with_suffix(f".{os.getpid()}")
        subprocess.run(["tar", "-C", str(root), "--numeric-owner", "-cf", str(partial), "."], check=True)
        partial.rename(file)
    finally:
        shutil.rmtree(root)
    return file


def bootstrap(root: Path) -> None:
    """Install Debian below `root`."""
    log = CACHE / "debootstrap.log"
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), MIRROR]
    with log.open("wb") as output:
        failed = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
    if failed:
        end = " ".join(log.read_text("utf-8", "replace").splitlines()[-2:])
        sys.exit(f"debootstrap failed; the end of {log}: {end}")


def trim(root: Path) -> None:
    """Remove what no container needs; what is shipped keeps its copyright file."""
    for pattern in ("usr/lib/python3*/EXTERNALLY-MANAGED", "var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*"):
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for folder in ("man", "locale"):
        shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
        (root / "usr/share" / folder).mkdir()
    for path in (root / "usr/share/doc").rglob("*"):
        if not path.is_dir() and path.name != "copyright":
            path.unlink()
    for name in ("python3", "pip3"):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{name}")


def load(engine: str, file: Path) -> None:
    """Make the archive an image of the engine."""
    if engine != "buildah":
        subprocess.run([engine, "import", str(file), TAG], check=True, capture_output=True)
        return
    done = subprocess.run(["buildah", "from", "scratch"], check=True, capture_output=True, text=True)
    scratch = done.stdout.strip()
    subprocess.run(["buildah", "add", "-q", scratch, str(file), "/"], check=True, capture_output=True)
    subprocess.run(["buildah", "commit", "-q", "--rm", scratch, TAG], check=True, capture_output=True)
