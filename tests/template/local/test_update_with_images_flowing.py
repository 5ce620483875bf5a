"""`make test-update`: from the last released template to this one and back again, while devices send.

Receivers are replaced as ECS does it, behind a load balancer that behaves as AWS's users saw it, in scaled time.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cfnlint.decode import decode_str

from audit import modes
from import_lambda.settings import LEASE_SECONDS
from storescp_cfn.local import accounting, dcmtk
from storescp_cfn.local.processes import Child, free_port
from storescp_cfn.local.stack import STACK_NAME, LocalStack
from storescp_cfn.local.study import synthetic_ct
from storescp_cfn.template import evaluation, render
from tests.template.local.stacks import Stacks
from tests.testkit.balancer import Balancer

RELEASED = sorted((Path(__file__).parents[2] / "releases").glob("*/storescp.yaml"))[-1]
SCALE = 1 / 60
SENDERS = 3
SLICES = 4
# The local AWS ends an importer's run when its code is replaced; the next one waits until the lease has expired.
PATIENCE_SECONDS = 2 * LEASE_SECONDS + 60


class Fleet:
    """Two receivers at a time, as the stack's task definition says, behind the balancer."""

    def __init__(self, stack: LocalStack, balancer: Balancer) -> None:
        self.stack, self.balancer = stack, balancer
        self.running: dict[int, Child] = {}
        self.exits: list[int] = []
        self.started = 0

    def start_two(self) -> None:
        """Start receivers and register them when they are ready."""
        deployed = self.stack.deployed()
        for _ in range(2):
            port = free_port()
            environment = self.stack.environment() | self.stack.receiver_environment(deployed, port)
            self.started += 1
            log = self.stack.folder / f"receiver-{self.started}.log"
            child = Child([sys.executable, "-m", "storescp"], environment, log)
            self.running[port] = child
            self.stack.children.append(child)
            self.stack.wait(60, child, "A receiver", self.stack.receiver_ready)
            self.balancer.register(port)

    def replace(self) -> None:
        """As a rolling deployment: new ones first, then the old are deregistered, drained, and stopped by SIGTERM."""
        earlier = dict(self.running)
        self.start_two()
        for port in earlier:
            self.balancer.deregister(port)
        time.sleep(self.balancer.drain_seconds())
        for port, child in earlier.items():
            self.exits.append(child.stop(30))
            del self.running[port]


class Sender(threading.Thread):
    """A device that sends one small study after the other until it is told to stop."""

    def __init__(self, name: str, balancer: Balancer, folder: Path) -> None:
        super().__init__(name=name, daemon=True)
        self.balancer, self.folder = balancer, folder
        self.stopping = threading.Event()
        self.sent: list[dcmtk.Sent] = []
        self.studies = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.studies += 1
                folder = self.folder / str(self.studies)
                folder.mkdir(parents=True)
                files = synthetic_ct(folder, slices=SLICES, rows=16, columns=16)
                port = self.balancer.port
                self.sent += dcmtk.store(files, "127.0.0.1", port, "STORESCP", self.name, folder, lambda _: None)
        except Exception as error:  # noqa: BLE001 - it is raised in the test
            self.error = error


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack(released_body()) as local:
        local.start_aws()
        yield local


def released_body() -> str:
    """The released template as JSON: its YAML has short forms that the local AWS does not read."""
    template, problems = decode_str(RELEASED.read_text())
    assert problems == []
    return json.dumps(template)


def update(stack: LocalStack, body: str, names: list[str]) -> str:
    """Update the stack to a template with the previous value of each of these parameters."""
    stack.client("s3").put_object(Bucket="storescp-templates", Key="template", Body=body.encode())
    stack.client("cloudformation").update_stack(
        StackName=STACK_NAME,
        TemplateURL=f"{stack.endpoint_url}/storescp-templates/template",
        Parameters=[{"ParameterKey": name, "UsePreviousValue": True} for name in names],
        Capabilities=["CAPABILITY_IAM"],
    )
    status = Stacks(stack, {}).wait(STACK_NAME)
    return status if status == "UPDATE_COMPLETE" else f"{status}: {stack.reasons(stack.client('cloudformation'))}"


@pytest.mark.timeout(700)
def test_nothing_is_lost_from_the_last_release_to_this_one_and_back(stack: LocalStack, tmp_path: Path) -> None:
    released, newer = released_body(), render().to_json()
    stack.create_stack()
    before = stack.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]["Parameters"]
    names = [parameter["ParameterKey"] for parameter in before]
    deployed = stack.deployed()
    with Balancer(SCALE) as balancer:
        fleet = Fleet(stack, balancer)
        fleet.start_two()
        senders = [Sender(f"CT{number}", balancer, tmp_path / f"CT{number}") for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        common = [name for name in names if name in json.loads(newer)["Parameters"]]
        assert common == names  # no parameter of a release is ever taken away
        assert update(stack, newer, common) == "UPDATE_COMPLETE"
        fleet.replace()
        assert update(stack, released, names) == "UPDATE_COMPLETE"
        fleet.replace()
        for sender in senders:
            sender.stopping.set()
        for sender in senders:
            sender.join(60)
        assert [sender.error for sender in senders] == [None] * SENDERS
        sent = [one for sender in senders for one in sender.sent]
        acknowledged = {one.file.sop_instance_uid for one in sent if one.acknowledged}
        account = settled(stack, acknowledged)
    assert len(sent) == sum(sender.studies for sender in senders) * SLICES  # each is acknowledged or refused
    assert all(sender.studies > 2 for sender in senders)
    assert fleet.exits == [0, 0, 0, 0]
    accounted = {uid for _, uid in account.imported} | {uid for _, uid in account.quarantined}
    assert acknowledged <= accounted
    assert account.unsettled == frozenset()
    after = stack.deployed()
    assert (after.landing_bucket, after.ledger_table, after.datastore_id) == (
        deployed.landing_bucket,
        deployed.ledger_table,
        deployed.datastore_id,
    )
    print(f"sent {len(sent)}, acknowledged {len(acknowledged)}, late connections {balancer.late_connections}")


def settled(stack: LocalStack, acknowledged: set[str]) -> accounting.Account:
    """Wait until the chain is at rest, waking the importer as the minute's schedule does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        deployed = stack.deployed()
        stack.client("lambda").invoke(FunctionName=deployed.importer_function)
        account = accounting.read(stack, deployed)
        done = {uid for _, uid in account.imported} | {uid for _, uid in account.quarantined}
        if (account.at_rest and acknowledged <= done) or time.monotonic() > deadline:
            return account
        time.sleep(0.5)


def test_an_unencrypted_internet_facing_stack_has_to_say_so_before_it_is_updated() -> None:
    """The one answer that an update may ask for: nothing has changed when it is refused."""
    template = json.loads(render().to_json())
    facts = evaluation.Facts(subnets=modes.EXAMPLE_SUBNETS)
    values = {**modes.EXAMPLE_NETWORK, "LoadBalancerScheme": "internet-facing"}
    (sentence,) = evaluation.refusals(template, values, facts)
    assert "AllowUnencryptedInternet" in sentence
    assert evaluation.refusals(template, {**values, "AllowUnencryptedInternet": "true"}, facts) == []
