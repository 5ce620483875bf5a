"""What is in the image, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.testkit.containers import ROOT, engine, inspect_image

MAXIMUM_BYTES_ABOVE_BASE = 60_000_000
BASE_GLIBC_MINOR = 41  # of Debian 13; pip takes only the platform tags that it is told


def run_in(image: str, program: str) -> str:
    """What a Python program in a fresh container of the image prints."""
    done = engine(
        "run",
        "--rm",
        "--network",
        "host",
        "--pull",
        "never",
        "--no-healthcheck",
        "--entrypoint",
        "python3",
        *(["--ulimit", "host"] if "podman" in engine("--version").stdout else []),
        image,
        "-c",
        program,
    )
    return done.stdout.strip()


def test_it_runs_as_a_numbered_user_that_is_not_root(image: str) -> None:
    assert inspect_image(image)["Config"]["User"] == "65532:65532"


def test_pid_1_is_the_receiver_and_no_shell(image: str) -> None:
    assert inspect_image(image)["Config"]["Entrypoint"] == ["python3", "-m", "storescp"]


def test_its_health_check_is_no_shell(image: str) -> None:
    config = inspect_image(image)
    check = config["Config"].get("Healthcheck") or config["Healthcheck"]  # docker's place, podman's
    assert check["Test"] == ["CMD", "python3", "-S", "-m", "storescp.healthcheck"]


def test_it_carries_the_annotations_of_oci(image: str) -> None:
    labels = inspect_image(image)["Config"]["Labels"]
    names = {"title", "description", "licenses", "version", "revision", "base.name"}
    assert {name for name in names if labels.get(f"org.opencontainers.image.{name}")} == names


def test_it_adds_little_to_its_base(image: str) -> None:
    size = int(
        subprocess.run(
            [sys.executable, ROOT / "scripts/image.py", "size"], capture_output=True, text=True, check=True
        ).stdout
    )
    print(f"\nimage without its base: {size / 1e6:.1f} MB")
    assert size <= MAXIMUM_BYTES_ABOVE_BASE


def test_no_layer_of_ours_holds_a_compiler_a_source_of_the_machine_or_a_secret(image: str) -> None:
    found = run_in(
        image,
        "import pathlib, shutil; "
        "print([name for name in ('cc', 'gcc', 'clang', 'cython', 'rustc', 'make') if shutil.which(name)], "
        "[str(p) for p in pathlib.Path('/opt/storescp').rglob('*') if p.suffix in ('.c', '.pyx', '.pxd', '.crt')], "
        "[str(path) for path in pathlib.Path('/run/secrets').glob('*')], pathlib.Path('/build').exists())",
    )
    assert found == "[] [] [] False"


def test_every_module_of_ours_is_compiled(image: str) -> None:
    """Nothing can be written later, so what is not compiled now is compiled at every start."""
    missing = run_in(
        image,
        "import pathlib, importlib.util as u; "
        "print([str(p) for p in pathlib.Path('/opt/storescp').rglob('*.py') "
        "if not pathlib.Path(u.cache_from_source(str(p))).exists()])",
    )
    assert missing == "[]"


def test_nothing_of_ours_can_be_changed_by_the_user_it_runs_as(image: str) -> None:
    writable = run_in(
        image,
        "import os, pathlib; "
        "print([str(p) for p in pathlib.Path('/opt/storescp').rglob('*') if os.access(p, os.W_OK)])",
    )
    assert writable == "[]"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_locked_package_has_a_wheel_for(machine: str, tmp_path: Path) -> None:
    """The same lock file makes the image for amd64 and for arm64."""
    lock = ROOT / "container/requirements.lock"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    command += ["--python-version", "3.13", "--implementation", "cp", "--dest", str(tmp_path), "-r", str(lock)]
    for minor in range(17, BASE_GLIBC_MINOR + 1):
        command += ["--platform", f"manylinux_2_{minor}_{machine}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheels = [path.name for path in tmp_path.glob("*.whl")]
    assert len(wheels) == sum("==" in line for line in lock.read_text().splitlines())
    assert all(name.endswith((f"{machine}.whl", "-any.whl")) for name in wheels)
