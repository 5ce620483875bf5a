"""Each question of the guide, one command, our own chain: operator.py, log_driver.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from storescp_cfn.local import operator

if TYPE_CHECKING:
    from tests.end_to_end.conftest import RunningStack


def ask(running: RunningStack, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command as a person does, with what `make up` prints; its exit status and its JSON."""
    command = [sys.executable, "-m", "storescp_cfn", *arguments, "--json"]
    environment = os.environ | operator.environment(running.stack)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_test_study_travels_the_whole_way_and_is_removed(running: RunningStack) -> None:
    status, answer = ask(running, "verify", "--port", str(running.port))
    assert (status, answer["not_tried"]) == (0, []), answer
    assert [leg["name"] for leg in answer["legs"]] == [
        "name",
        "TCP",
        "C-ECHO",
        "C-STORE",
        "batch closed",
        "imported",
        "readable",
        "removed",
    ]
    search = running.stack.client("medical-imaging").search_image_sets(
        datastoreId=running.deployed.datastore_id,
        searchCriteria={"filters": [{"values": [{"DICOMPatientId": "STORESCP-TEST"}], "operator": "EQUAL"}]},
    )
    assert search["imageSetsMetadataSummaries"] == []


def test_the_import_leg_alone(running: RunningStack) -> None:
    status, answer = ask(running, "verify", "--from-bucket")
    assert (status, answer["not_tried"]) == (0, []), answer


def test_a_second_stack_is_launched_updated_and_deleted(running: RunningStack) -> None:
    network = running.stack.network_parameters()
    pairs = [part for name, value in network.items() for part in ("--param", f"{name}={value}")]
    status, answer = ask(running, "deploy", "Second", "--yes", *pairs)
    assert status == 0, answer
    assert answer["outputs"]["DICOMAETitle"] == "STORESCP"
    status, answer = ask(running, "update", "Second", "--yes", "--param", "PeerCIDR2=198.51.100.0/24")
    assert status == 0, answer
    assert ask(running, "outputs", "Second")[1]["outputs"]["DICOMPort"] == "11112"
    status, answer = ask(running, "delete", "Second", "--yes")
    assert (status, bool(answer["kept"])) == (0, True), answer
