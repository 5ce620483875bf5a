"""`doctor`, a state for every sentence: account_checks.py, network_checks.py, vpc.py, proposal.py.

The VPC is real on the embedded AWS; what that cannot show is answered by botocore's own models (Stubber).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from storescp_cfn.account import account_checks, doctor, network_checks, proposal, vpc
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line
from storescp_cfn.account.vpc import Group, Subnet, Vpc
from tests.account import golden
from tests.account.conftest import Account

NOW = datetime(2026, 11, 24, 10, 42, tzinfo=UTC)
PUBLIC = [Subnet(f"subnet-p{zone}", f"us-east-1{zone}", 200, "internet", "rtb-1") for zone in "ab"]
PRIVATE = [Subnet(f"subnet-n{zone}", f"us-east-1{zone}", 200, "nat", "rtb-2") for zone in "ab"]
GOOD = Vpc("vpc-1", ("10.0.0.0/16",), tuple(PUBLIC + PRIVATE), (Group("sg-1", "storescp", True),), frozenset({"s3"}))


def found(good: Vpc, **given: str) -> list[Line]:
    return network_checks.lines(good, network_checks.choice(good, given))


def changed(**attributes: Any) -> Vpc:
    """The good VPC with its private subnets changed."""
    return replace(GOOD, subnets=tuple(PUBLIC + [replace(subnet, **attributes) for subnet in PRIVATE]))


def test_a_good_vpc_proposes_all_answers_but_who_may_send() -> None:
    assert proposal.propose(GOOD) == {
        "VpcID": "vpc-1",
        "VpcCIDR": "10.0.0.0/16",
        "PrivateSubnetIDs": "subnet-na,subnet-nb",
        "PublicSubnetIDs": "subnet-pa,subnet-pb",
        "LoadBalancerScheme": "internet-facing",
        "SecurityGroupID": "sg-1",
        "PeerCIDR1": proposal.YOU_MUST_ANSWER,
    }
    assert {line.level for line in found(GOOD)} == {Level.OK}


def test_without_public_subnets_the_load_balancer_is_internal() -> None:
    internal = replace(GOOD, subnets=tuple(PRIVATE))
    answers = proposal.propose(internal)
    assert answers["LoadBalancerScheme"] == "internal"
    assert answers["PublicSubnetIDs"] == answers["PrivateSubnetIDs"]
    assert {line.level for line in found(internal)} == {Level.OK}


def test_endpoints_replace_a_way_out() -> None:
    endpoints = replace(changed(way_out="none"), endpoints=frozenset(vpc.NEEDED_ENDPOINTS))
    assert {line.level for line in found(endpoints)} == {Level.OK}


CHOSEN = {"PrivateSubnetIDs": "subnet-na,subnet-nb"}
TROUBLES: dict[str, tuple[Vpc, dict[str, str], str]] = {
    "no way out": (changed(way_out="none"), CHOSEN, "has no way out"),
    "broken NAT": (changed(way_out="broken nat"), CHOSEN, "NAT gateway that is not available"),
    "private is public": (changed(way_out="internet"), CHOSEN, "is public: receivers have no public address"),
    "few addresses": (changed(free_addresses=3), CHOSEN, "has 3 free addresses; 8 are needed"),
    "one zone": (changed(zone="us-east-1a"), CHOSEN, "two Availability Zones are needed; there are 2 in us-east-1a"),
    "another VPC's subnet": (GOOD, {"PrivateSubnetIDs": "subnet-x,subnet-na,subnet-nb"}, "subnet-x is not in vpc-1"),
    "public is private": (GOOD, {"PublicSubnetIDs": "subnet-na,subnet-nb"}, "is not public"),
    "wrong range": (GOOD, {"VpcCIDR": "10.1.0.0/16"}, "VpcCIDR 10.1.0.0/16 is not a range of vpc-1"),
    "no range": (GOOD, {"VpcCIDR": "ten"}, "VpcCIDR ten is not a range"),
    "wrong group": (GOOD, {"SecurityGroupID": "sg-9"}, "SecurityGroupID sg-9 is not a security group of vpc-1"),
    "group lets nothing out": (
        replace(GOOD, groups=(Group("sg-2", "closed", False),)),
        {"SecurityGroupID": "sg-2"},
        "does not let HTTPS out",
    ),
    "no endpoint": (replace(GOOD, endpoints=frozenset()), {}, "no endpoint for Amazon S3"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_of_the_network_has_its_sentence_and_its_mend(trouble: str) -> None:
    state, given, words = TROUBLES[trouble]
    bad = [line for line in found(state, **given) if line.level != Level.OK]
    assert any(words in line.text for line in bad), bad
    assert all(line.to_do != "nothing" for line in bad)


# --- A real VPC on the embedded AWS -----------------------------------------------------------------------------


def test_routes_tell_what_a_subnet_is(account: Account) -> None:
    ec2 = account.stack.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.9.{n}.0/24", AvailabilityZone=f"us-east-1{'ab'[n % 2]}")[
            "Subnet"
        ]
        for n in range(4)
    ]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc_id)
    nat = ec2.create_nat_gateway(SubnetId=subnets[0]["SubnetId"])["NatGateway"]["NatGatewayId"]
    for target, members in (({"GatewayId": gateway}, subnets[:2]), ({"NatGatewayId": nat}, subnets[2:])):
        table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
        for subnet in members:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])
    read = vpc.read(account.connection, vpc_id)
    ways = {subnet.subnet_id: subnet.way_out for subnet in read.subnets}
    assert [ways[subnet["SubnetId"]] for subnet in subnets] == ["internet", "internet", "nat", "nat"]
    assert read.groups[0].lets_https_out
    answers = proposal.propose(read)
    assert answers["PrivateRouteTableIDs"].startswith("rtb-")
    assert answers["LoadBalancerScheme"] == "internet-facing"


def test_a_vpc_of_another_region_is_named_with_those_that_are_here(account: Account) -> None:
    with pytest.raises(AccountError, match="vpc-0nowhere is not in us-east-1: there is vpc-"):
        vpc.read(account.connection, "vpc-0nowhere")


def test_a_vpc_without_gateways_stops_a_launch_and_tells_what_is_missing(account: Account, tmp_path: Path) -> None:
    ec2 = account.stack.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.8.0.0/24", AvailabilityZone="us-east-1a")
    request = doctor.Request(vpc_id, write_to=tmp_path / "params.json")
    template = {"Parameters": {}, "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    screen = doctor.examine(account.connection, request, template)
    assert screen.exit_status == 1
    assert any(line.subject == "PrivateSubnetIDs" and line.level == Level.STOP for line in screen.lines)
    assert proposal.read(tmp_path / "params.json") == screen.facts["answers"]
    with pytest.raises(AccountError, match="is there already"):
        doctor.examine(account.connection, request, template)


@pytest.mark.parametrize("content", ["[1]", "{", '"x"', '[{"Key": "x"}]'])
def test_what_is_no_parameters_file_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.json").write_text(content)
    with pytest.raises(AccountError, match="is not a parameters file"):
        proposal.read(tmp_path / "params.json")


def test_a_parameters_file_may_be_an_object(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text(json.dumps({"VpcID": "vpc-1"}))
    assert proposal.read(tmp_path / "params.json") == {"VpcID": "vpc-1"}


def test_the_screen(account: Account) -> None:
    lines = found(changed(way_out="none"), **CHOSEN)
    from storescp_cfn.account.screen import Screen

    golden.check("doctor-network", Screen("vpc-1 in us-east-1: a launch would fail.", lines))


# --- What the embedded AWS lacks: answers by botocore's models --------------------------------------------------


def stubbed(service: str, answers: list[tuple[str, dict[str, Any] | str]]) -> Connection:
    """A connection whose client of `service` gives these answers; a text is an error's code."""
    connection = Connection(region_name="us-east-1")
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    stubber = Stubber(client)
    for operation, answer in answers:
        if isinstance(answer, str):
            stubber.add_client_error(operation, answer)
        else:
            stubber.add_response(operation, answer)
    stubber.activate()
    connection._clients[service] = client
    return connection


ARN = "arn:aws:acm:us-east-1:000000000000:certificate/1"


def certificate(**row: Any) -> Connection:
    return stubbed("acm", [("describe_certificate", {"Certificate": {"DomainName": "dicom.example.org", **row}})])


@pytest.mark.parametrize(
    ("make", "arn", "level", "words"),
    [
        (lambda: certificate(Status="ISSUED"), ARN, Level.OK, "is for dicom.example.org"),
        (lambda: certificate(Status="PENDING_VALIDATION"), ARN, Level.STOP, "is PENDING_VALIDATION, not ISSUED"),
        (
            lambda: certificate(Status="ISSUED", NotAfter=NOW + timedelta(days=3)),
            ARN,
            Level.WARNING,
            "for dicom.example.org expires 2026-11-27",
        ),
        (Connection, ARN.replace("us-east-1", "eu-west-1"), Level.STOP, "The certificate is of eu-west-1"),
    ],
)
def test_a_certificate(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Connection], arn: str, level: Level, words: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    [line] = account_checks.certificate_lines(make(), arn, NOW)
    assert (line.level, words in line.text) == (level, True), line


def quota(value: float) -> dict[str, Any]:
    return {"Quota": {"Value": value}}


@pytest.mark.parametrize(
    ("answers", "level"),
    [
        ([("get_service_quota", quota(100))] * 3, Level.OK),
        (
            [("get_service_quota", quota(2)), ("get_service_quota", quota(50)), ("get_service_quota", quota(100))],
            Level.STOP,
        ),
        ([("get_service_quota", "AccessDeniedException")], Level.UNKNOWN),
        (
            [
                answer
                for _ in range(3)
                for answer in (
                    ("get_service_quota", "NoSuchResourceException"),
                    ("get_aws_default_service_quota", quota(100)),
                )
            ],
            Level.OK,
        ),
    ],
)
def test_quotas(answers: list[tuple[str, dict[str, Any] | str]], level: Level) -> None:
    lines = account_checks.quota_lines(stubbed("service-quotas", answers))
    assert [line.level for line in lines] == [level]


IMAGE = {"Parameters": {"ContainerImage": {"Default": "709825985650.dkr.ecr.us-east-1.amazonaws.com/s/storescp:1.0.0"}}}


@pytest.mark.parametrize(
    ("template", "answer", "level"),
    [
        (IMAGE, {"images": [{"registryId": "709825985650"}]}, Level.OK),
        (IMAGE, {"images": []}, Level.STOP),
        (IMAGE, "AccessDeniedException", Level.STOP),
        ({"Parameters": {}}, None, Level.WARNING),
    ],
)
def test_the_image(template: dict[str, Any], answer: dict[str, Any] | str | None, level: Level) -> None:
    connection = stubbed("ecr", [("batch_get_image", answer)] if answer is not None else [])
    assert [line.level for line in account_checks.image_lines(connection, template)] == [level]


def test_permissions_are_simulated_for_the_role_behind_a_session(account: Account) -> None:
    session = "arn:aws:sts::000000000000:assumed-role/Admin/me"
    assert account_checks.principal_of(session) == "arn:aws:iam::000000000000:role/Admin"
    connection = stubbed(
        "iam",
        [
            (
                "simulate_principal_policy",
                {
                    "EvaluationResults": [
                        {"EvalActionName": "s3:CreateBucket", "EvalDecision": "allowed"},
                        {"EvalActionName": "sns:CreateTopic", "EvalDecision": "implicitDeny"},
                    ]
                },
            )
        ],
    )
    connection._clients["sts"] = stubbed("sts", [("get_caller_identity", {"Arn": session})])._clients["sts"]
    [line] = account_checks.permission_lines(connection, ["s3:CreateBucket", "sns:CreateTopic"])
    assert (line.level, line.details["missing"]) == (Level.STOP, ["sns:CreateTopic"])


@pytest.mark.parametrize(("region", "level"), [("eu-west-2", Level.OK), ("eu-central-1", Level.STOP)])
def test_the_region(region: str, level: Level) -> None:
    assert [line.level for line in account_checks.region_lines(Connection(region_name=region))] == [level]
