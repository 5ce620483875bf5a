"""programs.py FOLDER [VERSION] - build the operators' command line: a wheel, a single file, and their checksums.

The single file (shiv) holds every dependency but Python itself, and unpacks itself below ~/.shiv when it first runs:
botocore reads its data from real files. Both are the same bytes for the same commit.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIV = "shiv==1.0.8"


def declared_version() -> str:
    """The version of pyproject.toml."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def environment() -> dict[str, str]:
    """This process's, with the commit's time in the place of today's."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False, cwd=ROOT)
    return os.environ | {"SOURCE_DATE_EPOCH": done.stdout.strip() or "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*arguments: str) -> None:
    """Run a module of this Python; its failure is ours, and its own words say why."""
    done = subprocess.run([sys.executable, "-m", *arguments], check=False, cwd=ROOT, env=environment())
    if done.returncode:
        sys.exit(done.returncode)


def build(folder: Path) -> list[Path]:
    """The wheel and the single file below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.suffix in (".whl", ".pyz") or old.name == "SHA256SUMS":
            old.unlink()
    run("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    single = folder / f"storescp-cfn-{declared_version()}.pyz"
    options = ("--reproducible", "--compressed", "--python", "/usr/bin/env python3", "--console-script", "storescp-cfn")
    pip = ("--quiet", "--constraint", "constraints.txt", str(wheel))
    run("shiv", *options, "--output-file", str(single), *pip)
    return [wheel, single]


def main(arguments: list[str]) -> None:
    """Build both and write their checksums."""
    if len(arguments) not in (1, 2):
        sys.exit(__doc__)
    version = arguments[1] if len(arguments) == 2 else declared_version()
    if version != declared_version():
        sys.exit(f"pyproject.toml has version {declared_version()}, but the release is {version}: set it there.")
    run("pip", "install", "--quiet", SHIV)
    files = build(Path(arguments[0]).resolve())
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (files[0].parent / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
    for file in files:
        print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main(sys.argv[1:])
