"""Change sets: what a launch or an update would do, shown before anything happens; then its progress, then its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment, find
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line, Screen, Table

POLL_SECONDS = 2.0
NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
# Seconds that AWS usually takes for what lasts; everything else is made within half a minute.
USUAL_SECONDS = {
    "AWS::EC2::NatGateway": 120,
    "AWS::ECS::Service": 240,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": 150,
    "AWS::HealthImaging::Datastore": 60,
    "AWS::DynamoDB::Table": 60,
}
GOOD_ENDS = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Proposal:
    """A change set that exists and was not executed. creates: whether the stack is new."""

    connection: Connection
    stack: str
    name: str
    creates: bool
    changes: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def table(self) -> Table:
        """A line for each resource that would be touched; those that are replaced first."""
        rows = [
            [_action(change), change["LogicalResourceId"], change["ResourceType"]]
            for change in sorted(
                self.changes, key=lambda change: (change.get("Replacement") != "True", _action(change))
            )
        ]
        return Table("What would happen", ["Action", "Resource", "Type"], rows, if_empty="Nothing would change.")

    @property
    def replaced(self) -> list[str]:
        """Resources that an update would replace by new ones."""
        return [change["LogicalResourceId"] for change in self.changes if change.get("Replacement") == "True"]


def _action(change: Mapping[str, Any]) -> str:
    words = {"Add": "create", "Modify": "change", "Remove": "remove", "Import": "import", "Dynamic": "change"}
    return "replace" if change.get("Replacement") == "True" else words.get(change["Action"], str(change["Action"]))


def propose(
    connection: Connection,
    stack: str,
    template_url: str,
    parameters: Sequence[Mapping[str, Any]],
    creates: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Proposal:
    """Make a change set and wait until it is there. Raises AccountError: when AWS refuses it, with AWS's reason."""
    name = f"storescp-cfn-{uuid.uuid4().hex[:12]}"
    place = {"StackName": stack, "ChangeSetName": name}
    connection.call(
        "cloudformation",
        "create_change_set",
        **place,
        ChangeSetType="CREATE" if creates else "UPDATE",
        TemplateURL=template_url,
        Parameters=list(parameters),
        Capabilities=["CAPABILITY_IAM"],
    )
    while True:
        described = connection.call("cloudformation", "describe_change_set", **place)
        status, reason = described["Status"], str(described.get("StatusReason", ""))
        if status == "CREATE_COMPLETE":
            changes = [change["ResourceChange"] for change in described.get("Changes", [])]
            return Proposal(connection, stack, name, creates, changes)
        if status == "FAILED":
            discard(Proposal(connection, stack, name, creates))
            if any(words in reason for words in NO_CHANGES):
                return Proposal(connection, stack, "", creates)
            raise AccountError(f"CloudFormation refuses this: {' '.join(reason.split()) or 'it gives no reason'}")
        sleep(POLL_SECONDS)


def discard(proposal: Proposal) -> None:
    """Take a proposal back; of a stack that is new nothing is left."""
    connection = proposal.connection
    if proposal.name:
        connection.call("cloudformation", "delete_change_set", StackName=proposal.stack, ChangeSetName=proposal.name)
    if proposal.creates:
        connection.call("cloudformation", "delete_stack", StackName=proposal.stack)


def execute(proposal: Proposal, tell: Tell, sleep: Callable[[float], None] = time.sleep) -> Screen:
    """Let it happen; tell each resource's end; on failure read the cause while it can be read."""
    connection = proposal.connection
    known = set() if proposal.creates else {row["EventId"] for row in _events(connection, proposal.stack)}
    connection.call("cloudformation", "execute_change_set", StackName=proposal.stack, ChangeSetName=proposal.name)
    return follow(find(connection, proposal.stack), known, tell, sleep)


def _events(connection: Connection, stack: str) -> list[Mapping[str, Any]]:
    rows = connection.pages("cloudformation", "describe_stack_events", "StackEvents", StackName=stack)
    return sorted(rows, key=lambda row: row["Timestamp"])


def follow(deployment: Deployment, known: set[str], tell: Tell, sleep: Callable[[float], None] = time.sleep) -> Screen:
    """Tell what happens until the stack is at rest; the screen with its end. `known`: events of before."""
    from storescp_cfn.account import failure

    began: datetime | None = None
    causes: list[Line] = []
    while True:
        current = find(deployment.connection, deployment.stack_id)
        for event in _events(deployment.connection, deployment.stack_id):
            if event["EventId"] in known:
                continue
            known.add(event["EventId"])
            began = began or event["Timestamp"]
            if text := event_text(event, began):
                tell(text)
            if str(event["ResourceStatus"]).endswith("_FAILED") and not causes:
                causes = failure.describe(current)  # before the rollback removes where the reason stands
        if not current.status.endswith("_IN_PROGRESS"):
            return _end(current, causes)
        sleep(POLL_SECONDS)


def event_text(event: Mapping[str, Any], began: datetime) -> str:
    """One event as a line: elapsed time, resource, state; empty for what is not worth one."""
    status, kind = str(event["ResourceStatus"]), str(event["ResourceType"])
    elapsed = (event["Timestamp"] - began).total_seconds()
    clock = f"{int(elapsed // 60)}:{int(elapsed % 60):02}"
    if status.endswith("_IN_PROGRESS"):
        usual = USUAL_SECONDS.get(kind)
        begins = usual and not event.get("PhysicalResourceId")
        return f"{clock}  {event['LogicalResourceId']} begins; this usually takes {usual} s" if begins else ""
    return f"{clock}  {event['LogicalResourceId']} {status}"


def _end(deployment: Deployment, causes: Sequence[Line]) -> Screen:
    if deployment.status in GOOD_ENDS:
        to_do = f"storescp-cfn verify {deployment.name}, then storescp-cfn devices {deployment.name}"
        line = Line(Level.OK, "Everything is made.", to_do, "stack")
        rows = [[name, value] for name, value in deployment.outputs.items()]
        return Screen(
            f"{deployment.name} is {deployment.status}.",
            [line],
            [Table("Outputs", ["Output", "Value"], rows)],
            {"outputs": dict(deployment.outputs)},
        )
    to_do = "mend the cause, then: storescp-cfn delete --empty-leftovers, and launch again"
    if deployment.status.startswith("UPDATE_ROLLBACK"):
        to_do = "the version before it runs; mend the cause, then update again"
    lines = [Line(Level.STOP, f"{deployment.name} ended in {deployment.status}.", to_do, "stack"), *causes]
    return Screen(f"{deployment.name} failed.", lines)
