"""The newcomer's command: what it prints, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storescp_cfn.local.processes import free_port
from storescp_cfn.local.study import synthetic_ct

DEMO = [sys.executable, "-m", "storescp_cfn", "demo"]
UP = [sys.executable, "-m", "storescp_cfn", "up"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose temporary folder is ours; after the test it is empty and no process of it is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    yield os.environ | {"TMPDIR": str(temporary)}
    assert list(temporary.iterdir()) == []
    assert processes_of(temporary) == []


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes whose environment speaks of `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_the_default_study_shows_what_goes_wrong_and_by_which_command_it_is_seen(place: dict[str, str]) -> None:
    command = [*DEMO, "--port", str(free_port()), "--verbose"]
    done = subprocess.run(command, env=place, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("CREATE_COMPLETE") > 40  # --verbose
    counts = counts_of(done.stdout)
    assert counts["files"] == counts["sent"] + counts["not readable by dcmtk"]
    assert counts["sent"] == counts["acknowledged"] == counts["imported"] + counts["quarantined"]
    assert counts["quarantined"] == 1
    for shown in ("$ storescp-cfn status", "US3 calls STORSCP: typo?", "$ storescp-cfn quarantine list"):
        assert shown in done.stdout


def counts_of(printed: str) -> dict[str, int]:
    """The numbers of the table at the end."""
    table = printed.partition("Where every image is")[2].partition("$ ")[0]
    return {name: int(count) for name, count in re.findall(r"^ *([a-z ]+?) +(\d+) *$", table, re.MULTILINE)}


def test_a_folder_of_ones_own_travels_the_whole_chain(place: dict[str, str], tmp_path: Path) -> None:
    synthetic_ct(tmp_path / "study", slices=4, rows=16, columns=16)
    command = [*DEMO, "--port", str(free_port()), "--dicom", str(tmp_path / "study")]
    done = subprocess.run(command, env=place, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for output in ("NetworkLoadBalancerDNS: ", "DICOMPort: ", "DICOMAETitle: STORESCP", " resources created"):
        assert output in done.stdout
    assert "CREATE_COMPLETE  " not in done.stdout  # one line for all resources; --verbose gives each its own
    counts = counts_of(done.stdout)
    assert counts.pop("import jobs") <= 1  # none where StoreDICOM took them all
    assert counts == {
        "files": 4,
        "not readable by dcmtk": 0,
        "sent": 4,
        "acknowledged": 4,
        "stored": 4,
        "imported": 4,
        "of them with a warning": 0,
        "quarantined": 0,
        "image sets": 1,
    }
    assert "\x1b" not in done.stdout  # plain when it is not a terminal


@pytest.mark.parametrize("trouble", ["port", "folder", "missing folder", "dcmtk"])
def test_what_cannot_work_is_one_sentence(place: dict[str, str], tmp_path: Path, trouble: str) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("no DICOM")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options, sentence = {
            "port": (["--port", str(port)], f"Port {port} on 127.0.0.1"),
            "folder": (["--dicom", str(tmp_path / "letters")], "There is no DICOM file below"),
            "missing folder": (["--dicom", str(tmp_path / "nowhere")], "nowhere"),
            "dcmtk": ([], "dcmtk's echoscu is not in"),
        }[trouble]
        if "--port" not in options:
            options += ["--port", str(free_port())]
        environment = place | ({"DCMTK_BIN": str(tmp_path)} if trouble == "dcmtk" else {})
        done = subprocess.run(
            [*DEMO, *options], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode not in (0, 130)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command", "status"), [(DEMO, 130), (UP, 0)])
@pytest.mark.parametrize("moment", ["Creating the stack", "C-ECHO"])
def test_ctrl_c_leaves_nothing_behind(
    place: dict[str, str], tmp_path: Path, command: list[str], status: int, moment: str
) -> None:
    synthetic_ct(tmp_path / "study", slices=2, rows=16, columns=16)
    options = ["--port", str(free_port()), "--dicom", str(tmp_path / "study")]
    with (tmp_path / "printed").open("w+") as printed:
        running = subprocess.Popen(
            [*command, *options], env=place | {"PYTHONUNBUFFERED": "1"}, stdout=printed, stderr=printed
        )
        wait_for(moment, tmp_path / "printed")
        running.send_signal(signal.SIGINT)
        assert running.wait(40) == status
    assert "Traceback" not in (tmp_path / "printed").read_text()


def test_up_stays_until_it_is_told_to_end(place: dict[str, str], tmp_path: Path) -> None:
    synthetic_ct(tmp_path / "study", slices=2, rows=16, columns=16)
    port = free_port()
    options = ["--port", str(port), "--dicom", str(tmp_path / "study")]
    with (tmp_path / "printed").open("w+") as printed:
        running = subprocess.Popen([*UP, *options], env=place, stdout=printed, stderr=printed)
        wait_for("Ready for any DICOM program", tmp_path / "printed")
        with socket.create_connection(("127.0.0.1", port), 5):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.wait(40) == 0


def wait_for(text: str, printed: Path) -> None:
    deadline = time.monotonic() + 90
    while text not in printed.read_text():
        assert time.monotonic() < deadline, printed.read_text()
        time.sleep(0.05)
