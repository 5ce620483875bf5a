"""Why a stack failed or does not start: the root cause out of its events, its tasks and its targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line

# What CloudFormation says of resources that only stopped because another one had failed.
CONSEQUENCES = ("Resource creation cancelled", "Resource update cancelled", "The following resource(s) failed")
# Part of a reason: what it means and what to do. The first that fits is taken.
KNOWN_REASONS = (
    (
        "circuit breaker",
        "the receivers did not start, or did not turn healthy",
        "look at the stopped tasks below; most often the private subnets have no way out: storescp-cfn doctor --vpc …",
    ),
    (
        "CannotPullContainer",
        "the image could not be fetched",
        "check the subscription in AWS Marketplace, and that the private subnets have a NAT gateway",
    ),
    (
        "ResourceInitializationError",
        "the task could not reach AWS when it started",
        "give the private subnets a way out (NAT gateway), and the security group outgoing HTTPS",
    ),
    ("OutOfMemory", "the receiver ran out of memory", "raise TaskMemoryLimit"),
    ("not authorized to perform", "a permission is missing", "storescp-cfn policy launch prints the whole list"),
    ("AccessDenied", "a permission is missing", "storescp-cfn policy launch prints the whole list"),
    ("LimitExceeded", "a quota of the account is used up", "Service Quotas console: request an increase"),
    ("already exists", "something of that name is left over from an earlier launch", "choose another stack name"),
    ("failed to satisfy constraint", "a value is not allowed", "correct the parameter and launch again"),
)


def root_cause(events: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first failure that is not the consequence of another. `events` in any order."""
    failed = [
        event
        for event in events
        if str(event.get("ResourceStatus", "")).endswith("_FAILED")
        and not str(event.get("ResourceStatusReason", "")).startswith(CONSEQUENCES)
    ]
    own = [event for event in failed if event.get("ResourceType") != "AWS::CloudFormation::Stack"]
    return min(own or failed, key=lambda event: event["Timestamp"], default=None)


def explained(reason: str) -> tuple[str, str]:
    """What a reason means, and what to do about it."""
    for part, meaning, to_do in KNOWN_REASONS:
        if part.lower() in reason.lower():
            return meaning, to_do
    return "", "mend what the reason says, delete the stack and launch again"


def lines(deployment: Deployment) -> list[Line]:
    """What failed, as far as it can still be read. Raises AccountError: when AWS cannot be asked."""
    events = deployment.connection.pages(
        "cloudformation", "describe_stack_events", "StackEvents", StackName=deployment.stack_id
    )
    found = []
    if cause := root_cause(events):
        reason = " ".join(str(cause.get("ResourceStatusReason", "no reason given")).split())
        meaning, to_do = explained(reason)
        text = f"{cause['LogicalResourceId']} ({cause['ResourceType']}): {meaning + '. ' if meaning else ''}{reason}"
        found.append(Line(Level.STOP, text, to_do, "root cause", {"resource": cause["LogicalResourceId"]}))
    return found + task_lines(deployment) + target_lines(deployment)


def task_lines(deployment: Deployment) -> list[Line]:
    """Why tasks stopped; ECS tells it for about an hour."""
    connection, texts = deployment.connection, list[str]()
    for cluster in deployment.physical_ids("AWS::ECS::Cluster"):
        arns = connection.call("ecs", "list_tasks", cluster=cluster, desiredStatus="STOPPED").get("taskArns", [])
        if not arns:
            continue
        tasks = connection.call("ecs", "describe_tasks", cluster=cluster, tasks=arns[:100]).get("tasks", [])
        texts += [stopped_reason(task) for task in tasks]
    found = []
    for text in dict.fromkeys(filter(None, texts)):
        meaning, to_do = explained(text)
        found.append(Line(Level.STOP, f"A receiver stopped: {meaning + '. ' if meaning else ''}{text}", to_do, "task"))
    return found


def stopped_reason(task: Mapping[str, Any]) -> str:
    """Why a task stopped; empty for one that was only replaced."""
    if task.get("stopCode") in ("UserInitiated", "ServiceSchedulerInitiated"):
        return ""
    containers: Sequence[Mapping[str, Any]] = task.get("containers", [])
    parts = [str(task.get("stoppedReason", "")), *(str(one.get("reason", "")) for one in containers)]
    codes = [f"exit status {one['exitCode']}" for one in containers if one.get("exitCode") not in (None, 0)]
    return " ".join(" ".join(filter(None, [*parts, *codes])).split())


def target_lines(deployment: Deployment) -> list[Line]:
    """Why the load balancer takes a receiver for unhealthy."""
    found = []
    for group in deployment.physical_ids("AWS::ElasticLoadBalancingV2::TargetGroup"):
        answer = deployment.connection.call("elbv2", "describe_target_health", TargetGroupArn=group)
        for row in answer["TargetHealthDescriptions"]:
            state = row["TargetHealth"]
            if state["State"] == "unhealthy":
                text = (
                    f"Receiver {row['Target']['Id']} is unhealthy: {state.get('Description', state.get('Reason', ''))}"
                )
                to_do = "look at the receiver's log (output ReceiverLogGroupName): it says what it is not ready for"
                found.append(Line(Level.WARNING, text, to_do, "target"))
    return found


def describe(deployment: Deployment) -> list[Line]:
    """`lines`, or the one sentence on why they cannot be told."""
    try:
        return lines(deployment)
    except AccountError as error:
        return [Line(Level.UNKNOWN, f"The cause cannot be read: {error}", "mend this, then ask again", "root cause")]
