"""Covers scripts/image.py, scripts/base_image.py, scripts/system_packages.py and scripts/licences.py.

Covers programs.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import base_image
import image
import licences
import programs
import system_packages

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_package_whose_file_is_there_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    done = run("system_packages.py", f"tool:{tmp_path / 'tool'}", PATH="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_is_found_where_the_environment_says_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCMTK_BIN", str(tmp_path))
    assert system_packages.missing(["dcmtk:/usr/bin/no-storescu"]) == ["dcmtk"]
    (tmp_path / "no-storescu").touch()
    assert system_packages.missing(["dcmtk:/usr/bin/no-storescu"]) == []


def test_what_cannot_be_installed_is_named_with_the_command_that_does_it(tmp_path: Path) -> None:
    done = run("system_packages.py", "dcmtk:/usr/bin/no-such-program", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "sudo apt-get install dcmtk; Fedora: sudo dnf install dcmtk" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_argument_that_names_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="'dcmtk' is not PACKAGE:FILE"):
        system_packages.missing(["dcmtk"])


@pytest.mark.parametrize("arguments", [[], ["save"], ["build", "now"], ["unknown"]])
def test_the_image_script_says_how_it_is_used(arguments: list[str]) -> None:
    done = run("image.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("image.py build | size | save FILE | engine ARG...")


def test_pip_gets_this_machines_certificates_and_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("certificates")
    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    image.pip_secrets(tmp_path)
    assert (tmp_path / "ca.crt").read_text() == "certificates"
    assert (tmp_path / "pip.conf").read_text().splitlines() == [
        "[global]",
        "cert = /run/secrets/ca.crt",
        "index-url = https://mirror.example/simple",
    ]


def test_the_image_carries_the_receivers_version() -> None:
    assert f'version = "{image.version()}"' in (ROOT / "container/pyproject.toml").read_text()


def test_a_base_keeps_each_copyright_and_nothing_that_no_container_needs(tmp_path: Path) -> None:
    kept = ("usr/share/doc/libc6/copyright", "usr/bin/python3")
    removed = (
        "usr/share/doc/libc6/changelog.gz",
        "usr/share/man/man1/ls.1.gz",
        "usr/lib/python3.13/EXTERNALLY-MANAGED",
    )
    for name in (*kept, *removed, "usr/local/bin/other", "usr/share/locale/de/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    base_image.trim(tmp_path)
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in removed)
    assert (tmp_path / "usr/local/bin/python3").readlink() == Path("/usr/bin/python3")


def test_an_images_licences_are_listed_once_each_with_pythons_first(tmp_path: Path) -> None:
    components = [
        {
            "name": "zlib1g",
            "version": "1.3",
            "purl": "pkg:deb/debian/zlib1g",
            "licenses": [{"license": {"name": "Zlib"}}],
        },
        {"name": "obstore", "version": "0.8", "purl": "pkg:pypi/obstore", "licenses": [{"expression": "MIT"}] * 2},
        {"name": "nameless", "purl": "pkg:pypi/nameless"},
        {"name": "a file"},
    ]
    sbom = tmp_path / "sbom.json"
    sbom.write_text(json.dumps({"components": components}))
    done = run("licences.py", str(sbom))
    assert done.stdout.splitlines()[4:] == [
        f"| nameless | pypi | {licences.UNKNOWN} |",
        "| obstore 0.8 | pypi | MIT |",
        "| zlib1g 1.3 | deb | Zlib |",
    ]
    sbom.write_text("{}")
    assert run("licences.py", str(sbom)).returncode == 1


def test_the_command_line_is_released_under_the_version_that_it_says(tmp_path: Path) -> None:
    done = run("programs.py", str(tmp_path), "9.9.9")
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert done.stderr == (
        f"pyproject.toml has version {programs.declared_version()}, but the release is 9.9.9: set it there.\n"
    )
