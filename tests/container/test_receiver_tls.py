"""TLS in the receiver: real handshakes and real senders against a real process.

Covers listeners.py, tls.py.
"""

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pynetdicom import AE

from storescp.settings import SettingError, read_settings
from storescp.tls import server_context
from storescp_cfn.local.study import synthetic_ct
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, RawSender, associate_request, data_set
from tests.testkit.receiver_process import ReceiverProcess, receiver_environment, running_receiver, wait_for

STORESCU = "/usr/bin/storescu"


def data_set_of(file: bytes) -> bytes:
    """What follows the file meta information, which begins with its own length (PS3.10 section 7.1)."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice that dcmtk encodes as it is in the file."""
    return synthetic_ct(tmp_path_factory.mktemp("ct"), 1)[0].path


@dataclass(frozen=True)
class Identity:
    """A certificate authority's leaf: PEM texts, and files of the same."""

    certificate: str
    key: str
    certificate_file: Path
    key_file: Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.text = self._ca.cert_pem.bytes().decode()
        self.file.write_text(self.text)

    def issue(self, name: str) -> Identity:
        leaf = self._ca.issue_cert(name)
        certificate = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        certificate_file, key_file = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate_file.write_bytes(certificate)
        leaf.private_key_pem.write_to_path(key_file)
        return Identity(certificate.decode(), leaf.private_key_pem.bytes().decode(), certificate_file, key_file)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the receiver does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.issue("localhost")


@pytest.fixture(scope="module")
def device(authority: Authority) -> Identity:
    return authority.issue("ct1")


@pytest.fixture(scope="module", params=["1", "2"], ids=["one process", "two workers"])
def receiver(
    server: Identity, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ReceiverProcess]:
    """A receiver whose certificate and key come as text, as ECS injects secrets."""
    with running_receiver(
        tmp_path_factory.mktemp("plain-tls"),
        TLS_CERTIFICATE=server.certificate,
        TLS_PRIVATE_KEY=server.key,
        WORKERS=request.param,
        ARTIM_TIMEOUT="3",
    ) as process:
        process.await_ready()
        yield process
        assert process.stop() == 0
        assert request.param != "1" or process.other_output == []


@pytest.fixture(scope="module")
def mutual(
    server: Identity, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReceiverProcess]:
    """A receiver that requires client certificates; everything comes as files."""
    with running_receiver(
        tmp_path_factory.mktemp("mutual-tls"),
        TLS_CERTIFICATE=str(server.certificate_file),
        TLS_PRIVATE_KEY=str(server.key_file),
        TLS_CLIENT_CA=str(authority.file),
    ) as process:
        process.await_ready()
        yield process
        assert process.stop() == 0
        assert process.other_output == []


def client_context(authority: Authority, identity: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if identity is not None:
        context.load_cert_chain(identity.certificate_file, identity.key_file)
    return context


def secure(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30), server_hostname="localhost")


def store(connection: ssl.SSLSocket, instance: str, data: bytes) -> int:
    """Store one instance over a secured connection; the status."""
    sender = RawSender.__new__(RawSender)
    sender.socket = connection
    sender.send(associate_request())
    assert sender.receive_pdu()[0] == 0x02
    status = sender.store(instance, data=data).status
    sender.release()
    return status


def is_refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether no association can be had; in TLS 1.3 a client learns of a refused certificate only afterwards."""
    try:
        with secure(port, context) as connection:
            connection.sendall(associate_request())
            return connection.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_is_acknowledged_over_tls_is_stored_byte_for_byte(
    receiver: ReceiverProcess, authority: Authority, version: ssl.TLSVersion
) -> None:
    """Data of many TLS records and many PDUs, so that records and PDUs end at different places."""
    context = client_context(authority)
    context.minimum_version = context.maximum_version = version
    instance = f"1.2.826.{int(version)}"
    data = data_set(instance, pixels=bytes(range(256)) * 8_111)
    with secure(receiver.port, context) as connection:
        assert connection.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
        assert store(connection, instance, data) == 0
    assert data_set_of(receiver.stored()[instance]) == data


def test_dcmtk_sends_over_tls(receiver: ReceiverProcess, authority: Authority, ct: Path) -> None:
    command = [STORESCU, "+tla", "-ic", "+cf", str(authority.file), "-aec", "STORESCP", "127.0.0.1", str(receiver.port)]
    done = subprocess.run([*command, str(ct)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert data_set_of(ct.read_bytes()) in map(data_set_of, receiver.stored().values())


def test_dcmtk_sends_with_a_client_certificate(
    mutual: ReceiverProcess, authority: Authority, device: Identity, ct: Path
) -> None:
    command = [STORESCU, "+tls", str(device.key_file), str(device.certificate_file), "-ic", "+cf", str(authority.file)]
    command += ["-aec", "STORESCP", "127.0.0.1", str(mutual.port), str(ct)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert data_set_of(ct.read_bytes()) in map(data_set_of, mutual.stored().values())


def test_pynetdicom_sends_with_a_client_certificate(
    mutual: ReceiverProcess, authority: Authority, device: Identity, ct: Path
) -> None:
    dataset = pydicom.dcmread(ct)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    entity = AE()
    entity.add_requested_context(CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
    association = entity.associate(
        "127.0.0.1", mutual.port, tls_args=(client_context(authority, device), "localhost"), ae_title="STORESCP"
    )
    assert association.is_established
    assert association.send_c_store(dataset).Status == 0
    association.release()
    assert str(dataset.SOPInstanceUID) in mutual.stored()


def test_without_a_certificate_that_the_ca_signed_nobody_gets_in(
    mutual: ReceiverProcess, authority: Authority, stranger: Authority, device: Identity
) -> None:
    assert is_refused(mutual.port, client_context(authority))
    assert is_refused(mutual.port, client_context(authority, stranger.issue("ct1")))
    assert not is_refused(mutual.port, client_context(authority, device))
    reasons = [line["reason"] for line in mutual.await_message("TLS handshake failed", 2)]
    assert reasons[0] == "the sender has no client certificate"
    assert reasons[1].startswith("the client's certificate was refused: ")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(receiver: ReceiverProcess, authority: Authority) -> None:
    context = client_context(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert is_refused(receiver.port, context)
    reasons = [line["reason"] for line in receiver.await_message("TLS handshake failed")]
    assert "the sender speaks no TLS newer than 1.1" in reasons


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"])
def test_tls_1_2_without_forward_secrecy_on_curves_or_without_aead_is_refused(
    receiver: ReceiverProcess, authority: Authority, cipher: str
) -> None:
    context = client_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    assert is_refused(receiver.port, context)


def test_a_plain_sender_is_turned_away_and_harms_nobody(receiver: ReceiverProcess, authority: Authority) -> None:
    with RawSender(receiver.port, associate=False) as plain:
        plain.send(associate_request())
        assert plain.is_closed_by_peer()
    with secure(receiver.port, client_context(authority)) as connection:
        assert store(connection, "1.2.826.20", data_set("1.2.826.20")) == 0
    reasons = [line["reason"] for line in receiver.await_message("TLS handshake failed")]
    assert "the sender does not speak TLS" in reasons


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "half a ClientHello"])
def test_handshakes_that_never_end_delay_nobody_and_are_given_up(
    receiver: ReceiverProcess, authority: Authority, beginning: bytes
) -> None:
    slow = [RawSender(receiver.port, associate=False) for _ in range(50)]
    try:
        for sender in slow:
            sender.send(beginning)
        with secure(receiver.port, client_context(authority)) as connection:
            assert store(connection, "1.2.826.30", data_set("1.2.826.30")) == 0
        assert all(sender.is_closed_by_peer() for sender in slow)
    finally:
        for sender in slow:
            sender.socket.close()


def test_more_handshakes_than_are_allowed_at_once_end_the_oldest(
    receiver: ReceiverProcess, authority: Authority
) -> None:
    """1,024 a process; two workers share 2,100 between them."""
    senders = [RawSender(receiver.port, associate=False) for _ in range(1_100 if is_single(receiver) else 2_100)]
    try:
        with secure(receiver.port, client_context(authority)) as connection:
            assert store(connection, "1.2.826.40", data_set("1.2.826.40")) == 0
        assert senders[0].is_closed_by_peer()
        assert receiver.http_status("/readyz") == 200
    finally:
        for sender in senders:
            sender.socket.close()


def is_single(receiver: ReceiverProcess) -> bool:
    return bool(receiver.messages("receiver started")[0]["workers"] == 1)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_a_probe_that_connects_and_goes_leaves_no_trace(
    server: Identity, authority: Authority, tmp_path: Path, reset: bool
) -> None:
    with running_receiver(tmp_path, TLS_CERTIFICATE=server.certificate, TLS_PRIVATE_KEY=server.key) as process:
        for _ in range(5):
            probe = socket.create_connection(("127.0.0.1", process.port), 10)
            if reset:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            probe.close()
        with secure(process.port, client_context(authority)) as connection:
            assert store(connection, "1.2.826.50", data_set("1.2.826.50")) == 0
        assert process.stop() == 0
        assert process.other_output == []
        assert [line["message"] for line in process.log if line.get("level") in ("WARNING", "ERROR")] == []


def test_descriptors_are_back_after_failed_handshakes(server: Identity, authority: Authority, tmp_path: Path) -> None:
    with running_receiver(
        tmp_path, TLS_CERTIFICATE=server.certificate, TLS_PRIVATE_KEY=server.key, ARTIM_TIMEOUT="1"
    ) as process:
        process.await_ready()
        descriptors = Path(f"/proc/{process.process.pid}/fd")
        with secure(process.port, client_context(authority)) as connection:
            assert store(connection, "1.2.826.60", data_set("1.2.826.60")) == 0
        wait_for(lambda: process.messages("association ended"), 10, "the end of the association")
        time.sleep(0.5)
        before = len(list(descriptors.iterdir()))
        for _ in range(20):
            with RawSender(process.port, associate=False) as plain:
                plain.send(associate_request())
                assert plain.is_closed_by_peer()
        silent = [RawSender(process.port, associate=False) for _ in range(20)]
        assert all(sender.is_closed_by_peer() for sender in silent)
        for sender in silent:
            sender.socket.close()
        wait_for(lambda: len(list(descriptors.iterdir())) <= before, 10, "the descriptors")
        assert process.stop() == 0


def test_sigterm_ends_handshakes_at_once(server: Identity, tmp_path: Path) -> None:
    with running_receiver(
        tmp_path, TLS_CERTIFICATE=server.certificate, TLS_PRIVATE_KEY=server.key, ARTIM_TIMEOUT="3600"
    ) as process:
        process.await_ready()
        with RawSender(process.port, associate=False) as silent:
            time.sleep(0.2)
            process.terminate()
            assert silent.is_closed_by_peer()
            assert process.wait() == 0
        assert process.other_output == []


Given = Callable[[Identity, Identity, Authority], dict[str, str]]
BAD_SETTINGS: dict[str, tuple[Given, str]] = {
    "no key": (lambda s, d, a: {"TLS_CERTIFICATE": s.certificate}, "TLS_PRIVATE_KEY is missing"),
    "no certificate": (lambda s, d, a: {"TLS_PRIVATE_KEY": s.key}, "TLS_CERTIFICATE is missing"),
    "a CA alone": (lambda s, d, a: {"TLS_CLIENT_CA": a.text}, "TLS_CERTIFICATE is missing although TLS_CLIENT_CA"),
    "another's key": (
        lambda s, d, a: {"TLS_CERTIFICATE": s.certificate, "TLS_PRIVATE_KEY": d.key},
        "TLS_PRIVATE_KEY does not belong to TLS_CERTIFICATE",
    ),
    "a missing file": (
        lambda s, d, a: {"TLS_CERTIFICATE": "/nowhere/a.pem", "TLS_PRIVATE_KEY": s.key},
        "TLS_CERTIFICATE cannot be read (No such file or directory)",
    ),
    "no PEM in it": (
        lambda s, d, a: {"TLS_CERTIFICATE": __file__, "TLS_PRIVATE_KEY": s.key},
        "TLS_CERTIFICATE holds no PEM",
    ),
    "the two mixed up": (
        lambda s, d, a: {"TLS_CERTIFICATE": s.key, "TLS_PRIVATE_KEY": s.certificate},
        "TLS_CERTIFICATE and TLS_PRIVATE_KEY are not",
    ),
    "a key cut short": (
        lambda s, d, a: {"TLS_CERTIFICATE": s.certificate, "TLS_PRIVATE_KEY": s.key[:200]},
        "TLS_CERTIFICATE and TLS_PRIVATE_KEY are not",
    ),
    "a CA that is a key": (
        lambda s, d, a: {"TLS_CERTIFICATE": s.certificate, "TLS_PRIVATE_KEY": s.key, "TLS_CLIENT_CA": s.key},
        "TLS_CLIENT_CA holds no PEM certificate",
    ),
}


@pytest.mark.parametrize(("given", "sentence"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_refused_in_a_sentence_that_shows_no_key(
    given: Given, sentence: str, server: Identity, device: Identity, authority: Authority
) -> None:
    environment = given(server, device, authority)
    with pytest.raises(SettingError) as refused:
        server_context(read_settings(environment, 1))
    assert sentence in str(refused.value)
    secret = server.key.splitlines()[2]
    assert secret not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_with_a_passphrase_is_refused_instead_of_asked_for(server: Identity, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(server.key.encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    ).decode()
    environment = {"TLS_CERTIFICATE": server.certificate, "TLS_PRIVATE_KEY": encrypted}
    with pytest.raises(SettingError, match="TLS_PRIVATE_KEY is encrypted"):
        server_context(read_settings(environment, 1))


def test_the_receiver_ends_with_2_before_it_opens_a_port(server: Identity, tmp_path: Path) -> None:
    environment = receiver_environment(tmp_path, TLS_CERTIFICATE=server.certificate)
    done = subprocess.run(
        [sys.executable, "-m", "storescp"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and "TLS_PRIVATE_KEY is missing" in done.stderr
