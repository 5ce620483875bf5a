"""The embedded AWS: stack.py, missing_types.py, service_sessions.py, ecs_credentials.py, processes.py."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from storescp_cfn.local import embedded_aws
from storescp_cfn.local.stack import REGION, STACK_NAME, LocalStack

LISTEN = "0A"  # a state of /proc/net/tcp
PARAMETERS = ["VpcID", "PublicSubnetIDs", "PrivateSubnetIDs", "SecurityGroupID", "VpcCIDR", "PeerCIDR1"]


def trust(service: str, account: str = embedded_aws.ACCOUNT) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            }
        ],
    }


TEMPLATE = {
    "Parameters": {name: {"Type": "String"} for name in PARAMETERS},
    "Resources": {
        "Rule": {
            "Type": "AWS::EC2::SecurityGroupIngress",
            "Properties": {
                "GroupId": {"Ref": "SecurityGroupID"},
                "IpProtocol": "tcp",
                "FromPort": 11112,
                "ToPort": 11112,
                "CidrIp": {"Ref": "PeerCIDR1"},
            },
        },
        "Datastore": {"Type": "AWS::HealthImaging::Datastore", "Properties": {"DatastoreName": "images"}},
        "TaskRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com")},
        },
        "OthersRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": trust("ecs-tasks.amazonaws.com", "111111111111")},
        },
        "LambdaRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": trust("lambda.amazonaws.com")},
        },
        "Policy": {
            "Type": "AWS::IAM::RolePolicy",
            "Properties": {
                "RoleName": {"Ref": "TaskRole"},
                "PolicyName": "write",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}],
                },
            },
        },
    },
    "Outputs": {
        "TaskRole": {"Value": {"Fn::GetAtt": ["TaskRole", "Arn"]}},
        "OthersRole": {"Value": {"Fn::GetAtt": ["OthersRole", "Arn"]}},
        "LambdaRole": {"Value": {"Fn::GetAtt": ["LambdaRole", "Arn"]}},
        "DatastoreId": {"Value": {"Ref": "Datastore"}},
        "DatastoreArn": {"Value": {"Fn::GetAtt": ["Datastore", "DatastoreArn"]}},
    },
}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(json.dumps(TEMPLATE)) as stack:
        stack.start_aws()
        stack.create_stack()
        yield stack


def outputs(stack: LocalStack) -> dict[str, str]:
    described = stack.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def test_a_security_group_rule_takes_effect(stack: LocalStack) -> None:
    groups = stack.client("ec2").describe_security_groups()["SecurityGroups"]
    permissions = next(group["IpPermissions"] for group in groups if group["GroupName"] == "storescp")
    assert [(p["FromPort"], p["IpRanges"][0]["CidrIp"]) for p in permissions] == [(11112, "203.0.113.0/24")]


def test_a_data_store_exists_in_healthimaging(stack: LocalStack) -> None:
    datastore_id = outputs(stack)["DatastoreId"]
    described = stack.client("medical-imaging").get_datastore(datastoreId=datastore_id)["datastoreProperties"]
    assert (described["datastoreName"], described["datastoreStatus"]) == ("images", "ACTIVE")
    assert described["datastoreArn"] == outputs(stack)["DatastoreArn"]


def test_a_task_may_do_what_its_role_says_and_no_more(stack: LocalStack) -> None:
    environment = stack.task_credentials(outputs(stack)["TaskRole"])
    request = urllib.request.Request(
        environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    with urllib.request.urlopen(request) as answer:
        keys = json.load(answer)
    s3 = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=stack.endpoint_url,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    )
    s3.put_object(Bucket="storescp-templates", Key="written", Body=b"by the task")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket="storescp-templates", Key="written")


@pytest.mark.parametrize("role", ["OthersRole", "LambdaRole"])
def test_a_role_that_does_not_trust_this_task_gives_no_keys(stack: LocalStack, role: str) -> None:
    environment = stack.task_credentials(outputs(stack)[role])
    request = urllib.request.Request(
        environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value:
        assert refused.value.code == 403
        assert "may not assume" in json.load(refused.value)["message"]


def test_every_listening_socket_is_on_loopback(stack: LocalStack) -> None:
    groups = {child.process.pid for child in stack.children}
    addresses = listening_addresses(groups)
    assert stack.aws_port in {port for _, port in addresses}
    assert stack.healthimaging_port in {port for _, port in addresses}
    assert {address for address, _ in addresses} <= {"127.0.0.1", "::1"}


def test_children_never_see_our_own_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of a real account")
    monkeypatch.setenv("AWS_PROFILE", "production")
    environment = LocalStack.environment()
    assert "AWS_ACCESS_KEY_ID" not in environment
    assert "AWS_PROFILE" not in environment
    assert environment["AWS_CONFIG_FILE"] == os.devnull


def test_nothing_is_left_running_or_lying_about() -> None:
    with LocalStack(json.dumps(TEMPLATE)) as stack:
        stack.start_aws()
        pids = [child.process.pid for child in stack.children]
    assert pids
    assert not [pid for pid in pids if group_exists(pid)]
    assert not stack.folder.exists()


def group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def listening_addresses(groups: set[int]) -> set[tuple[str, int]]:
    """Address and port of every socket on which a process of these process groups listens, by /proc (Linux)."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(process.name)) in groups:
                inodes |= {link.readlink().name for link in (process / "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = row.split()
            if state == LISTEN and f"socket:[{rest[5]}]" in inodes:
                address, port = local.split(":")
                found.add((readable_address(address), int(port, 16)))
    return found


def readable_address(digits: str) -> str:
    """An address of /proc/net/tcp or tcp6: words of 32 bits in the machine's order."""
    words = [struct.pack("=I", int(digits[at : at + 8], 16)) for at in range(0, len(digits), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
