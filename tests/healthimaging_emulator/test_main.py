"""The command `healthimaging-emulator`: __main__.py, server.py, object_store.py's folder, and the behaviour file.

Covers healthimaging_emulator/service.py, healthimaging_emulator/settings.py, state.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

import healthimaging_emulator
from healthimaging_emulator.jobs import JobFailed
from healthimaging_emulator.object_store import FolderObjectStore
from tests.testkit.emulator_bench import ROLE, part10

SOURCES = Path(healthimaging_emulator.__file__).parent


def alone(*options: str) -> subprocess.Popen[str]:
    """The command as a process of its own, with nothing in its environment that leads to AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "healthimaging_emulator", *options]
    return subprocess.Popen(command, env=kept | keys, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """Its endpoint URL; afterwards it is told to end, and must end well."""
    with alone("--port", "0", *options) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["endpoint_url"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def shown(url: str, name: str) -> Any:
    with urllib.request.urlopen(f"{url}/_emulator/{name}") as answer:
        return json.load(answer)


def test_it_runs_alone_tells_its_port_and_ends_when_told() -> None:
    with serving("--settings", '{"throttling": false}') as url:
        assert shown(url, "settings")["throttling"] is False
        port = url.rpartition(":")[2]
        with alone("--port", port) as second:
            _, complaint = second.communicate(timeout=30)
        assert (second.returncode, complaint.count("\n")) == (2, 1)
        assert port in complaint


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--settings", '{"throttle": 1}'), "'throttle'"),
        (("--settings", "{"), "Expecting"),
        (("--folder", "/nowhere/at/all"), "there is no folder /nowhere/at/all"),
        (("--behaviour", "/nowhere.json"), "/nowhere.json"),
    ],
)
def test_what_it_cannot_start_with_is_told_in_one_line(options: tuple[str, ...], word: str) -> None:
    with alone("--port", "0", *options) as process:
        _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint.count("\n")) == (2, 1)
    assert word in complaint


@pytest.mark.parametrize("text", ["", "[]", '{"settings": 1}', "{}"])
def test_a_behaviour_file_that_is_none_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "behaviour.json"
    path.write_text(text)
    with alone("--port", "0", "--behaviour", str(path)) as process:
        _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint.count("\n")) == (2, 1)
    assert str(path) in complaint


def test_a_behaviour_file_sets_durations_and_the_command_line_prevails(tmp_path: Path) -> None:
    path = tmp_path / "behaviour.json"
    settings = {"in_progress_seconds": 91, "submitted_seconds": 2, "rates": {"GetDatastore": [1, 1]}}
    path.write_text(json.dumps({"observed_at": "2026-11-24", "source": "make live", "settings": settings}))
    with serving("--behaviour", str(path), "--settings", '{"submitted_seconds": 3}') as url:
        now = shown(url, "settings")
    assert (now["in_progress_seconds"], now["submitted_seconds"]) == (91, 3)
    assert now["rates"]["GetDatastore"] == [1, 1]
    assert now["rates"]["StartDICOMImportJob"] == [1, 2]


def test_a_folder_stands_for_s3(tmp_path: Path) -> None:
    (tmp_path / "landing" / "b").mkdir(parents=True)
    (tmp_path / "landing" / "b" / "1.dcm").write_bytes(part10(1))
    (tmp_path / "landing" / "other.dcm").write_bytes(part10(2))
    with serving("--folder", str(tmp_path)) as url:
        client = boto3.client(
            "medical-imaging",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(inject_host_prefix=False),
        )
        datastore_id = client.create_datastore(datastoreName="images")["datastoreId"]
        while client.get_datastore(datastoreId=datastore_id)["datastoreProperties"]["datastoreStatus"] != "ACTIVE":
            time.sleep(0.05)
        job = client.start_dicom_import_job(
            datastoreId=datastore_id,
            dataAccessRoleArn=ROLE,
            inputS3Uri="s3://landing/b/",
            outputS3Uri="s3://results/out/",
        )
        identity = {"datastoreId": datastore_id, "jobId": job["jobId"]}
        while "endedAt" not in (ended := client.get_dicom_import_job(**identity)["jobProperties"]):
            time.sleep(0.05)
        assert ended["jobStatus"] == "COMPLETED"
        assert [each["SOPInstanceUID"] for each in shown(url, "instances")] == ["1.2.3.1.1.1"]
    folder = tmp_path / "results" / "out" / f"{datastore_id}-DicomImport-{job['jobId']}"
    assert json.loads((folder / "job-output-manifest.json").read_text())["jobSummary"]["numberOfImportedFiles"] == 1


@pytest.mark.parametrize("key", ["../other/secret", "/etc/passwd", "a/../../other/secret"])
def test_a_key_never_leads_out_of_its_buckets_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("secret")
    store = FolderObjectStore(tmp_path)
    with pytest.raises(JobFailed, match="leads out"):
        store.read("landing", key)
    with pytest.raises(JobFailed, match="leads out"):
        store.write("landing", key, b"")
    with pytest.raises(JobFailed, match="leads out"):
        list(store.list("..", ""))


def test_nothing_of_the_product_is_in_it() -> None:
    """It is for anybody: no import of the product, and none of its names."""
    for path in SOURCES.iterdir():
        if path.suffix in (".py", ".md"):
            text = path.read_text(encoding="utf-8").lower().replace("pip install 'storescp-cfn[local]'", "")
            for word in ("storescp", "ministack", "import_lambda", "incoming/", "batches/"):
                assert word not in text, f"{path.name} speaks of {word}"
