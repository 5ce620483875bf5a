"""TLS in the receiver itself, as PS3.15 annex B.12 profiles BCP 195; client certificates where a CA is given.

A handshake is a task of its own with a time limit, so one that is slow, or that never comes, delays nobody.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from storescp.connections import ProtocolFactory
from storescp.log import Log
from storescp.settings import SettingError, Settings

# Forward secrecy and authenticated encryption only (RFC 9325 section 4.2); TLS 1.3 has nothing else.
TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_PEM: Final = "-----BEGIN "
_MAXIMUM_HANDSHAKES: Final = 1024  # at once; beyond it the oldest is given up
_RETRY_ACCEPT_SECONDS: Final = 0.1
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


class Handshakes:
    """Connections that are being secured."""

    def __init__(
        self, context: ssl.SSLContext, seconds: float, log: Log, connection_closed: Callable[[], None]
    ) -> None:
        """`seconds` for each of them; `connection_closed` is called for one that never became a connection of ours."""
        self._context = context
        self._seconds = seconds
        self._log = log
        self._connection_closed = connection_closed
        self._under_way: dict[asyncio.Task[bool], socket.socket] = {}  # oldest first

    def begin(self, factory: ProtocolFactory, connection: socket.socket) -> None:
        """Secure `connection` and give it to a protocol of `factory`; too many at once: the oldest is given up."""
        task = asyncio.get_running_loop().create_task(self._secure(factory, connection))
        self._under_way[task] = connection
        task.add_done_callback(self._done)
        if len(self._under_way) > _MAXIMUM_HANDSHAKES:
            next(iter(self._under_way)).cancel()

    def stop(self) -> None:
        """Give up those that are not done."""
        for task in self._under_way:
            task.cancel()

    async def _secure(self, factory: ProtocolFactory, connection: socket.socket) -> bool:
        """Say whether it became a connection of ours."""
        peer = _peer_of(connection)
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                factory,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=self._seconds,
            )
        except (ConnectionResetError, BrokenPipeError):  # it went away, as a load balancer's probe does
            self._log.debug("connection closed before the TLS handshake", peer=peer)
            return False
        except OSError as error:  # ssl.SSLError is one, and so is the time-out
            self._log.warning("TLS handshake failed", peer=peer, reason=_reason_of(error))
            return False
        # uvloop returns, too, when the connection is lost in the middle of the handshake.
        return transport.get_extra_info("ssl_object") is not None

    def _done(self, task: asyncio.Task[bool]) -> None:
        connection = self._under_way.pop(task)
        if task.cancelled() or not task.result():
            connection.close()
            self._connection_closed()


class SecuredPort:
    """The only process, with TLS: like `storescp.connections.OwnPort`, but each connection is secured first."""

    def __init__(self, listener: socket.socket, handshakes: Handshakes, log: Log) -> None:
        self._listener = listener
        self._handshakes = handshakes
        self._log = log
        self._is_open = True

    async def start(self, factory: ProtocolFactory, on_end: Callable[[], None]) -> None:
        """Accept."""
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._listen()

    def stop(self) -> None:
        """Close the port."""
        self._is_open = False
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._handshakes.stop()

    def _listen(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # out of descriptors or memory: the connection waits
            self._log.error("connection not accepted", detail=str(error))
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(_RETRY_ACCEPT_SECONDS, self._listen)
            return
        connection.setblocking(False)
        self._handshakes.begin(self._factory, connection)


def _peer_of(connection: socket.socket) -> str:
    try:
        host, port = connection.getpeername()[:2]
    except OSError:  # it has gone already
        return ""
    return f"{host}:{port}"


def _reason_of(error: OSError) -> str:
    """OpenSSL's reason in words, or what an operator has to know instead."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _REASONS.get(error.reason, error.reason.replace("_", " ").lower())
    return str(error)
