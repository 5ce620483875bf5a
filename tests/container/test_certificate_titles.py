"""Covers tls.py: the AE titles that a client certificate names, and who may use them."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from storescp.tls import certificate_titles
from tests.testkit.raw_sender import associate_request
from tests.testkit.receiver_process import ReceiverProcess, running_receiver

ACCEPTED, REJECTED = 0x02, 0x03


@pytest.mark.parametrize(
    ("certificate", "titles"),
    [
        ({}, set()),
        ({"subject": ((("countryName", "CH"),), (("commonName", "CT 1"),))}, {"CT 1"}),
        ({"subjectAltName": (("DNS", "MR1"), ("IP Address", "10.0.0.1"), ("email", "a@b"))}, {"MR1"}),
        ({"subjectAltName": (("DNS", "mr1"),)}, {"mr1", "MR1"}),
        ({"subjectAltName": (("URI", "dicom:CT%201"), ("URI", "https://elsewhere/XR1"))}, {"CT 1"}),
        (
            {"subject": ((("commonName", "A"), ("commonName", "B")),), "subjectAltName": (("DNS", "C"),)},
            {"A", "B", "C"},
        ),
    ],
)
def test_common_names_dns_names_and_dicom_uris_are_titles(certificate: dict[str, object], titles: set[str]) -> None:
    assert certificate_titles(certificate) == titles


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def receiver(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    server = authority.issue_cert("localhost")
    with running_receiver(
        tmp_path_factory.mktemp("store"),
        TLS_CERTIFICATE=server.cert_chain_pems[0].bytes().decode(),
        TLS_PRIVATE_KEY=server.private_key_pem.bytes().decode(),
        TLS_CLIENT_CA=authority.cert_pem.bytes().decode(),
        REQUIRE_CERTIFICATE_AE_TITLE="true",
    ) as process:
        yield process


def answer_to(receiver: ReceiverProcess, authority: trustme.CA, certificate: trustme.LeafCert, title: bytes) -> int:
    """The type of the PDU that answers a request by `title` with this certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    certificate.configure_cert(context)
    with (
        socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(associate_request(calling=title))
        return secured.recv(1)[0]


def test_a_title_needs_a_certificate_that_names_it(receiver: ReceiverProcess, authority: trustme.CA) -> None:
    by_name = authority.issue_cert("device.example", common_name="CT1")
    by_dns = authority.issue_cert("mr1", "mr2")
    assert answer_to(receiver, authority, by_name, b"CT1") == ACCEPTED
    assert answer_to(receiver, authority, by_dns, b"MR2") == ACCEPTED
    assert answer_to(receiver, authority, by_name, b"MR1") == REJECTED
    assert answer_to(receiver, authority, by_dns, b"CT1") == REJECTED
    assert answer_to(receiver, authority, by_name, b"ct1") == REJECTED


def test_failed_handshakes_are_counted_and_told_once(authority: trustme.CA, tmp_path: Path) -> None:
    server = authority.issue_cert("localhost")
    with running_receiver(
        tmp_path,
        TLS_CERTIFICATE=server.cert_chain_pems[0].bytes().decode(),
        TLS_PRIVATE_KEY=server.private_key_pem.bytes().decode(),
    ) as process:
        process.await_ready()
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", process.port), timeout=10) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    while plain.recv(100):
                        pass
        process.await_message("TLS handshake failed")
        assert process.stop() == 0
    assert len(process.messages("TLS handshake failed")) == 1
    assert sum(line.get("TlsHandshakesFailed", 0) for line in process.log) == 4
