"""One stack of this product in an account: its state, outputs, parameters and resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from storescp_cfn.account.connection import Connection
from storescp_cfn.account.errors import AccountError, NoSuchStackError

PRODUCT = "StoreSCP "  # how the template's description begins
GONE = "DELETE_COMPLETE"


@dataclass(frozen=True)
class Deployment:
    """A stack as CloudFormation describes it."""

    connection: Connection
    name: str
    stack_id: str
    status: str
    status_reason: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    def output(self, name: str) -> str:
        """An output's value. Raises AccountError: while the stack has none, because it is not complete."""
        if name not in self.outputs:
            raise AccountError(
                f"The stack {self.name} has no output {name}: it is {self.status}, or was launched by an older version "
                "that did not have it."
            )
        return self.outputs[name]

    @cached_property
    def resources(self) -> Mapping[str, tuple[str, str]]:
        """Logical id: (type, physical id) of every resource. Raises AccountError: when AWS cannot be asked."""
        rows = self.connection.pages(
            "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=self.stack_id
        )
        return {row["LogicalResourceId"]: (row["ResourceType"], row.get("PhysicalResourceId", "")) for row in rows}

    def physical_ids(self, resource_type: str) -> list[str]:
        """Physical ids of all resources of a type."""
        return [physical_id for kind, physical_id in self.resources.values() if kind == resource_type and physical_id]


def find(connection: Connection, name: str | None) -> Deployment:
    """The stack of that name; without one, the only stack of this product in the Region.

    Raises NoSuchStackError: when there is none, or several to choose from.
    """
    return _named(connection, name) if name else _only_one(connection)


def _named(connection: Connection, name: str) -> Deployment:
    from botocore.exceptions import ClientError

    try:
        row = connection.call("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
    except AccountError as error:
        told = error.__cause__
        if isinstance(told, ClientError) and "does not exist" in str(told):
            raise NoSuchStackError(_no_such_stack(connection, name)) from error
        raise
    return _deployment(connection, row)


def _no_such_stack(connection: Connection, name: str) -> str:
    try:
        others = [stack.name for stack in all_of(connection)]
    except AccountError:
        others = []
    known = f"there is {', '.join(others)}" if others else "no stack of this product is here; try another --region"
    return f"There is no stack {name} in {connection.region}: {known}."


def all_of(connection: Connection) -> list[Deployment]:
    """Every stack of this product in the Region, by name."""
    rows = connection.pages("cloudformation", "describe_stacks", "Stacks")
    found = [_deployment(connection, row) for row in rows if row.get("Description", "").startswith(PRODUCT)]
    return sorted((stack for stack in found if stack.status != GONE), key=lambda stack: stack.name)


def _only_one(connection: Connection) -> Deployment:
    found = all_of(connection)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoSuchStackError(
            f"No stack of this product is in {connection.region}: name the Region with --region, "
            "or the stack itself if it was renamed."
        )
    raise NoSuchStackError(
        f"Several stacks are in {connection.region}: name one of {', '.join(s.name for s in found)}."
    )


def _deployment(connection: Connection, row: Mapping[str, object]) -> Deployment:
    def pairs(key: str, name: str, value: str) -> dict[str, str]:
        entries = row.get(key) or []
        assert isinstance(entries, list)
        return {entry[name]: entry.get(value, "") for entry in entries}

    return Deployment(
        connection,
        str(row["StackName"]),
        str(row.get("StackId") or row["StackName"]),
        str(row["StackStatus"]),
        str(row.get("StackStatusReason") or ""),
        pairs("Outputs", "OutputKey", "OutputValue"),
        pairs("Parameters", "ParameterKey", "ParameterValue"),
    )
