"""The template's modes: what a hospital may choose, combined so that every pair of choices stands in some mode."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:storescp/{}-AbCdEf"
ADMINISTRATOR = "arn:aws:iam::123456789012:role/PacsAdministrator"

Option = tuple[str, Mapping[str, str]]
Pair = tuple[tuple[int, str], tuple[int, str]]


@dataclass(frozen=True)
class Mode:
    """One combination, and the parameter values that choose it."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """What a hospital has in its account before it launches the stack, for the modes that use it."""

    certificate: str = CERTIFICATE
    key: str = KEY
    datastore: str = "0123456789abcdef0123456789abcdef"
    route_tables: str = "rtb-0a1b2c3d"
    certificate_secret: str = SECRET.format("certificate")
    key_secret: str = SECRET.format("key")
    client_ca_secret: str = SECRET.format("clients")
    administrator: str = ADMINISTRATOR


def choices(account: Account) -> list[list[Option]]:
    """Each question, with its answers and the parameter values that give them."""
    receiver_tls = {
        "TLSCertificateSecretARN": account.certificate_secret,
        "TLSKeySecretARN": account.key_secret,
    }
    client_ca = {"TLSClientCASecretARN": account.client_ca_secret, "RequireCertificateAETitle": "true"}
    mutual_tls = {**receiver_tls, **client_ca}
    endpoint = {"PrivateRouteTableIDs": account.route_tables}
    return [
        [("internet", {"LoadBalancerScheme": "internet-facing"}), ("internal", {"LoadBalancerScheme": "internal"})],
        [
            ("tcp", {}),
            ("tls", {"TLSCertificateARN": account.certificate}),
            ("receivertls", receiver_tls),
            ("mutualtls", mutual_tls),
        ],
        [("new", {}), ("existing", {"DatastoreID": account.datastore})],
        [("awskey", {}), ("ownkey", {"KmsKeyARN": account.key})],
        [("nat", {}), ("endpoint", endpoint), ("bound", {**endpoint, "OnlyThroughVPCEndpoint": "true"})],
        [("anybody", {}), ("administrator", {"AdministratorARN": account.administrator})],
        [("quiet", {}), ("watched", {"AlarmEmail": "pacs-team@hospital.example", "SilenceHours": "24"})],
    ]


def modes(account: Account | None = None) -> list[Mode]:
    """A combination of answers for every pair of answers to different questions; always the same ones."""
    return [_mode(picked) for picked in pairwise(choices(account or Account()))]


def _mode(picked: Sequence[Option]) -> Mode:
    names = [name for name, _ in picked]
    values = {key: value for _, parameters in picked for key, value in parameters.items()}
    if names[:2] == ["internet", "tcp"]:
        values["AllowUnencryptedInternet"] = "true"
    return Mode("-".join(names), values)


def pairwise(questions: Sequence[Sequence[Option]]) -> list[tuple[Option, ...]]:
    """Greedy: again and again the combination with most pairs that none before it has."""
    candidates = list(itertools.product(*questions))
    missing = {pair for candidate in candidates for pair in _pairs(candidate)}
    picked = []
    while missing:
        best = max(candidates, key=lambda candidate: len(_pairs(candidate) & missing))
        missing -= _pairs(best)
        picked.append(best)
    return picked


def _pairs(candidate: Sequence[Option]) -> set[Pair]:
    return set(itertools.combinations([(number, name) for number, (name, _) in enumerate(candidate)], 2))


# A network as the guide describes it, for evaluation without an account; a VPN encrypts.
EXAMPLE_NETWORK = {
    "VpcID": "vpc-0a1b2c3d",
    "PublicSubnetIDs": "subnet-0aa11111,subnet-0bb22222",
    "PrivateSubnetIDs": "subnet-0cc33333,subnet-0dd44444",
    "SecurityGroupID": "sg-0a1b2c3d",
    "VpcCIDR": "10.0.0.0/16",
    "PeerCIDR1": "203.0.113.0/24",
    "LoadBalancerScheme": "internal",
}
EXAMPLE_SUBNETS = {
    subnet: {"VpcId": EXAMPLE_NETWORK["VpcID"], "AvailabilityZone": f"us-east-1{'ab'[number % 2]}"}
    for number, subnet in enumerate(
        f"{EXAMPLE_NETWORK['PublicSubnetIDs']},{EXAMPLE_NETWORK['PrivateSubnetIDs']}".split(",")
    )
}
