"""TLS in the receiver itself, as PS3.15 annex B.12 profiles BCP 195; client certificates where a CA is given."""

import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from storescp.settings import SettingError, Settings

# Forward secrecy and authenticated encryption only (RFC 9325 section 4.2); TLS 1.3 has nothing else.
TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_TITLE_URI: Final = "dicom:"
_PEM: Final = "-----BEGIN "
_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "the sender does not speak TLS",
    "HTTP_REQUEST": "the sender does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the sender speaks no TLS newer than 1.1",
    "VERSION_TOO_LOW": "the sender speaks no TLS newer than 1.1",
    "NO_SHARED_CIPHER": "the sender offers none of our cipher suites",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the sender has no client certificate",
}


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """The context that TLS_CERTIFICATE, TLS_PRIVATE_KEY and TLS_CLIENT_CA describe, or None if there are none.

    Raises `SettingError`, whose message never holds what a variable holds: it may be a key.
    """
    given = {
        "TLS_CERTIFICATE": settings.tls_certificate,
        "TLS_PRIVATE_KEY": settings.tls_private_key,
        "TLS_CLIENT_CA": settings.tls_client_ca,
    }
    if not any(given.values()):
        return None
    for name in ("TLS_CERTIFICATE", "TLS_PRIVATE_KEY"):
        if not given[name]:
            others = " and ".join(other for other, value in given.items() if value)
            raise SettingError(f"{name} is missing although {others} is set: TLS needs a certificate and its key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    # Nobody resumes an association, so no ticket keys to rotate.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_identity(context, _pem("TLS_CERTIFICATE", given), _pem("TLS_PRIVATE_KEY", given))
    if given["TLS_CLIENT_CA"]:
        _require_clients(context, _pem("TLS_CLIENT_CA", given))
    return context


def device_context(settings: Settings) -> ssl.SSLContext | None:
    """The context for reports to devices with a tls:// address, or None if there are none.

    Devices are trusted by TLS_CLIENT_CA, as when they send; their certificates seldom name the host, so its name is
    only checked against the system's authorities, where TLS_CLIENT_CA is not given. Raises `SettingError`.
    """
    if not any(address.is_tls for address in settings.commitments.devices.values()):
        return None
    given = {
        "TLS_CERTIFICATE": settings.tls_certificate,
        "TLS_PRIVATE_KEY": settings.tls_private_key,
        "TLS_CLIENT_CA": settings.tls_client_ca,
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    if given["TLS_CLIENT_CA"]:
        context.check_hostname = False
        _require_clients(context, _pem("TLS_CLIENT_CA", given))
    else:
        context.load_default_certs()
    if given["TLS_CERTIFICATE"] and given["TLS_PRIVATE_KEY"]:
        _load_identity(context, _pem("TLS_CERTIFICATE", given), _pem("TLS_PRIVATE_KEY", given))
    return context


def _pem(name: str, given: dict[str, str]) -> str:
    """PEM text: the value itself (as ECS injects a secret), or what is in the file that it names."""
    value = given[name]
    if _PEM not in value:
        try:
            value = Path(value).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no PEM text"
            raise SettingError(
                f"{name} cannot be read ({reason}): it must be PEM text, or the path of a PEM file"
            ) from error
    if _PEM not in value:
        raise SettingError(f"{name} holds no PEM: it must be PEM text, or the path of a PEM file")
    return value


def _load_identity(context: ssl.SSLContext, certificate: str, key: str) -> None:
    def refuse_passphrase() -> bytes:
        raise SettingError("TLS_PRIVATE_KEY is encrypted: it must be a PEM key without a passphrase")

    with _as_file(certificate) as certificate_file, _as_file(key) as key_file:
        try:
            context.load_cert_chain(certificate_file, key_file, password=refuse_passphrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SettingError("TLS_PRIVATE_KEY does not belong to TLS_CERTIFICATE") from error
            raise SettingError(
                "TLS_CERTIFICATE and TLS_PRIVATE_KEY are not a PEM certificate (chain) and its key, "
                f"RSA of 2048 bits or EC of 256 at least: {error.reason or 'no PEM of that kind'}"
            ) from error


def _require_clients(context: ssl.SSLContext, authorities: str) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    # The issuing CA alone is enough, or a device's own certificate: roots of the hospital's PKI need not be there.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=authorities)
    except ssl.SSLError as error:
        raise SettingError(f"TLS_CLIENT_CA holds no PEM certificate: {error.reason or 'it cannot be read'}") from error


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path to read `text` from, in memory: a key touches no disk, and the root file system is read-only."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, text.encode("ascii", "replace"))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def failure_reason(error: OSError) -> str:
    """Why a handshake failed: OpenSSL's reason in words, or what an operator has to know instead."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _REASONS.get(error.reason, error.reason.replace("_", " ").lower())
    return str(error)


def certificate_titles(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The AE titles that a client certificate names: common name, DNS names, and URIs `dicom:<AE title>`.

    `certificate` is what `ssl.SSLSocket.getpeercert` returns. Names are taken as they are, DNS names in
    capitals as well.
    """
    names = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "DNS":
            names += [value, value.upper()]  # DNS names are written in small letters, AE titles in capitals
        elif kind == "URI" and value.startswith(_TITLE_URI):
            names.append(unquote(value.removeprefix(_TITLE_URI)))
    return frozenset(names)
