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
from storescp_cfn.local.stack import LocalStack
from storescp_cfn.template import render
from tests.template.local.stacks import RETAINED_TYPES, Stacks

BODY = render().to_json()


@dataclass(frozen=True)
class Account(Stacks):
    """What a hospital would have before it launches the stack."""

    modes: list[modes.Mode]


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
        key = local.client("kms").create_key()["KeyMetadata"]["Arn"]
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
    assert account.run("create", stack, mode.parameters) == "CREATE_COMPLETE"
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

    assert account.delete(stack) == "DELETE_COMPLETE"
    held = [resource for resource in resources.values() if resource[0] in RETAINED_TYPES]
    assert len(held) == (6 if "DatastoreID" in mode.parameters else 7)
    assert [resource for resource in held if not account.exists(*resource)] == []


def test_a_walk_through_every_mode_by_updates_loses_nothing(account: Account) -> None:
    """Each update changes several choices at once, as nobody would, and loses nothing."""
    assert account.run("create", "Walk", account.modes[0].parameters) == "CREATE_COMPLETE"
    seen = {resource for resource in account.resources("Walk").values() if resource[0] in RETAINED_TYPES}
    unchanging = {name: account.resources("Walk")[name] for name in ("LandingBucket", "ResultsBucket", "Ledger")}
    for mode in account.modes[1:]:
        assert account.run("update", "Walk", mode.parameters) == "UPDATE_COMPLETE", mode.name
        resources = account.resources("Walk")
        assert {name: resources[name] for name in unchanging} == unchanging, mode.name
        seen |= {resource for resource in resources.values() if resource[0] in RETAINED_TYPES}
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
