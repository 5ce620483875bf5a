"""The built image run as a Fargate task runs it, through `scripts/image.py engine`: docker, or podman with runc."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENGINE = (sys.executable, str(ROOT / "scripts/image.py"), "engine")


def engine(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the container engine; a failure shows what it said."""
    done = subprocess.run([*ENGINE, *arguments], capture_output=True, text=True, timeout=180, check=False)
    if check and done.returncode:
        raise AssertionError(f"{arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done


def engine_name() -> str:
    return "podman" if "podman" in engine("--version").stdout else "docker"


def inspect_image(image: str) -> dict[str, Any]:
    inspected: dict[str, Any] = json.loads(engine("inspect", "--type", "image", image).stdout)[0]
    return inspected


@dataclass(frozen=True)
class Limits:
    """What a task definition grants: thousandths of a vCPU as ECS counts them (1024 a core), MiB."""

    cpu_units: int
    memory_mib: int


# Beside the task definition's own words: what Fargate does to every task, and the network that all share here.
LOCKED_DOWN = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host")


class Container:
    """One container of the image; as a context manager it is gone afterwards, whatever happened."""

    def __init__(self, image: str, limits: Limits, environment: Mapping[str, str], volumes: Sequence[str] = ()) -> None:
        self.name = f"storescp-test-{uuid.uuid4().hex[:12]}"
        self.health_port = int(environment["HEALTH_PORT"])
        arguments = ["create", "--name", self.name, "--pull", "never", *LOCKED_DOWN, "--no-healthcheck"]
        arguments += ["--memory", f"{limits.memory_mib}m", "--memory-swap", f"{limits.memory_mib}m"]
        arguments += ["--cpus", str(limits.cpu_units / 1024)]
        if engine_name() == "podman":
            # No writable /tmp, /run and /var/tmp, which podman adds; and it cannot raise this machine's own limits.
            arguments += ["--read-only-tmpfs=false", "--ulimit", "host"]
        for volume in volumes:
            arguments += ["--volume", volume]
        for name, value in environment.items():
            arguments += ["--env", f"{name}={value}"]
        engine(*arguments, image)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        engine("rm", "--force", self.name, check=False)

    def start(self, patience_seconds: float = 60) -> float:
        """Start it and wait for `/readyz`; return the seconds from the engine's call until it answered 200."""
        began = time.perf_counter()
        engine("start", self.name)
        while not self.ready():
            if time.perf_counter() - began > patience_seconds or not self.running:
                raise AssertionError(f"the container was not ready; its log:\n{self.log()}")
            time.sleep(0.01)
        return time.perf_counter() - began

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def running(self) -> bool:
        return bool(self.state()["Running"])

    def state(self) -> dict[str, Any]:
        inspected: dict[str, Any] = json.loads(engine("inspect", "--type", "container", self.name).stdout)[0]["State"]
        return inspected

    def signal(self, name: str) -> None:
        engine("kill", "--signal", name, self.name)

    def exit_code(self, patience_seconds: float) -> int:
        """Wait for its end; return the status of PID 1."""
        deadline = time.monotonic() + patience_seconds
        while self.running:
            assert time.monotonic() < deadline, f"still running after {patience_seconds:g} s; its log:\n{self.log()}"
            time.sleep(0.1)
        return int(self.state()["ExitCode"])

    def log(self) -> str:
        done = engine("logs", self.name, check=False)
        return done.stdout + done.stderr

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command beside PID 1, with its user, limits and file system."""
        return engine("exec", self.name, *command, check=check)

    def python(self, program: str) -> str:
        return self.run("python3", "-S", "-c", program).stdout.strip()
