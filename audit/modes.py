"""The template's modes: every yes-or-no choice of a hospital, in every combination."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@dataclass(frozen=True)
class Mode:
    """One combination, and the parameter values that choose it."""

    name: str
    parameters: Mapping[str, str]


def modes(
    *,
    certificate: str = CERTIFICATE,
    key: str = KEY,
    datastore: str = "0123456789abcdef0123456789abcdef",
    route_tables: str = "rtb-0a1b2c3d",
) -> list[Mode]:
    """All thirty-two: load balancer public or internal; TLS, existing data store, own key and endpoint, or not."""
    choices: list[list[tuple[str, dict[str, str]]]] = [
        [("internet", {"LoadBalancerScheme": "internet-facing"}), ("internal", {"LoadBalancerScheme": "internal"})],
        [("tcp", {}), ("tls", {"TLSCertificateARN": certificate})],
        [("new", {}), ("existing", {"DatastoreID": datastore})],
        [("awskey", {}), ("ownkey", {"KmsKeyARN": key})],
        [("nat", {}), ("endpoint", {"PrivateRouteTableIDs": route_tables})],
    ]
    return [
        Mode("-".join(name for name, _ in picked), {k: v for _, values in picked for k, v in values.items()})
        for picked in itertools.product(*choices)
    ]


# A network as the guide describes it, for evaluation without an account.
EXAMPLE_NETWORK = {
    "VpcID": "vpc-0a1b2c3d",
    "PublicSubnetIDs": "subnet-0aa11111,subnet-0bb22222",
    "PrivateSubnetIDs": "subnet-0cc33333,subnet-0dd44444",
    "SecurityGroupID": "sg-0a1b2c3d",
    "VpcCIDR": "10.0.0.0/16",
    "PeerCIDR1": "203.0.113.0/24",
}
EXAMPLE_SUBNETS = {
    subnet: {"VpcId": EXAMPLE_NETWORK["VpcID"], "AvailabilityZone": f"us-east-1{'ab'[number % 2]}"}
    for number, subnet in enumerate(
        f"{EXAMPLE_NETWORK['PublicSubnetIDs']},{EXAMPLE_NETWORK['PrivateSubnetIDs']}".split(",")
    )
}
