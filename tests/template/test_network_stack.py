"""The network's template: fresh, free of findings, and made of the first template's parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storescp_cfn.account import network_checks, vpc
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.screen import Level
from storescp_cfn.local import operator
from storescp_cfn.local.stack import REGION, STACK_NAME, LocalStack
from storescp_cfn.template import network_stack, render

COMMITTED = Path(__file__).parents[2] / "templates/network.yaml"


class NetworkOnly(LocalStack):
    """The embedded AWS with the network's stack; it needs no network of its own."""

    def network_parameters(self) -> dict[str, str]:
        return {}


def test_the_committed_file_is_fresh() -> None:
    assert COMMITTED.read_text() == network_stack.render().to_yaml(), "run `make render`"


def test_its_outputs_are_parameters_of_the_first_template() -> None:
    assert network_stack.outputs().keys() <= render().to_dict()["Parameters"].keys()


def test_the_linter_has_no_complaint() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(COMMITTED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module", params=["1", "2"])
def created(request: pytest.FixtureRequest) -> Iterator[LocalStack]:
    body = json.dumps(network_stack.render().to_dict())
    with NetworkOnly(body, {"NatGateways": request.param}) as stack:
        stack.start_aws()
        stack.create_stack()
        yield stack


def test_what_it_makes_passes_the_doctor(created: LocalStack) -> None:
    described = created.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    with operator.variables(created):
        connection = Connection(region_name=REGION, endpoint_url=created.endpoint_url)
        found = vpc.read(connection, outputs["VpcID"])
    lines = network_checks.lines(found, outputs)
    assert [line for line in lines if line.level != Level.OK] == []
    nats = created.client("ec2").describe_nat_gateways()["NatGateways"]
    assert len(nats) == int(created.parameters["NatGateways"])
