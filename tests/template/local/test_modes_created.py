"""Every mode of the template is created by CloudFormation; a walk through all of them by update, and a deletion,
leave what holds images or facts where it is.

Covers modes.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from audit import modes
from storescp_cfn.local import embedded_aws
from storescp_cfn.local.stack import REGION, LocalStack
from storescp_cfn.template import reference, render
from tests.template.local.stacks import RETAINED_TYPES, Stacks

BODY = render().to_json()
RETAINED = {
    name for name, resource in json.loads(BODY)["Resources"].items() if resource.get("DeletionPolicy") == "Retain"
}


@dataclass(frozen=True)
class Account(Stacks):
    """What a hospital would have before it launches the stack."""

    modes: list[modes.Mode]

    def retained(self, name: str) -> set[tuple[str, str]]:
        """Type and physical id of what outlives a stack and holds images or facts."""
        of_stack = self.resources(name).items()
        return {one for logical_id, one in of_stack if logical_id in RETAINED and one[0] in RETAINED_TYPES}

    def log_groups(self, name: str) -> set[str]:
        """Names of the log groups that a stack made and that are still there."""
        logs = self.local.client("logs")
        pages = logs.get_paginator("describe_log_groups").paginate()
        return {group["logGroupName"] for page in pages for group in page["logGroups"] if name in group["logGroupName"]}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with LocalStack(BODY) as local:
        local.start_aws()
        network = local.network_parameters()
        bare = Stacks(local, network)
        bare.upload(BODY)
        assert bare.run("create", "Earlier", {}) == "CREATE_COMPLETE"
        datastore = bare.outputs("Earlier")["HealthImagingDatastoreID"]
        assert bare.delete("Earlier") == "DELETE_COMPLETE"
        certificate = local.client("acm").request_certificate(DomainName="pacs.hospital.example")["CertificateArn"]
        policy = json.dumps(reference.key_policy(REGION, embedded_aws.ACCOUNT))
        key = local.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]
        table = local.client("ec2").create_route_table(VpcId=network["VpcID"])["RouteTable"]["RouteTableId"]
        secrets = {
            f"{name}_secret": local.client("secretsmanager").create_secret(Name=name, SecretString="PEM")["ARN"]
            for name in ("certificate", "key", "client_ca")
        }
        before = modes.Account(certificate=certificate, key=key, datastore=datastore, route_tables=table, **secrets)
        all_modes = modes.modes(before)
        yield Account(local, network, all_modes)


INTERNET = {"LoadBalancerScheme": "internet-facing"}
MODE_NAMES = [mode.name for mode in modes.modes()]


@pytest.mark.parametrize("name", MODE_NAMES)
def test_a_mode_is_created_and_deleted_and_its_data_stay(account: Account, name: str) -> None:
    mode = next(mode for mode in account.modes if mode.name == name)
    stack = "Mode-" + name.replace("_", "-")
    assert account.run("create", stack, mode.parameters) == "CREATE_COMPLETE", account.failures(stack)
    resources = account.resources(stack)
    expected = json.loads(BODY)["Resources"]
    absent = set(expected) - set(resources)
    assert ("Datastore" in absent) == ("DatastoreID" in mode.parameters)
    assert ("S3Endpoint" in absent) == ("PrivateRouteTableIDs" not in mode.parameters)
    assert ("CertificateExpiringAlarm" in absent) == ("TLSCertificateARN" not in mode.parameters)
    assert ("ReceiverKeyPolicy" in absent) == ("KmsKeyARN" not in mode.parameters)
    assert ("ExecutionTlsPolicy" in absent) == ("TLSCertificateSecretARN" not in mode.parameters)
    assert ("SilenceAlarm" in absent) == ("SilenceHours" not in mode.parameters)
    outputs = account.outputs(stack)
    if "DatastoreID" in mode.parameters:
        assert outputs["HealthImagingDatastoreID"] == mode.parameters["DatastoreID"]

    elb = account.local.client("elbv2")
    balancer = elb.describe_load_balancers(LoadBalancerArns=[resources["LoadBalancer"][1]])["LoadBalancers"][0]
    assert balancer["Scheme"] == mode.parameters["LoadBalancerScheme"]
    listener = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"][0]
    assert listener["Protocol"] == ("TLS" if "TLSCertificateARN" in mode.parameters else "TCP")

    held = account.retained(stack)
    assert account.delete(stack) == "DELETE_COMPLETE"
    assert len(held) == (6 if "DatastoreID" in mode.parameters else 7)
    assert [resource for resource in held if not account.exists(*resource)] == []
    # The preflight check's log went with the stack, though the check wrote into it until the end.
    assert account.log_groups(stack) == {name for kind, name in held if kind == "AWS::Logs::LogGroup"}


def test_a_walk_through_every_mode_by_updates_loses_nothing(account: Account) -> None:
    """Each update changes several choices at once, as nobody would, and loses nothing."""
    assert account.run("create", "Walk", account.modes[0].parameters) == "CREATE_COMPLETE", account.failures("Walk")
    seen = account.retained("Walk")
    unchanging = {name: account.resources("Walk")[name] for name in ("LandingBucket", "ResultsBucket", "Ledger")}
    for mode in account.modes[1:]:
        assert account.run("update", "Walk", mode.parameters) == "UPDATE_COMPLETE", (mode, account.failures("Walk"))
        resources = account.resources("Walk")
        assert {name: resources[name] for name in unchanging} == unchanging, mode.name
        seen |= account.retained("Walk")
        assert [resource for resource in seen if not account.exists(*resource)] == [], mode.name
    assert account.delete("Walk") == "DELETE_COMPLETE"
    assert [resource for resource in seen if not account.exists(*resource)] == []


@pytest.mark.parametrize(
    ("what", "parameters", "reason"),
    [
        ("an open network", {"PeerCIDR1": "0.0.0.0/0"}, "PeerCIDR1"),
        ("a pair that Fargate does not know", {"TaskCPU": "256", "TaskMemoryLimit": "8192"}, "With TaskCPU 256"),
        ("a maximum below the desired", {"TaskDesiredCount": "5", "AutoscaleMaxCapacity": "4"}, "at least"),
        ("subnets of one zone", {"PublicSubnetIDs": "first"}, "different Availability Zones"),
        (
            "the same subnets",
            {"PublicSubnetIDs": "private", **INTERNET, "AllowUnencryptedInternet": "true"},
            "must name different subnets",
        ),
        ("plain text over the internet", INTERNET, "in plain text"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_cloudformation_refuses_before_anything_is_created(
    account: Account, what: str, parameters: dict[str, str], reason: str
) -> None:
    from botocore.exceptions import ClientError

    stand_ins = {
        "first": account.network["PublicSubnetIDs"].split(",")[0],
        "private": account.network["PrivateSubnetIDs"],
    }
    values = {key: stand_ins.get(value, value) for key, value in parameters.items()}
    with pytest.raises(ClientError, match=reason):
        account.run("create", "Refused", values)
    stacks: list[dict[str, Any]] = account.local.client("cloudformation").describe_stacks()["Stacks"]
    assert "Refused" not in {stack["StackName"] for stack in stacks}
