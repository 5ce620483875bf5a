"""`storescp-cfn doctor`: what would fail at launch, before it does; and what has failed, with its root cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storescp_cfn.account import account_checks, failure, gathering, health, network_checks, policies, proposal, vpc
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.screen import Level, Line, Screen, Table


@dataclass(frozen=True)
class Request:
    """What is to be looked at. given: answers of the form that are known already."""

    vpc_id: str
    certificate: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    write_to: Path | None = None


def examine(connection: Connection, request: Request, template: Mapping[str, Any]) -> Screen:
    """Before a launch. `template`: as rendered. Raises AccountError: when not even the VPC can be read."""
    found = vpc.read(connection, request.vpc_id)
    answers = network_checks.choice(found, request.given)
    certificate = request.certificate or answers.get("TLSCertificateARN", "")
    if certificate:
        answers["TLSCertificateARN"] = certificate
    questions = {
        "region": lambda: account_checks.region_lines(connection),
        "network": lambda: network_checks.lines(found, answers),
        "quotas": lambda: account_checks.quota_lines(connection),
        "permissions": lambda: account_checks.permission_lines(connection, policies.launch_actions(template)),
        "image": lambda: account_checks.image_lines(connection, template),
    }
    if certificate:
        questions["certificate"] = lambda: account_checks.certificate_lines(
            connection, certificate, account_checks.now()
        )
    lines = gathering.lines_of(questions)
    lines += _transport_lines(answers)
    if request.write_to:
        proposal.write(request.write_to, answers)
    lines += [_unanswered_line(name, request.write_to) for name in network_checks.unanswered(answers)]
    stops = sum(line.level == Level.STOP for line in lines)
    headline = f"{request.vpc_id} in {connection.region}: " + (
        f"a launch would fail, for {stops} reasons." if stops else "a launch can succeed."
    )
    rows = [[name, value] for name, value in answers.items()]
    return Screen(headline, lines, [Table("Answers for the form", ["Parameter", "Value"], rows)], {"answers": answers})


def _transport_lines(answers: Mapping[str, str]) -> list[Line]:
    if answers.get("LoadBalancerScheme") != "internet-facing" or answers.get("TLSCertificateARN"):
        return []
    text = "Without a certificate, images of patients would cross the internet in plain text."
    to_do = "add --certificate ARN, or choose LoadBalancerScheme internal and let devices come through VPN"
    return [Line(Level.WARNING, text, to_do, "transport")]


def _unanswered_line(name: str, path: Path | None) -> Line:
    what = {
        "PeerCIDR1": "the network that devices send from, as others see it, for example 203.0.113.0/24",
        "SecurityGroupID": "a security group of the VPC that lets HTTPS out",
    }.get(name, "its value")
    where = f"in {path}" if path else "in the form"
    return Line(Level.WARNING, f"{name} is for you to say: {what}.", f"type it {where}", name)


def examine_stack(deployment: Deployment) -> Screen:
    """A stack that runs or that failed."""
    lines = gathering.lines_of(
        {
            "stack": lambda: health.stack_lines(deployment),
            "receivers": lambda: health.receiver_lines(deployment) if deployment.outputs else [],
            "failure": lambda: failure.lines(deployment),
        }
    )
    worst = max(line.level for line in lines)
    state = "nothing is wrong with it" if worst == Level.OK else "look at this"
    return Screen(f"{deployment.name} is {deployment.status}: {state}.", lines)
