"""The template's conditions: which of its modes a stack is in."""

from __future__ import annotations

from troposphere import And, Equals, Not, Ref, Template

HAS_PEER_CIDR_1 = "HasPeerCIDR1"
HAS_PEER_CIDR_2 = "HasPeerCIDR2"
HAS_PEER_CIDR_3 = "HasPeerCIDR3"


def given(parameter: str) -> Not:
    """True when an optional parameter is not empty."""
    return Not(Equals(Ref(parameter), ""))


def differ(parameter: str, *others: str) -> list[Not]:
    """True, each, when the parameter differs from another: EC2 refuses a group that says the same rule twice."""
    return [Not(Equals(Ref(parameter), Ref(other))) for other in others]


def add_to(template: Template) -> None:
    """Add every condition."""
    template.add_condition(HAS_PEER_CIDR_1, *differ("PeerCIDR1", "VpcCIDR"))
    template.add_condition(HAS_PEER_CIDR_2, And(given("PeerCIDR2"), *differ("PeerCIDR2", "VpcCIDR", "PeerCIDR1")))
    template.add_condition(
        HAS_PEER_CIDR_3, And(given("PeerCIDR3"), *differ("PeerCIDR3", "VpcCIDR", "PeerCIDR1", "PeerCIDR2"))
    )
