"""image.py build | size | save FILE | engine ARG... - the receiver's image with docker, podman or buildah.

build         build container/Dockerfile as $IMAGE on $BASE, of $VERSION, with $PRODUCT_CODE
size          print the bytes that the image adds to its base
save FILE     write the image as a docker archive
engine ARG... run docker or podman with ARG..., set up for this machine
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import base_image
import system_packages

ROOT = Path(__file__).resolve().parent.parent
IMAGE = os.environ.get("IMAGE", "localhost/storescp:latest")
REGISTRY_BASE = "docker.io/library/python:3.13-slim-trixie"
PULL_SECONDS = 300


def quiet(*command: str, seconds: float | None = None) -> bool:
    """Run a command whose words interest nobody; whether it succeeded."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=seconds).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def run(*command: str) -> None:
    """Run a command; its failure is ours, and its own words say why."""
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if code:
        sys.exit(code)


def output_of(*command: str) -> str:
    """What a command prints; its failure is ours."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.strip()


def choose_engine() -> str:
    """The name of the engine, installed if there is none, and this process's environment made fit for it."""
    # A docker that has no daemon is no engine.
    if quiet("docker", "info"):
        return "docker"
    engine = next((name for name in ("podman", "buildah") if shutil.which(name)), None)
    if engine is None:
        system_packages.require("podman:/usr/bin/podman", "buildah:/usr/bin/buildah", "runc:/usr/sbin/runc")
        engine = "podman"
    # Root without systemd: no user session to delegate cgroups, no journal, no nested namespaces.
    if os.geteuid() == 0 and not Path("/run/systemd/system").is_dir():
        system_packages.require("runc:/usr/sbin/runc")
        os.environ["CONTAINERS_CONF"] = str(ROOT / "scripts/containers.conf")
        os.environ["BUILDAH_ISOLATION"] = "chroot"
    return engine


def has_image(engine: str, name: str) -> bool:
    return quiet(engine, "inspect", "--type", "image", name)


def choose_base(engine: str) -> str:
    """$BASE, or the official image, or where no registry can be reached a stand-in made here."""
    named = os.environ.get("BASE")
    if named:
        return named
    if has_image(engine, REGISTRY_BASE) or quiet(engine, "pull", "-q", REGISTRY_BASE, seconds=PULL_SECONDS):
        return REGISTRY_BASE
    if not has_image(engine, base_image.TAG):
        base_image.load(engine, base_image.archive())
    return base_image.TAG


def pip_secrets(folder: Path) -> list[str]:
    """What pip has to know to reach its index from inside the build: this machine's CA bundle and mirror, if any."""
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    lines = ["[global]"]
    certificates = b""
    if bundle:
        certificates = Path(bundle).read_bytes()
        lines.append("cert = /run/secrets/ca.crt")
    if os.environ.get("PIP_INDEX_URL"):
        lines.append(f"index-url = {os.environ['PIP_INDEX_URL']}")
    (folder / "pip.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "ca.crt").write_bytes(certificates)
    return ["--secret", f"id=pip_conf,src={folder}/pip.conf", "--secret", f"id=ca_bundle,src={folder}/ca.crt"]


# The OCI image format has no health check; docker's has.
BUILD = {
    "docker": ("docker", "build", "--quiet", "--provenance=false"),
    "podman": ("podman", "build", "--quiet", "--format", "docker", "--pull=never"),
    "buildah": ("buildah", "bud", "--quiet", "--format", "docker", "--pull-never"),
}
SAVE = {
    "docker": ("docker", "save", "--output", "{file}", IMAGE),
    "podman": ("podman", "save", "--quiet", "--format", "docker-archive", "--output", "{file}", IMAGE),
    "buildah": ("buildah", "push", "--quiet", IMAGE, "docker-archive:{file}"),
}


def version() -> str:
    """The receiver's version, as container/pyproject.toml has it."""
    found = re.search(r'^version = "(.*)"', (ROOT / "container/pyproject.toml").read_text("utf-8"), re.MULTILINE)
    if found is None:
        sys.exit("container/pyproject.toml names no version")
    return found[1]


def revision() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def build() -> None:
    """Build the image and say how much it adds to its base."""
    engine = choose_engine()
    base = choose_base(engine)
    arguments = ["--network", "host", "--tag", IMAGE, "--file", str(ROOT / "container/Dockerfile")]
    built_in = {
        "BASE": base,
        "VERSION": os.environ.get("VERSION") or version(),
        "REVISION": revision(),
        "PRODUCT_CODE": os.environ.get("PRODUCT_CODE", ""),
    }
    for name, value in built_in.items():
        arguments += ["--build-arg", f"{name}={value}"]
    with tempfile.TemporaryDirectory() as folder:
        run(*BUILD[engine], *arguments, *pip_secrets(Path(folder)), str(ROOT / "container"))
    print(f"Built {IMAGE} with {engine} on {base}: {added_bytes(engine) // 1_000_000} MB more than the base.")


def added_bytes(engine: str) -> int:
    """Bytes that the image adds to the base that its label names."""

    def inspect(name: str, what: str) -> str:
        return output_of(engine, "inspect", "--type", "image", "--format", what, name)

    base = inspect(IMAGE, '{{index .Config.Labels "org.opencontainers.image.base.name"}}')
    return int(inspect(IMAGE, "{{.Size}}")) - int(inspect(base, "{{.Size}}"))


def save(file: str) -> None:
    """Write the image as a docker archive."""
    Path(file).unlink(missing_ok=True)
    run(*(part.format(file=file) for part in SAVE[choose_engine()]))


def engine_command(arguments: Sequence[str]) -> None:
    """Become docker or podman."""
    engine = choose_engine()
    if engine == "buildah":
        system_packages.require("podman:/usr/bin/podman")
        engine = "podman"
    os.execvp(engine, [engine, *arguments])


def main(arguments: Sequence[str]) -> None:
    """Do what the first argument says."""
    match list(arguments):
        case ["build"]:
            build()
        case ["size"]:
            print(added_bytes(choose_engine()))
        case ["save", file]:
            save(file)
        case ["engine", *rest]:
            engine_command(rest)
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
