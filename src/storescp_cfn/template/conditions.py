"""The template's conditions: which of its modes a stack is in."""

from __future__ import annotations

from typing import Any

from troposphere import And, Equals, If, Not, NoValue, Ref, Template

HAS_PEER_CIDR_1 = "HasPeerCIDR1"
HAS_PEER_CIDR_2 = "HasPeerCIDR2"
HAS_PEER_CIDR_3 = "HasPeerCIDR3"
IS_INTERNAL = "IsInternal"
HAS_TLS = "HasTLS"
HAS_ROUTE_TABLES = "HasPrivateRouteTables"
CREATES_DATASTORE = "CreatesDatastore"
HAS_KMS_KEY = "HasKmsKey"
HAS_ALARM_EMAIL = "HasAlarmEmail"


def _given(parameter: str) -> Not:
    """True when an optional parameter is not empty."""
    return Not(Equals(Ref(parameter), ""))


def _differs(parameter: str, *others: str) -> list[Not]:
    """True, each, when the parameter differs from another: EC2 refuses a group that says the same rule twice."""
    return [Not(Equals(Ref(parameter), Ref(other))) for other in others]


def conditions() -> dict[str, Any]:
    """Every condition by its name."""
    return {
        HAS_PEER_CIDR_1: _differs("PeerCIDR1", "VpcCIDR")[0],
        HAS_PEER_CIDR_2: And(_given("PeerCIDR2"), *_differs("PeerCIDR2", "VpcCIDR", "PeerCIDR1")),
        HAS_PEER_CIDR_3: And(_given("PeerCIDR3"), *_differs("PeerCIDR3", "VpcCIDR", "PeerCIDR1", "PeerCIDR2")),
        IS_INTERNAL: Equals(Ref("LoadBalancerScheme"), "internal"),
        HAS_TLS: _given("TLSCertificateARN"),
        HAS_ROUTE_TABLES: _given("PrivateRouteTableIDs"),
        CREATES_DATASTORE: Equals(Ref("DatastoreID"), ""),
        HAS_KMS_KEY: _given("KmsKeyARN"),
        HAS_ALARM_EMAIL: _given("AlarmEmail"),
    }


def with_key(value: Any) -> If:
    """A property that is there only with a customer's key."""
    return If(HAS_KMS_KEY, value, NoValue)


def kms_key() -> If:
    """The customer's key, or the property left out."""
    return with_key(Ref("KmsKeyARN"))


def add_to(template: Template) -> None:
    """Add every condition."""
    for name, condition in conditions().items():
        template.add_condition(name, condition)
