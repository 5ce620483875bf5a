"""`delete`: what goes, what is kept and why; and after a failed launch, the leftovers that hold nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from storescp_cfn.account import changes
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line, Screen, Table

# What outlives a stack, and why (docs/adr/0007).
WHY_KEPT = {
    "AWS::S3::BucketPolicy": "it protects the bucket that is kept",
    "AWS::S3::Bucket": "it may hold images, their reasons in quarantine, or access logs",
    "AWS::DynamoDB::Table": "it says what became of each image",
    "AWS::HealthImaging::Datastore": "it holds the imported images",
    "AWS::Logs::LogGroup": "it may be asked for later",
}


def kept(deployment: Deployment, template: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(logical id, type, physical id) of what a deletion leaves behind."""
    policies = {name: row.get("DeletionPolicy", "Delete") for name, row in template["Resources"].items()}
    return [
        (name, kind, physical_id)
        for name, (kind, physical_id) in deployment.resources.items()
        if policies.get(name) in ("Retain", "RetainExceptOnCreate") and physical_id
    ]


def template_of(deployment: Deployment) -> Mapping[str, Any]:
    """The stack's own template, as an object. Raises AccountError."""
    body = deployment.connection.call("cloudformation", "get_template", StackName=deployment.stack_id)["TemplateBody"]
    if isinstance(body, str):
        import json

        try:
            parsed: Mapping[str, Any] = json.loads(body)
        except ValueError:
            return _policies_of_yaml(body)
        return parsed
    return dict(body)


def _policies_of_yaml(body: str) -> Mapping[str, Any]:
    """Types and deletion policies of a YAML template: the only two attributes that are needed, line by line."""
    resources: dict[str, dict[str, str]] = {}
    section, current = "", ""
    for line in body.splitlines():
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if indent == 0 and text.endswith(":"):
            section = text[:-1]
        elif section == "Resources" and indent == 2 and text.endswith(":"):
            current = text[:-1]
            resources[current] = {}
        elif section == "Resources" and indent == 4 and text.startswith(("DeletionPolicy:", "Type:")):
            name, _, value = text.partition(":")
            resources[current][name] = value.strip().strip("'\"")
    return {"Resources": resources}


def preview(deployment: Deployment) -> Screen:
    """What a deletion would do."""
    left = kept(deployment, template_of(deployment))
    lines = [
        Line(
            Level.WARNING,
            f"{name} ({physical_id}) is kept: {WHY_KEPT.get(kind, 'it outlives the stack')}.",
            "look whether you still need it; delete it by hand when you are sure",
            "kept",
            {"resource": name, "physical_id": physical_id, "type": kind},
        )
        for name, kind, physical_id in left
    ]
    gone = len(deployment.resources) - len(left)
    rows = [[name, kind] for name, (kind, _) in deployment.resources.items() if name not in {row[0] for row in left}]
    headline = f"Deleting {deployment.name} removes {gone} resources and keeps {len(left)}."
    return Screen(headline, lines, [Table("Removed", ["Resource", "Type"], rows)])


def delete(deployment: Deployment, tell: changes.Tell, sleep: Callable[[float], None] = time.sleep) -> Screen:
    """Delete the stack and follow it. Raises AccountError: when AWS cannot be asked."""
    left = kept(deployment, template_of(deployment))
    connection = deployment.connection
    connection.call("cloudformation", "delete_stack", StackName=deployment.stack_id)
    while True:
        row = connection.call("cloudformation", "describe_stacks", StackName=deployment.stack_id)["Stacks"][0]
        status = row["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            break
        tell(f"{deployment.name} {status}")
        sleep(changes.POLL_SECONDS)
    if status != "DELETE_COMPLETE":
        reason = row.get("StackStatusReason", "no reason given")
        line = Line(Level.STOP, f"The deletion ended in {status}: {reason}", "mend this, then delete again", "stack")
        return Screen(f"{deployment.name} is not deleted.", [line])
    lines = [
        Line(
            Level.OK, f"{name} ({physical_id}) is kept: {WHY_KEPT.get(kind, 'it outlives the stack')}.", subject="kept"
        )
        for name, kind, physical_id in left
    ]
    return Screen(f"{deployment.name} is deleted.", lines, facts={"kept": [list(row) for row in left]})


def empty_leftovers(connection: Connection, left: list[tuple[str, str, str]]) -> Screen:
    """Remove what a launch that failed has left behind, if it holds nothing; what holds something stays."""
    lines = []
    for name, kind, physical_id in left:
        try:
            removed = remove_if_empty(connection, kind, physical_id)
        except AccountError as error:
            lines.append(Line(Level.UNKNOWN, f"{name} ({physical_id}): {error}", "mend this, then try again", "left"))
            continue
        if removed:
            lines.append(Line(Level.OK, f"{name} ({physical_id}) was empty and is removed.", subject="removed"))
        else:
            text = f"{name} ({physical_id}) holds something and stays."
            lines.append(Line(Level.WARNING, text, "look at it, and delete it by hand if you are sure", "left"))
    return Screen(f"{sum(line.subject == 'removed' for line in lines)} of {len(left)} leftovers are removed.", lines)


def remove_if_empty(connection: Connection, kind: str, physical_id: str) -> bool:
    """Remove one resource unless it holds anything, in any version; whether it was removed. Raises AccountError."""
    if kind == "AWS::S3::Bucket":
        held = connection.call("s3", "list_object_versions", Bucket=physical_id, MaxKeys=1)
        if held.get("Versions") or held.get("DeleteMarkers"):
            return False
        connection.call("s3", "delete_bucket", Bucket=physical_id)
    elif kind == "AWS::DynamoDB::Table":
        rows = connection.call("dynamodb", "scan", TableName=physical_id, Limit=25)["Items"]
        if any(row.get("pk", {}).get("S") != "LEASE" for row in rows):
            return False
        connection.call("dynamodb", "delete_table", TableName=physical_id)
    elif kind == "AWS::HealthImaging::Datastore":
        found = connection.call("medical-imaging", "search_image_sets", datastoreId=physical_id, maxResults=1)
        if found["imageSetsMetadataSummaries"]:
            return False
        connection.call("medical-imaging", "delete_datastore", datastoreId=physical_id)
    elif kind == "AWS::Logs::LogGroup":
        connection.call("logs", "delete_log_group", logGroupName=physical_id)
    else:
        return False
    return True
