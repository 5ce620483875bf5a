"""The preflight check where CloudFormation calls it: a launch that could not work fails in seconds, with the sentence,
and leaves nothing behind. The states that the embedded AWS can be brought into; the others: tests/preflight_lambda.

Covers local/network.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from storescp_cfn.local.network import Network, create_network
from storescp_cfn.local.stack import REGION, LocalStack
from storescp_cfn.template import render
from tests.template.local.stacks import Stacks

BODY = render().to_json()
OTHER_KEY = "arn:aws:kms:eu-west-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@dataclass(frozen=True)
class Place:
    """A network of its own for one launch."""

    local: LocalStack
    network: Network

    def client(self, service: str) -> Any:
        return self.local.client(service)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalStack]:
    with LocalStack(BODY) as stack:
        stack.start_aws()
        Stacks(stack, {}).upload(BODY)
        yield stack


def _cut_route(place: Place) -> Mapping[str, str]:
    place.client("ec2").delete_route(
        RouteTableId=place.network.private_route_table_id, DestinationCidrBlock="0.0.0.0/0"
    )
    return {}


def _close_group(place: Place) -> Mapping[str, str]:
    ec2 = place.client("ec2")
    group = ec2.describe_security_groups(GroupIds=[place.network.security_group_id])["SecurityGroups"][0]
    ec2.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=group["IpPermissionsEgress"])
    return {}


def _group_of_another_vpc(place: Place) -> Mapping[str, str]:
    return {"SecurityGroupID": create_network(place.client("ec2"), REGION).security_group_id}


def _signing_key(place: Place) -> Mapping[str, str]:
    key = place.client("kms").create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    return {"KmsKeyARN": key["Arn"]}


def _disabled_key(place: Place) -> Mapping[str, str]:
    kms = place.client("kms")
    key = kms.create_key()["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    return {"KmsKeyARN": key["Arn"]}


CASES: list[tuple[str, Callable[[Place], Mapping[str, str]], str]] = [
    ("no way out", _cut_route, "has no way out: its route table"),
    (
        "public subnets for the receivers",
        lambda place: {
            "PrivateSubnetIDs": ",".join(place.network.public_subnet_ids),
        },
        "is a public subnet",
    ),
    (
        "private subnets for the load balancer",
        lambda place: {
            "PublicSubnetIDs": ",".join(place.network.private_subnet_ids),
            "PrivateSubnetIDs": ",".join(place.network.public_subnet_ids),
            "LoadBalancerScheme": "internet-facing",
            "AllowUnencryptedInternet": "true",
        },
        "is not public",
    ),
    ("another range", lambda place: {"VpcCIDR": "10.7.0.0/16"}, "VpcCIDR: 10.7.0.0/16 is no address range"),
    ("no HTTPS out", _close_group, "lets no HTTPS out"),
    ("another VPC's group", _group_of_another_vpc, "belongs to vpc-"),
    ("a route table that is not there", lambda place: {"PrivateRouteTableIDs": "rtb-0123456789abcdef0"}, "is no route"),
    ("bound to no endpoint", lambda place: {"OnlyThroughVPCEndpoint": "true"}, "has no endpoint for Amazon S3"),
    ("a key of another Region", lambda place: {"KmsKeyARN": OTHER_KEY}, "is in eu-west-1"),
    ("a key that is not there", lambda place: {"KmsKeyARN": OTHER_KEY.replace("eu-west-1", REGION)}, "there is no key"),
    ("a key for signatures", _signing_key, "RSA_2048"),
    ("a disabled key", _disabled_key, "is Disabled, not Enabled"),
    ("no data store", lambda place: {"DatastoreID": "0" * 32}, "there is no data store"),
    (
        "no certificate",
        lambda place: {
            "TLSCertificateARN": f"arn:aws:acm:{REGION}:000000000000:certificate/12345678-1234-1234-1234-123456789012",
        },
        "there is no certificate",
    ),
    (
        "no secret",
        lambda place: {
            name: f"arn:aws:secretsmanager:{REGION}:000000000000:secret:{name}-AbCdEf"
            for name in ("TLSCertificateSecretARN", "TLSKeySecretARN")
        },
        "there is no secret",
    ),
]


@pytest.mark.parametrize(("what", "prepare", "sentence"), CASES, ids=[case[0] for case in CASES])
def test_a_launch_that_could_not_work_says_why_and_leaves_nothing_behind(
    local: LocalStack, what: str, prepare: Callable[[Place], Mapping[str, str]], sentence: str
) -> None:
    place = Place(local, create_network(local.client("ec2"), REGION))
    stacks = Stacks(local, {**place.network.parameters(), **prepare(place)})
    name = "Refused-" + "".join(word.capitalize() for word in what.replace("'", "").split())
    assert stacks.run("create", name, {}) in ("ROLLBACK_COMPLETE", "CREATE_FAILED")
    failed = [event for event in stacks.events(name) if event["ResourceStatus"] == "CREATE_FAILED"]
    assert [event["LogicalResourceId"] for event in failed if event["LogicalResourceId"] != name] == ["Preflight"]
    assert any(sentence in event.get("ResourceStatusReason", "") for event in failed), failed
    made = {event["LogicalResourceId"] for event in stacks.events(name) if event["ResourceStatus"] == "CREATE_COMPLETE"}
    retained = {key for key, value in json.loads(BODY)["Resources"].items() if value.get("DeletionPolicy") == "Retain"}
    assert len(retained) > 7
    assert not made & retained


def test_an_update_is_checked_and_its_rollback_is_not(local: LocalStack) -> None:
    place = Place(local, create_network(local.client("ec2"), REGION))
    stacks = Stacks(local, place.network.parameters())
    assert stacks.run("create", "Checked", {}) == "CREATE_COMPLETE"
    _cut_route(place)
    assert stacks.run("update", "Checked", {"AutoscaleMaxCapacity": "5"}) == "UPDATE_ROLLBACK_COMPLETE"
    reasons = [event.get("ResourceStatusReason", "") for event in stacks.events("Checked")]
    assert any("has no way out" in reason for reason in reasons)
    assert stacks.delete("Checked") == "DELETE_COMPLETE"
