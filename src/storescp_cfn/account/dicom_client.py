"""The DICOM legs of a test: name, TCP, TLS, C-ECHO and C-STORE, as a device would make them, with likely causes.

pynetdicom is the peer's own code, not the receiver's: what both misread alike would otherwise go unseen (ADR 21).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storescp_cfn.account.legs import LegFailed
from storescp_cfn.account.probe_study import CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN

CONNECT_SECONDS = 10
DIMSE_SECONDS = 30
VERIFICATION = "1.2.840.10008.1.1"
# PS3.8 table 9-21: result, source, reason of an A-ASSOCIATE-RJ.
REJECTIONS = {
    (1, 1, 7): (
        "the receiver does not know the Called AE Title {called}",
        "write the Called AE Title exactly as in the output DICOMAETitle",
    ),
    (1, 1, 3): (
        "the receiver does not accept the calling AE title {calling}",
        "add it to the parameter RequireCallingAETitle, or test with --calling and a title that is in it",
    ),
    (2, 3, 1): ("the receiver is busy or about to stop", "try again in a minute"),
    (2, 3, 2): ("the receiver's limit of associations is reached", "raise TaskDesiredCount or MaximumAssociations"),
}


@dataclass(frozen=True)
class Address:
    """Where a device sends to. ca_file: who signed the receiver's certificate, if it is no public authority."""

    host: str
    port: int
    called: str
    calling: str
    tls: bool = False
    ca_file: Path | None = None


def resolve(address: Address) -> str:
    """The name as an address. Raises LegFailed: when it has none."""
    try:
        found = sorted(
            {str(row[4][0]) for row in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)}
        )
    except OSError as error:
        raise LegFailed(
            f"{address.host} has no address here ({error.strerror or error}).",
            "copy the name from the output NetworkLoadBalancerDNS; with a VPN, ask whether it resolves AWS's names",
        ) from error
    return f"{address.host} is {', '.join(found)}."


def connect(address: Address, likely_cause: Callable[[str], tuple[str, str]]) -> str:
    """Open a TCP connection. Raises LegFailed: with the cause that `likely_cause(kind)` names.

    `likely_cause` gets `refused`, `timeout` or `network`.
    """
    try:
        with socket.create_connection((address.host, address.port), CONNECT_SECONDS) as connection:
            return f"connected from {connection.getsockname()[0]} to port {address.port}."
    except ConnectionRefusedError as error:
        raise LegFailed(*likely_cause("refused")) from error
    except TimeoutError as error:
        raise LegFailed(*likely_cause("timeout")) from error
    except OSError as error:
        cause, to_do = likely_cause("network")
        raise LegFailed(f"{cause} ({error.strerror or error})", to_do) from error


def tls_context(address: Address, checked: bool) -> ssl.SSLContext:
    """A client's context: TLS 1.2 or newer, as PS3.15 B.12 asks for."""
    context = ssl.create_default_context(cafile=str(address.ca_file) if address.ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def handshake(address: Address, warn: Callable[[str, str], None]) -> str:
    """Make the TLS handshake. A certificate that does not fit is a warning: many devices do not look at it.

    Raises LegFailed: when there is no TLS at all.
    """
    try:
        return _handshake(address, checked=True)
    except ssl.SSLCertVerificationError as error:
        warn(
            f"A device that checks certificates would refuse this one: {error.verify_message}.",
            "let devices use the name that is in the certificate (a CNAME of the load balancer), and give them the "
            "certificate of who signed it",
        )
    except (OSError, ssl.SSLError) as error:
        raise LegFailed(
            f"no TLS on port {address.port} ({error.strerror or error}).",
            "test without --tls, or launch the stack with TLSCertificateARN",
        ) from error
    try:
        return _handshake(address, checked=False)
    except (OSError, ssl.SSLError) as error:
        raise LegFailed(
            f"the TLS handshake fails ({error.strerror or error}).", "look at the receiver's log"
        ) from error


def _handshake(address: Address, checked: bool) -> str:
    with (
        socket.create_connection((address.host, address.port), CONNECT_SECONDS) as plain,
        tls_context(address, checked).wrap_socket(plain, server_hostname=address.host) as secured,
    ):
        cipher = secured.cipher()
        return f"{secured.version()}, {cipher[0] if cipher else 'no cipher'}."


@contextmanager
def _association(address: Address, sop_class_uid: str) -> Iterator[Any]:
    """An established association; afterwards it is released, and its socket closed. Raises LegFailed."""
    from pynetdicom import AE, evt

    opened: list[socket.socket] = []
    entity = AE(ae_title=address.calling)
    entity.connection_timeout = entity.acse_timeout = CONNECT_SECONDS
    entity.dimse_timeout = entity.network_timeout = DIMSE_SECONDS
    entity.add_requested_context(sop_class_uid, EXPLICIT_VR_LITTLE_ENDIAN)
    tls = (tls_context(address, checked=False), address.host) if address.tls else None
    # pynetdicom forgets its socket without closing it when the peer closes first.
    handlers = [(evt.EVT_CONN_OPEN, lambda event: opened.append(event.assoc.dul.socket.socket))]
    association = entity.associate(
        address.host, address.port, ae_title=address.called, tls_args=tls, evt_handlers=handlers
    )
    try:
        if not association.is_established:
            raise _not_established(association, address)
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(CONNECT_SECONDS)
        for connection in opened:
            connection.close()


def _not_established(association: Any, address: Address) -> LegFailed:
    """Why there is no association."""
    if association.is_rejected:
        primitive = association.acceptor.primitive
        key = (primitive.result, primitive.result_source, primitive.diagnostic)
        cause, to_do = REJECTIONS.get(key, (f"the association was rejected {key}", "look at the receiver's log"))
        return LegFailed(cause.format(called=address.called, calling=address.calling) + ".", to_do)
    return LegFailed(
        "something listens there that does not answer in DICOM, or closes the connection at once.",
        "check host and port; with a certificate in the stack, test with --tls",
    )


def echo(address: Address) -> str:
    """C-ECHO (PS3.4 annex A). Raises LegFailed."""
    with _association(address, VERIFICATION) as association:
        status = association.send_c_echo().get("Status")
    if status != 0:
        raise LegFailed(f"C-ECHO was answered with {_status(status)}.", "look at the receiver's log")
    return f"{address.called} answers {address.calling}."


def store(address: Address, instances: Sequence[Any]) -> str:
    """C-STORE of every instance (PS3.4 annex B). Raises LegFailed: when one is not answered with success."""
    with _association(address, CT_IMAGE_STORAGE) as association:
        for number, instance in enumerate(instances, 1):
            status = association.send_c_store(instance).get("Status") if association.is_established else None
            if status != 0:
                raise LegFailed(
                    f"image {number} was answered with {_status(status)}: it is not stored.",
                    "A7xx: try again in a minute, then look at the receiver's log; others: look at the receiver's log",
                )
    return f"{len(instances)} images acknowledged: they are in Amazon S3."


def _status(status: int | None) -> str:
    return "no status (the connection broke or was silent)" if status is None else f"status {status:04X}"


def leaves_as(fetch: Callable[[], str]) -> str:
    """The address under which this computer is seen on the internet; empty when it cannot be found out."""
    try:
        return str(ipaddress.ip_address(fetch().strip()))
    except (OSError, ValueError):
        return ""


def is_allowed(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks that may send (PeerCIDR1 to 3)."""
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(one, strict=False) for one in networks)
