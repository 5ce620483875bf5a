"""A test study leg by leg, real DIMSE, causes by name: legs.py, dicom_client.py, probe_study.py.

The whole way into HealthImaging and back is in tests/end_to_end.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from storescp_cfn.account import dicom_client, legs, probe_study, verify
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.dicom_client import Address
from storescp_cfn.account.errors import AccountError, ThrottledError
from storescp_cfn.account.legs import Journey, LegFailed
from storescp_cfn.account.screen import Level, Screen
from storescp_cfn.account.verify import Waiting
from tests.account.conftest import Account
from tests.testkit.receiver_process import ReceiverProcess, running_receiver


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    folder = tmp_path_factory.mktemp("receiver")
    with running_receiver(
        folder, AE_TITLE="ARCHIVE", REQUIRE_CALLED_AE_TITLE="true", REQUIRE_CALLING_AE_TITLE="CT1"
    ) as process:
        process.await_ready()
        yield process


def address(receiver: ReceiverProcess, called: str = "ARCHIVE", calling: str = "CT1") -> Address:
    return Address("127.0.0.1", receiver.port, called, calling)


def failure(screen: Screen) -> tuple[str, str]:
    worst = screen.sorted_lines[0]
    assert worst.level == Level.STOP
    return worst.subject, worst.text


def test_a_pc_without_rights_sees_every_leg_work(receiver: ReceiverProcess) -> None:
    before = len(receiver.stored())
    screen = verify.from_a_pc(address(receiver), store=True)
    assert screen.facts["not_tried"] == []
    assert [leg["name"] for leg in screen.facts["legs"]] == ["name", "TCP", "C-ECHO", "C-STORE", "C-STORE"]
    assert len(receiver.stored()) == before + 3
    assert verify.from_a_pc(address(receiver), store=False).exit_status == 0


@pytest.mark.parametrize(
    ("called", "calling", "words"),
    [
        ("ARCHIV", "CT1", "does not know the Called AE Title ARCHIV"),
        ("ARCHIVE", "CT2", "does not accept the calling AE title CT2"),
    ],
)
def test_a_wrong_title_is_named(receiver: ReceiverProcess, called: str, calling: str, words: str) -> None:
    leg, text = failure(verify.from_a_pc(address(receiver, called, calling), store=False))
    assert leg == "C-ECHO"
    assert words in text


def test_a_port_on_which_nothing_listens(receiver: ReceiverProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    leg, text = failure(verify.from_a_pc(dataclasses.replace(address(receiver), port=port), store=False))
    assert (leg, "nothing listens" in text) == ("TCP", True)


def test_a_name_that_does_not_exist(receiver: ReceiverProcess) -> None:
    wrong = dataclasses.replace(address(receiver), host="no-such-host.invalid")
    assert failure(verify.from_a_pc(wrong, store=False))[0] == "name"


def test_something_else_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):  # the TCP leg, the C-ECHO leg
                connection, _ = server.accept()
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        screen = verify.from_a_pc(Address("127.0.0.1", server.getsockname()[1], "A", "B"), store=False)
    assert failure(screen)[0] == "C-ECHO"
    assert "does not answer in DICOM" in failure(screen)[1]


def test_tls_where_there_is_none(receiver: ReceiverProcess) -> None:
    leg, text = failure(verify.from_a_pc(dataclasses.replace(address(receiver), tls=True), store=False))
    assert (leg, "no TLS on port" in text) == ("TLS", True)


def test_a_certificate_of_another_name_is_a_warning(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("other.example.org")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    notes: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                try:
                    with context.wrap_socket(connection, server_side=True):
                        pass
                except OSError:
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        where = Address("127.0.0.1", server.getsockname()[1], "A", "B", True, tmp_path / "ca.pem")
        text = dicom_client.handshake(where, lambda note, to_do: notes.append(note))
    assert text.startswith("TLSv1.")
    assert ["IP address mismatch" in note for note in notes] == [True]


PARAMETERS = {"PeerCIDR1": "203.0.113.0/24", "PeerCIDR2": "", "LoadBalancerScheme": "internet-facing"}


@pytest.mark.parametrize(
    ("kind", "parameters", "own", "words"),
    [
        ("timeout", PARAMETERS, "198.51.100.9", "leaves as 198.51.100.9, which is in none of 203.0.113.0/24"),
        ("timeout", PARAMETERS, "203.0.113.9", "a firewall of the hospital"),
        ("timeout", {**PARAMETERS, "LoadBalancerScheme": "internal"}, "", "the load balancer is internal"),
        ("refused", PARAMETERS, "", "nothing listens"),
        ("timeout", None, "", "this network is not allowed to send"),
    ],
)
def test_why_no_connection_is_made(
    account: Account, kind: str, parameters: dict[str, str] | None, own: str, words: str
) -> None:
    deployment: Deployment | None = None
    if parameters is not None:
        deployment = dataclasses.replace(account.deployment, parameters=parameters)
    assert words in verify.likely_cause(kind, deployment, own)[0]


def test_after_a_leg_that_failed_none_is_tried() -> None:
    def fails() -> str:
        raise LegFailed("a cause.", "a remedy")

    def cannot_be_asked() -> str:
        raise AccountError("no rights.")

    journey = Journey()
    assert journey.go("one", lambda: "fine.")
    assert not journey.go("two", fails)
    assert not journey.go("three", lambda: "never.")
    screen = legs.screen("It", journey, ("one", "two", "three"))
    assert screen.headline == "It fails at: two."
    assert screen.facts["not_tried"] == ["three"]
    other = Journey()
    other.go("one", cannot_be_asked)
    assert legs.screen("It", other, ("one",)).exit_status == 2


def test_the_study_says_that_it_is_a_test() -> None:
    study = probe_study.make()
    for instance in study.instances:
        assert instance.PatientID == "STORESCP-TEST"
        assert "test" in instance.StudyDescription
    assert len(set(study.pixel_checksums.values())) == 3


def test_the_manifest_is_what_a_receiver_writes(account: Account) -> None:
    study = probe_study.make()
    text = verify.land(account.deployment, study)
    s3, bucket = account.stack.client("s3"), account.deployment.output("LandingBucketName")
    found = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    batch = text.split()[-1].rstrip(".")
    assert len([key for key in found if key.startswith(f"incoming/{batch}/{study.study_instance_uid}/")]) == 3
    manifest = json.loads(s3.get_object(Bucket=bucket, Key=f"batches/{batch}.json")["Body"].read())
    assert manifest["instances"] == 3
    assert set(manifest["groups"][0]["SOPInstanceUIDs"]) == set(study.pixel_checksums)


def test_an_importer_that_does_not_take_it_up_is_the_leg_that_fails(account: Account) -> None:
    now = [0.0]
    waiting = Waiting(lambda seconds: now.__setitem__(0, now[0] + 100), lambda: now[0])
    screen = verify.from_bucket(account.deployment, waiting=waiting)
    assert failure(screen)[0] == "batch closed"
    assert screen.facts["not_tried"] == ["imported", "readable", "removed"]


def test_deleting_keeps_to_the_pace_that_is_allowed(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | None] = [ThrottledError("slow"), ThrottledError("slow"), None, None]
    asked: list[str] = []
    waits: list[float] = []

    def call(service: str, operation: str, **arguments: str) -> dict[str, str]:
        asked.append(arguments["imageSetId"])
        if answer := answers.pop(0):
            raise answer
        return {}

    monkeypatch.setattr(account.deployment.connection, "call", call, raising=False)
    text = verify.remove(account.deployment, ["a", "b"], Waiting(waits.append, lambda: 0.0))
    assert asked == ["a", "a", "a", "b"]
    assert len(waits) == 2
    assert text.startswith("2 image sets deleted")
