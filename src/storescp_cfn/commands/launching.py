"""`doctor` and `policy`: what would fail, before it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storescp_cfn.commands.shared import account_command, deployment, tell

if TYPE_CHECKING:
    from storescp_cfn.account.connection import Connection
    from storescp_cfn.account.screen import Screen

new_file = click.Path(dir_okay=False, path_type=Path)
old_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--vpc", "vpc_id", metavar="vpc-…", help="The VPC to launch into.")
@click.option("--certificate", default="", metavar="ARN", help="The certificate for TLS.")
@click.option("--parameters", type=old_file, metavar="FILE", help="Answers that are already there, as JSON.")
@click.option("--write", type=new_file, metavar="FILE", help="Write the proposed answers; deploy takes the file.")
@click.option("--template-url", metavar="URL", help="With the template in S3: print a link with the form filled in.")
@click.option("--stack", metavar="STACK", help="Look at a stack that runs or that failed.")
@account_command
def doctor(
    connection: Connection,
    vpc_id: str | None,
    certificate: str,
    parameters: Path | None,
    write: Path | None,
    template_url: str | None,
    stack: str | None,
) -> Screen:
    """Would a launch succeed, and with which answers? Or: why did a stack fail?

    Looks at the Region, the VPC's routes, NAT gateways and free addresses, the security group, the certificate, the
    quotas, your permissions and the subscription. Changes nothing.

    \b
    Examples:
      storescp-cfn doctor --vpc vpc-0a1b2c3d
      storescp-cfn doctor --vpc vpc-0a1b2c3d --write params.json
      storescp-cfn doctor --stack StoreSCP
    """
    from dataclasses import replace

    from storescp_cfn.account import doctor, proposal
    from storescp_cfn.template import render

    if stack:
        return doctor.examine_stack(deployment(connection, stack))
    given = proposal.read(parameters) if parameters else {}
    vpc = vpc_id or given.get("VpcID")
    if not vpc:
        raise click.UsageError("Name a VPC with --vpc, or a stack with --stack.")
    tell(f"Asking AWS about {vpc} ...")
    screen = doctor.examine(connection, doctor.Request(vpc, certificate, given, write), render().to_dict())
    if template_url:
        from storescp_cfn.marketplace import links

        answers = {name: value for name, value in screen.facts["answers"].items() if value != proposal.YOU_MUST_ANSWER}
        link = links.quick_create_url(template_url, connection.region, "StoreSCP", answers)
        return replace(screen, text=f"The form, filled in:\n{link}", facts={**screen.facts, "link": link})
    return screen


@click.group()
def policy() -> None:
    """The least IAM policies, for whoever administers the account."""


@policy.command("launch")
def policy_launch() -> None:
    """For who launches, updates and deletes the stack: from the template's own resource types."""
    from storescp_cfn.account import policies
    from storescp_cfn.template import render

    click.echo(json.dumps(policies.launch(render().to_dict()), indent=2))


@policy.command("operate")
@click.option("--read-only", is_flag=True, help="Only what status and the lists read.")
@click.option("--bucket", default="", metavar="NAME", help="The landing bucket (output LandingBucketName).")
@click.option("--table", default="", metavar="ARN", help="The ledger's ARN.")
@click.option("--datastore", default="", metavar="ARN", help="The data store's ARN.")
def policy_operate(read_only: bool, bucket: str, table: str, datastore: str) -> None:
    """For who asks status and decides about the quarantine."""
    from storescp_cfn.account import policies

    given = {"s3": f"arn:aws:s3:::{bucket}" if bucket else "", "dynamodb": table, "medical-imaging": datastore}
    resources = {service: arn for service, arn in given.items() if arn}
    click.echo(json.dumps(policies.operate(resources, changing=not read_only), indent=2))
