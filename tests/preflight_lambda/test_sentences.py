"""Covers network_checks.py, subnet_checks.py and resource_checks.py of preflight_lambda: a state for each sentence."""

# A case changes the account in one expression, and what its parts return does not matter.
# mypy: disable-error-code="func-returns-value"

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from audit import modes
from preflight_lambda.facts import Facts
from preflight_lambda.handler import findings

PUBLIC, PRIVATE = ["subnet-0aa", "subnet-0bb"], ["subnet-0cc", "subnet-0dd"]
SECRET = modes.SECRET.format("key")
GIVEN: dict[str, Any] = {
    "RequestType": "Create",
    "Region": "us-east-1",
    "VpcID": "vpc-1",
    "VpcCIDR": "10.0.0.0/16",
    "PublicSubnetIDs": PUBLIC,
    "PrivateSubnetIDs": PRIVATE,
    "SecurityGroupID": "sg-1",
    "PrivateRouteTableIDs": "",
    "OnlyThroughVPCEndpoint": "false",
    "LoadBalancerScheme": "internet-facing",
    "TLSCertificateARN": modes.CERTIFICATE,
    "KmsKeyARN": modes.KEY,
    "DatastoreID": "0123456789abcdef0123456789abcdef",
    "AutoscaleMaxCapacity": "4",
    "CpuArchitecture": "X86_64",
    "CommitmentDevices": "CT1=10.0.0.5:104,MR1=10.0.0.6:104",
    "ContainerImage": "709825985650.dkr.ecr.us-east-1.amazonaws.com/storescp:1",
    "Secrets": [SECRET],
}


def healthy() -> Facts:
    """An account in which nothing stands in the way."""
    return Facts(
        vpc={"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"},
        subnets=[
            {"SubnetId": name, "AvailableIpAddressCount": 200, "AvailabilityZoneId": f"use1-az{number % 2 + 1}"}
            for number, name in enumerate(PUBLIC + PRIVATE)
        ],
        route_tables=[
            {
                "RouteTableId": "rtb-main",
                "Associations": [{"Main": True}],
                "Routes": [{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}],
            },
            _table("rtb-public", PUBLIC, GatewayId="igw-1"),
            _table("rtb-private", PRIVATE, NatGatewayId="nat-1"),
        ],
        security_group={
            "GroupId": "sg-1",
            "VpcId": "vpc-1",
            "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        },
        certificate={"Status": "ISSUED"},
        key={"KeyState": "Enabled", "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"},
        datastore={"datastoreStatus": "ACTIVE"},
        secrets={SECRET: {"ARN": SECRET}},
    )


def _table(name: str, subnets: list[str], **target: str) -> dict[str, Any]:
    return {
        "RouteTableId": name,
        "Associations": [{"SubnetId": subnet} for subnet in subnets],
        "Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **target}],
    }


def endpoint(service: str, kind: str = "Interface", **properties: Any) -> dict[str, Any]:
    return {
        "VpcEndpointId": f"vpce-{service}",
        "ServiceName": f"com.amazonaws.us-east-1.{service}",
        "VpcEndpointType": kind,
        "State": "available",
        "PrivateDnsEnabled": True,
        **properties,
    }


S3_GATEWAY = endpoint("s3", "Gateway", RouteTableIds=["rtb-private"])
ALL_ENDPOINTS = [endpoint(name) for name in ("ecr.api", "ecr.dkr", "logs", "secretsmanager")] + [S3_GATEWAY]


def private(facts: Facts) -> dict[str, Any]:
    return facts.route_tables[2]


Change = Callable[[Facts, dict[str, Any]], Any]

CASES: list[tuple[str, Change, str]] = [
    ("no VPC", lambda f, g: setattr(f, "vpc", None), "VpcID: there is no VPC vpc-1 in this Region."),
    (
        "another range",
        lambda f, g: g.update(VpcCIDR="10.1.0.0/16"),
        "VpcCIDR: 10.1.0.0/16 is no address range of vpc-1, which has 10.0.0.0/16.",
    ),
    (
        "a range that is being taken away",
        lambda f, g: f.vpc.update(  # type: ignore[union-attr]
            CidrBlockAssociationSet=[
                {"CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "disassociating"}},
                {"CidrBlock": "10.9.0.0/16", "CidrBlockState": {"State": "associated"}},
            ]
        ),
        "which has 10.9.0.0/16.",
    ),
    (
        "no way out",
        lambda f, g: private(f).update(Routes=[]),
        "PrivateSubnetIDs: subnet-0cc has no way out: its route table rtb-private has no default route. Add a "
        "route for 0.0.0.0/0 to a NAT gateway or a transit gateway, or create VPC endpoints with private DNS for "
        "ecr.api, ecr.dkr, logs, s3, secretsmanager.",
    ),
    (
        "no route table of its own, and the main one leads nowhere",
        lambda f, g: private(f).update(Associations=[]),
        "subnet-0dd has no way out: its route table rtb-main has no default route",
    ),
    (
        "an endpoint is missing",
        lambda f, g: (private(f).update(Routes=[]), f.endpoints.extend(ALL_ENDPOINTS[1:])),
        "or create VPC endpoints with private DNS for ecr.api.",
    ),
    (
        "an endpoint without private DNS",
        lambda f, g: (
            private(f).update(Routes=[]),
            f.endpoints.extend([endpoint("ecr.api", PrivateDnsEnabled=False), *ALL_ENDPOINTS[1:]]),
        ),
        "or create VPC endpoints with private DNS for ecr.api.",
    ),
    (
        "endpoints, and an image in another Region",
        lambda f, g: (
            private(f).update(Routes=[]),
            f.endpoints.extend(ALL_ENDPOINTS),
            g.update(ContainerImage="1.dkr.ecr.us-west-2.amazonaws.com/x:1"),
        ),
        "VPC endpoints do not reach the container registry, which is in us-west-2.",
    ),
    (
        "a NAT gateway that was deleted",
        lambda f, g: private(f)["Routes"][0].update(State="blackhole"),
        "the default route of rtb-private leads to nat-1, which no longer exists.",
    ),
    (
        "a public subnet for the receivers",
        lambda f, g: f.route_tables.__setitem__(2, _table("rtb-private", PRIVATE, GatewayId="igw-1")),
        "PrivateSubnetIDs: subnet-0cc is a public subnet: its default route leads to the internet gateway igw-1",
    ),
    (
        "a private subnet for the load balancer",
        lambda f, g: g.update(PublicSubnetIDs=PRIVATE),
        "PublicSubnetIDs: subnet-0cc is not public: rtb-private has no default route to an internet gateway",
    ),
    (
        "no room for the load balancer",
        lambda f, g: f.subnets[0].update(AvailableIpAddressCount=7),
        "Subnet subnet-0aa has 7 free addresses, and a load balancer needs 8 in each of its subnets.",
    ),
    (
        "no room for receivers",
        lambda f, g: [subnet.update(AvailableIpAddressCount=3) for subnet in f.subnets[2:]],
        "PrivateSubnetIDs: the private subnets have 6 free addresses together, and 4 receivers need 8",
    ),
    (
        "no Arm processors",
        lambda f, g: (g.update(CpuArchitecture="ARM64"), f.subnets[3].update(AvailabilityZoneId="use1-az3")),
        "CpuArchitecture: Fargate has no ARM64 in use1-az3, where subnet-0dd is.",
    ),
    (
        "no security group",
        lambda f, g: setattr(f, "security_group", None),
        "SecurityGroupID: there is no security group sg-1 in this Region.",
    ),
    (
        "another VPC's security group",
        lambda f, g: f.security_group.update(VpcId="vpc-2"),  # type: ignore[union-attr]
        "SecurityGroupID: sg-1 belongs to vpc-2, not to vpc-1.",
    ),
    (
        "no HTTPS out",
        lambda f, g: f.security_group.update(  # type: ignore[union-attr]
            IpPermissionsEgress=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}]
        ),
        "SecurityGroupID: sg-1 lets no HTTPS out",
    ),
    (
        "a route table of another VPC",
        lambda f, g: g.update(PrivateRouteTableIDs="rtb-other"),
        "PrivateRouteTableIDs: rtb-other is no route table of vpc-1.",
    ),
    (
        "an endpoint that is there already",
        lambda f, g: (g.update(PrivateRouteTableIDs="rtb-private"), f.endpoints.append(S3_GATEWAY)),
        "PrivateRouteTableIDs: rtb-private has an endpoint for Amazon S3 already, vpce-s3. Leave it out.",
    ),
    (
        "bound to an endpoint that is not there",
        lambda f, g: g.update(OnlyThroughVPCEndpoint="true"),
        "OnlyThroughVPCEndpoint: vpc-1 has no endpoint for Amazon S3",
    ),
    (
        "a certificate of another Region",
        lambda f, g: g.update(TLSCertificateARN=modes.CERTIFICATE.replace("us-east-1", "eu-west-1")),
        "is in eu-west-1, and this stack is in us-east-1. Name one of us-east-1.",
    ),
    (
        "no certificate",
        lambda f, g: setattr(f, "certificate", None),
        f"TLSCertificateARN: there is no certificate {modes.CERTIFICATE}.",
    ),
    (
        "a certificate that waits for validation",
        lambda f, g: setattr(f, "certificate", {"Status": "PENDING_VALIDATION"}),
        "is PENDING_VALIDATION, not ISSUED. Validate or renew it",
    ),
    (
        "no secret",
        lambda f, g: f.secrets.update({SECRET: None}),
        f"TLS secrets: there is no secret {SECRET}.",
    ),
    (
        "a secret of another Region",
        lambda f, g: (f.secrets.clear(), f.secrets.update({SECRET.replace("us-east-1", "us-west-2"): None})),
        "is in us-west-2, and this stack is in us-east-1.",
    ),
    (
        "a secret that is about to go",
        lambda f, g: f.secrets.update({SECRET: {"DeletedDate": "2026-11-24"}}),
        "is about to be deleted. Restore it, or name another.",
    ),
    (
        "a key of another Region",
        lambda f, g: g.update(KmsKeyARN=modes.KEY.replace("us-east-1", "eu-west-2")),
        "KmsKeyARN: the key ",
    ),
    ("no key", lambda f, g: setattr(f, "key", None), f"KmsKeyARN: there is no key {modes.KEY}."),
    (
        "a disabled key",
        lambda f, g: f.key.update(KeyState="Disabled"),  # type: ignore[union-attr]
        "is Disabled, not Enabled. Enable it in AWS KMS",
    ),
    (
        "a key for signatures",
        lambda f, g: f.key.update(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY"),  # type: ignore[union-attr]
        "is of the kind RSA_2048 for SIGN_VERIFY. Name a symmetric key",
    ),
    (
        "a device with two addresses",
        lambda f, g: g.update(CommitmentDevices="CT1=10.0.0.5:104,CT1=10.0.0.6:104"),
        "CommitmentDevices: CT1 is named twice. Give each AE title one address.",
    ),
    (
        "no data store",
        lambda f, g: setattr(f, "datastore", None),
        "DatastoreID: there is no data store 0123456789abcdef0123456789abcdef in this account and Region.",
    ),
    (
        "a data store that is being deleted",
        lambda f, g: setattr(f, "datastore", {"datastoreStatus": "DELETING"}),
        "is DELETING, not ACTIVE.",
    ),
]


def test_nothing_is_found_in_a_healthy_account() -> None:
    assert findings(GIVEN, healthy()) == []


@pytest.mark.parametrize(("what", "change", "sentence"), CASES, ids=[case[0] for case in CASES])
def test_a_finding_names_the_resource_what_is_wrong_and_the_mend(what: str, change: Change, sentence: str) -> None:
    facts, given = healthy(), deepcopy(GIVEN)
    change(facts, given)
    found = findings(given, facts)
    assert any(sentence in each for each in found), found
    assert all(each.endswith(".") and ". " in each for each in found)


HARMLESS: list[tuple[str, Change]] = [
    (
        "endpoints instead of a NAT gateway",
        lambda f, g: (private(f).update(Routes=[]), f.endpoints.extend(ALL_ENDPOINTS)),
    ),
    (
        "a transit gateway",
        lambda f, g: f.route_tables.__setitem__(2, _table("rtb-private", PRIVATE, TransitGatewayId="tgw-1")),
    ),
    (
        "HTTPS out only",
        lambda f, g: f.security_group.update(  # type: ignore[union-attr]
            IpPermissionsEgress=[{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}]
        ),
    ),
    (
        "an internal load balancer in the private subnets",
        lambda f, g: g.update(LoadBalancerScheme="internal", PublicSubnetIDs=PRIVATE),
    ),
    (
        "an update of a stack that fills its subnets",
        lambda f, g: (g.update(RequestType="Update"), [s.update(AvailableIpAddressCount=2) for s in f.subnets]),
    ),
    (
        "an update of a stack that made the endpoint",
        lambda f, g: (
            g.update(RequestType="Update", PrivateRouteTableIDs="rtb-private", OnlyThroughVPCEndpoint="true"),
            f.endpoints.append(S3_GATEWAY),
        ),
    ),
    (
        "a second range",
        lambda f, g: (
            g.update(VpcCIDR="10.9.0.0/16"),
            f.vpc.update(  # type: ignore[union-attr]
                CidrBlockAssociationSet=[{"CidrBlock": "10.0.0.0/16"}, {"CidrBlock": "10.9.0.0/16"}]
            ),
        ),
    ),
    (
        "nothing optional is given",
        lambda f, g: g.update(TLSCertificateARN="", KmsKeyARN="", DatastoreID="", Secrets=[]),
    ),
    (
        "what could not be looked at",
        lambda f, g: (setattr(f, "key", None), f.unchecked.update(KmsKeyARN="AccessDeniedException")),
    ),
]


@pytest.mark.parametrize(("what", "change"), HARMLESS, ids=[case[0] for case in HARMLESS])
def test_what_works_is_not_refused(what: str, change: Change) -> None:
    facts, given = healthy(), deepcopy(GIVEN)
    change(facts, given)
    assert findings(given, facts) == []
