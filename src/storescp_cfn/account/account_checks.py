"""What `doctor` says about the account: Region, certificate, quotas, the caller's permissions, subscription."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from storescp_cfn.account import moments
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.errors import AccessDeniedError, AccountError
from storescp_cfn.account.screen import Level, Line
from storescp_cfn.template import regions

CERTIFICATE_DAYS = 30
# Service, code, name, least value that a default launch needs (Service Quotas console).
QUOTAS = (
    ("fargate", "L-3032A538", "Fargate vCPUs on demand", 4.0),
    ("elasticloadbalancing", "L-69A177A2", "Network load balancers per Region", 1.0),
    ("medical-imaging", "L-23763099", "Concurrent HealthImaging import jobs per data store", 1.0),
)
SIMULATED_AT_ONCE = 50
DENIED_SHOWN = 6


def region_lines(connection: Connection) -> list[Line]:
    """Whether HealthImaging is in the Region."""
    if connection.region in regions.SUPPORTED:
        return [Line(Level.OK, f"AWS HealthImaging is in {connection.region}.", subject="region")]
    known = ", ".join(regions.SUPPORTED)
    return [
        Line(Level.STOP, f"AWS HealthImaging is not in {connection.region}.", f"choose --region of {known}", "region")
    ]


def certificate_lines(connection: Connection, arn: str, utc_now: datetime) -> list[Line]:
    """Whether the load balancer can use a certificate, and the names that devices may check."""
    subject = "certificate"
    region = arn.split(":")[3] if arn.count(":") >= 5 else ""
    if region != connection.region:
        text = f"The certificate is of {region or 'no Region'}, and the stack of {connection.region}."
        to_do = f"request or import a certificate in {connection.region} (Certificate Manager console)"
        return [Line(Level.STOP, text, to_do, subject)]
    row = connection.call("acm", "describe_certificate", CertificateArn=arn)["Certificate"]
    names = ", ".join(row.get("SubjectAlternativeNames") or [row.get("DomainName", "?")])
    if row["Status"] != "ISSUED":
        text = f"The certificate is {row['Status']}, not ISSUED."
        to_do = "Certificate Manager console: finish its validation (a DNS record), then wait until it is issued"
        return [Line(Level.STOP, text, to_do, subject)]
    ends = row.get("NotAfter")
    if ends and (ends - utc_now).days < CERTIFICATE_DAYS:
        text = f"The certificate for {names} expires {moments.shown(ends, utc_now)}."
        return [Line(Level.WARNING, text, "renew it, or import the new one under the same ARN", subject)]
    return [Line(Level.OK, f"The certificate is for {names}: devices that check names must use that.", subject=subject)]


def quota_lines(connection: Connection) -> list[Line]:
    """Whether the account's quotas let the stack run."""
    lines = []
    for service, code, name, least in QUOTAS:
        try:
            quota = connection.call("service-quotas", "get_service_quota", ServiceCode=service, QuotaCode=code)["Quota"]
        except AccessDeniedError as error:
            return [Line(Level.UNKNOWN, f"Quotas: {error}", "ask for the permission", "quotas")]
        except AccountError:
            quota = connection.call(
                "service-quotas", "get_aws_default_service_quota", ServiceCode=service, QuotaCode=code
            )["Quota"]
        if quota["Value"] < least:
            text = f"Quota {name}: {quota['Value']:g}; at least {least:g} are needed."
            to_do = f"Service Quotas console, {service}, {code}: request an increase (takes hours to days)"
            lines.append(Line(Level.STOP, text, to_do, "quotas"))
    return lines or [Line(Level.OK, "The quotas are wide enough for a default launch.", subject="quotas")]


def permission_lines(connection: Connection, actions: Sequence[str]) -> list[Line]:
    """Which of the actions the caller lacks, by IAM's own simulation."""
    identity = connection.call("sts", "get_caller_identity")["Arn"]
    arn = principal_of(str(identity))
    if arn.endswith(":root"):
        return [Line(Level.WARNING, "You are the account's root user.", "use a role made for this", "permissions")]
    denied: list[str] = []
    for start in range(0, len(actions), SIMULATED_AT_ONCE):
        answer = connection.call(
            "iam",
            "simulate_principal_policy",
            PolicySourceArn=arn,
            ActionNames=list(actions[start : start + SIMULATED_AT_ONCE]),
        )
        denied += [row["EvalActionName"] for row in answer["EvaluationResults"] if row["EvalDecision"] != "allowed"]
    if not denied:
        return [Line(Level.OK, "You may create everything that the stack is made of.", subject="permissions")]
    shown = ", ".join(denied[:DENIED_SHOWN]) + (
        f" and {len(denied) - DENIED_SHOWN} more" * (len(denied) > DENIED_SHOWN)
    )
    text = f"{len(denied)} permissions are missing: {shown}."
    to_do = "give the output of storescp-cfn policy launch to whoever administers the account"
    return [Line(Level.STOP, text, to_do, "permissions", {"missing": denied})]


def principal_of(arn: str) -> str:
    """The user or role behind a caller's ARN: a session of a role counts as the role."""
    parts = arn.split(":")
    if parts[2] == "sts" and parts[5].startswith("assumed-role/"):
        return f"arn:{parts[1]}:iam::{parts[4]}:role/{parts[5].split('/')[1]}"
    return arn


def image_lines(connection: Connection, template: Mapping[str, Any]) -> list[Line]:
    """Whether the receiver's image of this version can be fetched: only subscribers of the listing may."""
    image = image_of(template)
    registry, _, rest = image.partition("/")
    account, *labels = registry.split(".")
    repository, _, tag = rest.rpartition(":")
    if len(labels) < 4 or not account.isdigit() or not repository:
        text = f"This version names no published image ({image or 'none'})."
        return [
            Line(Level.WARNING, text, "launch from the listing in AWS Marketplace, or give ContainerImage", "image")
        ]
    try:
        answer = connection.call(
            "ecr", "batch_get_image", registryId=account, repositoryName=repository, imageIds=[{"imageTag": tag}]
        )
    except AccessDeniedError:
        text = "The receiver's image cannot be fetched: this account has not subscribed, or you may not read it."
        return [Line(Level.STOP, text, "AWS Marketplace console, Manage subscriptions: subscribe to StoreSCP", "image")]
    if not answer.get("images"):
        text = f"The registry has no image {tag}."
        return [Line(Level.STOP, text, "choose a published version", "image")]
    return [Line(Level.OK, "The receiver's image can be fetched.", subject="image")]


def image_of(template: Mapping[str, Any]) -> str:
    """The image that a rendered template runs by default."""
    default = str(template.get("Parameters", {}).get("ContainerImage", {}).get("Default", ""))
    if default:
        return default
    for mapping in template.get("Mappings", {}).values():
        for entry in mapping.values():
            if image := entry.get("Image"):
                return str(image)
    return ""


def now() -> datetime:
    """The time of day, as certificates have it."""
    return datetime.now(UTC)
