"""A bad value is one line that names variable, value and what is allowed, before any port opens.

Covers storescp/settings.py.
"""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from storescp.commitment import DeviceAddress
from storescp.settings import VARIABLES, SettingError, read_settings
from tests.testkit.receiver_process import receiver_environment

BAD = [
    ("SCP_PORT", "dicom"),
    ("SCP_PORT", "65536"),
    ("SCP_PORT", "-1"),
    ("HEALTH_PORT", "1.5"),
    ("DICOM_BUCKET", "A_Bucket"),
    ("AE_TITLE", "SEVENTEEN CHARS!!"),
    ("AE_TITLE", "BACK\\SLASH"),
    ("AE_TITLE", "A,B"),
    ("REQUIRE_CALLED_AE_TITLE", "yes"),
    ("REQUIRE_CALLING_AE_TITLE", "CT1,SEVENTEEN CHARS!!"),
    ("SUPPORTED_SOP_CLASS_UIDS", "CTImageStorage"),
    # restrictions that are named and say nothing
    ("REQUIRE_CALLING_AE_TITLE", ","),
    ("REQUIRE_CALLING_AE_TITLE", " , ,, "),
    ("REQUIRE_CALLING_AE_TITLE", " "),
    ("SUPPORTED_SOP_CLASS_UIDS", ",,"),
    ("TLS_CERTIFICATE", ""),
    ("TLS_PRIVATE_KEY", " "),
    ("TLS_CLIENT_CA", ""),
    ("TLS_CLIENT_CA", "\n"),
    ("REQUIRE_CERTIFICATE_AE_TITLE", "true"),
    ("REQUIRE_CERTIFICATE_AE_TITLE", "maybe"),
    ("MAXIMUM_ASSOCIATIONS", "0"),
    ("MAXIMUM_PDU_SIZE", "100"),
    ("DIMSE_TIMEOUT", "0"),
    ("NETWORK_TIMEOUT", "soon"),
    ("ARTIM_TIMEOUT", "0.5"),
    ("BATCH_QUIET_SECONDS", "0"),
    ("BATCH_MAX_AGE_SECONDS", "nan"),
    ("BATCH_MAX_INSTANCES", "5001"),
    ("BATCH_MAX_BYTES", "10000000001"),
    ("MEMORY_BUDGET_MIB", "31"),
    ("WORKERS", "257"),
    ("STOP_SECONDS", "inf"),
    ("COMMITMENT_DEVICES", "CT1"),
    ("COMMITMENT_DEVICES", "CT1=10.0.0.5"),
    ("COMMITMENT_DEVICES", "CT1=10.0.0.5:0"),
    ("COMMITMENT_DEVICES", "CT1=10.0.0.5:65536"),
    ("COMMITMENT_DEVICES", "CT1=http://10.0.0.5:104"),
    ("COMMITMENT_DEVICES", "CT1=10.0.0.5:104,CT1=10.0.0.6:104"),
    ("COMMITMENT_DEVICES", "SEVENTEEN CHARS!!=10.0.0.5:104"),
    ("COMMITMENT_TIMEOUT_HOURS", "0"),
    ("COMMITMENT_POLL_SECONDS", "0"),
    ("LOG_LEVEL", "LOUD"),
    ("AWS_ENDPOINT_URL", "localhost:9000"),
    ("AWS_ENDPOINT_URL_S3", "s3://bucket"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_in_one_sentence(name: str, value: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_settings({name: value}, cores=1)
    [line] = str(refused.value).splitlines()
    allowed = next(variable.allowed for variable in VARIABLES if variable.name == name)
    assert line == f"{name}={value.strip()!r} is not allowed: it must be {allowed}"


def test_defaults_are_what_the_design_says() -> None:
    settings = read_settings({}, cores=2)
    assert (settings.scp_port, settings.health_port, settings.ae_title) == (11112, 8080, "STORESCP")
    assert (settings.maximum_associations, settings.dimse_timeout, settings.network_timeout) == (300, 60, 90)
    assert not settings.require_called_ae_title
    assert settings.require_calling_ae_title == settings.supported_sop_class_uids == frozenset()
    assert settings.batch_max_instances < 5000
    assert settings.batch_max_bytes < 10_000_000_000
    assert settings.workers == 2


def test_an_empty_value_is_a_missing_one_and_lists_are_trimmed() -> None:
    environment = {"SCP_PORT": "", "REQUIRE_CALLING_AE_TITLE": " CT1 , MR 1,", "AWS_ENDPOINT_URL": "http://all"}
    settings = read_settings(environment, cores=1)
    assert settings.scp_port == 11112
    assert settings.require_calling_ae_title == {"CT1", "MR 1"}
    assert settings.endpoint_url == "http://all"
    assert read_settings({**environment, "AWS_ENDPOINT_URL_S3": "https://s3"}, 1).endpoint_url == "https://s3"


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storescp"],
        env=receiver_environment(folder, **environment),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_command_ends_with_2_for_a_bad_value(tmp_path: Path) -> None:
    ended = run(tmp_path, SCP_PORT="x")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "storescp: SCP_PORT='x' is not allowed: it must be 0 to 65535; 0: any free port\n"


def test_the_command_ends_with_1_and_a_sentence_if_a_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("SCP_PORT", "HEALTH_PORT"):
            ended = run(tmp_path, **{name: str(port)})
            assert ended.returncode == 1
            assert ended.stderr == f"storescp: {name}={port} cannot be opened on 127.0.0.1: Address already in use\n"


def test_the_command_ends_with_1_and_a_sentence_if_the_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(tmp_path, STORAGE_DIR=str(tmp_path / "file" / "folder"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("storescp: STORAGE_DIR=")
    assert len(ended.stderr.splitlines()) == 1


def test_devices_are_read_with_their_addresses() -> None:
    value = "CT1=10.0.0.5:104, MR 1 = tls://mr1.example:2762,US=[fd00::1]:11112"
    devices = read_settings({"COMMITMENT_DEVICES": value}, cores=1).commitments.devices
    assert devices == {
        "CT1": DeviceAddress("10.0.0.5", 104),
        "MR 1": DeviceAddress("mr1.example", 2762, is_tls=True),
        "US": DeviceAddress("fd00::1", 11112),
    }
