"""`deploy`, `update`, `outputs`: from a file of answers to a stack that runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from storescp_cfn.account import proposal
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment, find
from storescp_cfn.account.errors import AccountError, NoSuchStackError
from storescp_cfn.account.screen import Screen, Table

NETWORK_OUTPUTS = ("VpcID", "PublicSubnetIDs", "PrivateSubnetIDs", "SecurityGroupID", "VpcCIDR")
FAILED_LAUNCHES = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})


def upload(connection: Connection, body: str, bucket: str | None) -> str:
    """Put the template where CloudFormation reads it; return its URL. It is too large to be sent along.

    Without a bucket, one of the account's own is used, and made if it is not there. Raises AccountError.
    """
    account = connection.call("sts", "get_caller_identity")["Account"]
    name = bucket or f"storescp-cfn-{account}-{connection.region}"
    known = {row["Name"] for row in connection.call("s3", "list_buckets").get("Buckets", [])}
    if name not in known and not bucket:
        location = {"LocationConstraint": connection.region}
        where = {} if connection.region == "us-east-1" else {"CreateBucketConfiguration": location}
        connection.call("s3", "create_bucket", Bucket=name, **where)
    key = f"{hashlib.sha256(body.encode()).hexdigest()[:16]}.json"
    connection.call("s3", "put_object", Bucket=name, Key=key, Body=body.encode())
    if connection.is_local:
        return f"{connection.client('s3').meta.endpoint_url}/{name}/{key}"
    return f"https://{name}.s3.{connection.region}.amazonaws.com/{key}"


def of_network(connection: Connection, stack: str) -> dict[str, str]:
    """The parameters that a network's stack gives (templates/network.yaml). Raises AccountError: if it is none."""
    outputs = find(connection, stack).outputs
    if absent := [name for name in NETWORK_OUTPUTS if name not in outputs]:
        raise AccountError(f"The stack {stack} is not a network of this product: it has no output {absent[0]}.")
    return {name: outputs[name] for name in NETWORK_OUTPUTS}


def missing(values: Mapping[str, str], parameters: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the template's parameters that have neither a value nor a default."""
    return [
        name
        for name, parameter in parameters.items()
        if values.get(name, parameter.get("Default", proposal.YOU_MUST_ANSWER)) == proposal.YOU_MUST_ANSWER
    ]


def require_known(values: Mapping[str, str], parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise AccountError: for a name that the template does not have."""
    import difflib

    for name in values:
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, 1)
            hint = f": did you mean {close[0]}?" if close else "."
            raise AccountError(f"{name} is no parameter of the template{hint}")


def is_new(connection: Connection, stack: str) -> bool:
    """Whether there is no such stack yet. Raises AccountError: when one of an earlier, failed launch is in the way."""
    try:
        found = find(connection, stack)
    except NoSuchStackError:
        return True
    if found.status == "REVIEW_IN_PROGRESS":
        return True
    if found.status in FAILED_LAUNCHES:
        raise AccountError(
            f"{stack} is what is left of a failed launch ({found.status}): storescp-cfn doctor --stack {stack} tells "
            f"why; storescp-cfn delete {stack} --empty-leftovers clears it away."
        )
    raise AccountError(f"{stack} is there already ({found.status}): storescp-cfn update {stack} changes it.")


def given(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Values as CloudFormation takes them."""
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


def updated(
    deployment: Deployment, changed: Mapping[str, str], parameters: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Parameters of an update: what is changed; else the stack's own value; else the new template's default."""
    previous = [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in parameters
        if name in deployment.parameters and name not in changed
    ]
    return [*previous, *given(changed)]


def outputs(deployment: Deployment, names: Sequence[str] = ()) -> Screen:
    """What the stack tells: host, port, title, and where everything lies."""
    rows = [[name, value] for name, value in deployment.outputs.items() if not names or name in names]
    headline = f"{deployment.name} in {deployment.connection.region} is {deployment.status}."
    table = Table("Outputs", ["Output", "Value"], rows, if_empty="It has no outputs yet.")
    return Screen(headline, [], [table], {"outputs": dict(deployment.outputs)})
