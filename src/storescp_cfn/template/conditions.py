"""The template's conditions: which of its modes a stack is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troposphere import And, Equals, If, Not, NoValue, Or, Ref, Template

HAS_PEER_CIDR_1 = "HasPeerCIDR1"
HAS_PEER_CIDR_2 = "HasPeerCIDR2"
HAS_PEER_CIDR_3 = "HasPeerCIDR3"
IS_INTERNAL = "IsInternal"
HAS_TLS = "HasTLS"
HAS_RECEIVER_TLS = "HasReceiverTLS"
HAS_RECEIVER_KEY = "HasReceiverKey"
HAS_CLIENT_CA = "HasClientCA"
HAS_ROUTE_TABLES = "HasPrivateRouteTables"
IS_BOUND_TO_ENDPOINT = "IsBoundToEndpoint"
CREATES_DATASTORE = "CreatesDatastore"
HAS_KMS_KEY = "HasKmsKey"
HAS_ADMINISTRATOR = "HasAdministrator"
HAS_ALARM_EMAIL = "HasAlarmEmail"
WATCHES_SILENCE = "WatchesSilence"
HAS_OWN_IMAGE = "HasOwnImage"


def _given(parameter: str) -> Not:
    """True when an optional parameter is not empty."""
    return Not(Equals(Ref(parameter), ""))


def _is_true(parameter: str) -> Equals:
    return Equals(Ref(parameter), "true")


def _differs(parameter: str, *others: str) -> list[Not]:
    """True, each, when the parameter differs from another: EC2 refuses a group that says the same rule twice."""
    return [Not(Equals(Ref(parameter), Ref(other))) for other in others]


def conditions(images_that_are_no_choice: Sequence[str]) -> dict[str, Any]:
    """Every condition by its name."""
    not_chosen = [Equals(Ref("ContainerImage"), image) for image in images_that_are_no_choice]
    return {
        HAS_PEER_CIDR_1: _differs("PeerCIDR1", "VpcCIDR")[0],
        HAS_PEER_CIDR_2: And(_given("PeerCIDR2"), *_differs("PeerCIDR2", "VpcCIDR", "PeerCIDR1")),
        HAS_PEER_CIDR_3: And(_given("PeerCIDR3"), *_differs("PeerCIDR3", "VpcCIDR", "PeerCIDR1", "PeerCIDR2")),
        IS_INTERNAL: Equals(Ref("LoadBalancerScheme"), "internal"),
        HAS_TLS: _given("TLSCertificateARN"),
        HAS_RECEIVER_TLS: _given("TLSCertificateSecretARN"),
        HAS_RECEIVER_KEY: _given("TLSKeySecretARN"),
        HAS_CLIENT_CA: _given("TLSClientCASecretARN"),
        HAS_ROUTE_TABLES: _given("PrivateRouteTableIDs"),
        IS_BOUND_TO_ENDPOINT: _is_true("OnlyThroughVPCEndpoint"),
        CREATES_DATASTORE: Equals(Ref("DatastoreID"), ""),
        HAS_KMS_KEY: _given("KmsKeyARN"),
        HAS_ADMINISTRATOR: _given("AdministratorARN"),
        HAS_ALARM_EMAIL: _given("AlarmEmail"),
        WATCHES_SILENCE: Not(Equals(Ref("SilenceHours"), "0")),
        HAS_OWN_IMAGE: Not(Or(*not_chosen)),
    }


def with_key(value: Any) -> If:
    """A property that is there only with a customer's key."""
    return If(HAS_KMS_KEY, value, NoValue)


def kms_key() -> If:
    """The customer's key, or the property left out."""
    return with_key(Ref("KmsKeyARN"))


def add_to(template: Template, images_that_are_no_choice: Sequence[str]) -> None:
    """Add every condition."""
    for name, condition in conditions(images_that_are_no_choice).items():
        template.add_condition(name, condition)
