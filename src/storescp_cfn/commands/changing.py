"""`deploy`, `update`, `outputs` and `delete`: they change an account, after they have shown what they will do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storescp_cfn.commands.launching import old_file
from storescp_cfn.commands.shared import account_command, deployment, stack_argument, tell

if TYPE_CHECKING:
    from storescp_cfn.account.changes import Proposal
    from storescp_cfn.account.connection import Connection
    from storescp_cfn.account.screen import Screen

_param = click.option("--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A value; has the last word.")
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")
_bucket = click.option("--template-bucket", metavar="BUCKET", help="Where CloudFormation reads the template from.")
DEFAULT_WORKLOAD = (40, 300, 0.5)  # studies a day, images a study, megabytes an image: a department with one CT


@click.command()
@click.argument("stack", default="StoreSCP", metavar="[STACK]")
@click.option("--parameters", type=old_file, metavar="FILE", help="Answers, as storescp-cfn doctor --write makes them.")
@click.option("--network", metavar="STACK", help="A network's stack (storescp-cfn network): its outputs are answers.")
@_param
@_bucket
@_yes
@account_command
def deploy(
    connection: Connection,
    stack: str,
    parameters: Path | None,
    network: str | None,
    pairs: tuple[str, ...],
    template_bucket: str | None,
    yes: bool,
) -> Screen | None:
    """Launch a stack: shows what will be made and what a month costs, asks, then tells the progress.

    What is not answered by a file, a network or --param is asked for, if this is a terminal.

    \b
    Examples:
      storescp-cfn deploy StoreSCP --parameters params.json
      storescp-cfn deploy StoreSCP --network storescp-network \\
        --param PeerCIDR1=203.0.113.0/24
    """
    from storescp_cfn.account import changes, deploy, proposal
    from storescp_cfn.template import render

    template = render()
    form = template.to_dict()["Parameters"]
    values = proposal.read(parameters) if parameters else {}
    values |= deploy.of_network(connection, network) if network else {}
    values |= _pairs(pairs, form)
    deploy.require_known(values, form)
    deploy.is_new(connection, stack)
    values |= _questions(deploy.missing(values, form), form)
    url = deploy.upload(connection, template.to_json(), template_bucket)
    tell("Asking CloudFormation what would happen ...")
    proposed = changes.propose(connection, stack, url, deploy.given(values), creates=True)
    click.echo(_cost(template.to_dict(), connection.region), err=True)
    return _confirmed(proposed, yes)


@click.command()
@stack_argument
@_param
@_bucket
@_yes
@account_command
def update(
    connection: Connection, stack: str | None, pairs: tuple[str, ...], template_bucket: str | None, yes: bool
) -> Screen | None:
    """Bring a stack to this version, or change a value. Every other value stays as it is; images go on flowing.

    \b
    Examples:
      storescp-cfn update StoreSCP
      storescp-cfn update StoreSCP --param PeerCIDR2=198.51.100.0/24
    """
    from storescp_cfn.account import changes, deploy
    from storescp_cfn.template import render

    found = deployment(connection, stack)
    template = render()
    form = template.to_dict()["Parameters"]
    url = deploy.upload(connection, template.to_json(), template_bucket)
    tell("Asking CloudFormation what would happen ...")
    parameters = deploy.updated(found, _pairs(pairs, form), form)
    return _confirmed(changes.propose(connection, found.name, url, parameters, creates=False), yes)


@click.command()
@stack_argument
@account_command
def outputs(connection: Connection, stack: str | None) -> Screen:
    """Host, port and AE title for the devices, and the names of everything else."""
    from storescp_cfn.account import deploy

    return deploy.outputs(deployment(connection, stack))


@click.command()
@stack_argument
@click.option("--empty-leftovers", is_flag=True, help="After a failed launch: also remove what holds nothing.")
@_yes
@account_command
def delete(connection: Connection, stack: str | None, empty_leftovers: bool, yes: bool) -> Screen | None:
    """Delete a stack; shows first what is kept, and why. Images, ledger and data store are never deleted by this.

    \b
    Examples:
      storescp-cfn delete StoreSCP
      storescp-cfn delete StoreSCP --empty-leftovers
    """
    from storescp_cfn.account import deletion, deploy, screen

    found = deployment(connection, stack)
    if empty_leftovers and found.status not in deploy.FAILED_LAUNCHES:
        raise click.UsageError(f"{found.name} is {found.status}: --empty-leftovers is for launches that failed.")
    left = deletion.kept(found, deletion.template_of(found))
    screen.show(deletion.preview(found), json_wanted=False, stream=sys.stderr)
    if not _agreed(yes, f"Delete {found.name}?"):
        return None
    ended = deletion.delete(found, tell)
    return deletion.empty_leftovers(connection, left) if empty_leftovers and not ended.exit_status else ended


def _pairs(pairs: tuple[str, ...], form: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    from storescp_cfn.marketplace import links
    from storescp_cfn.marketplace.errors import BadInputError

    try:
        return links.values(pairs, form)
    except BadInputError as error:
        raise click.UsageError(str(error)) from error


def _questions(names: list[str], form: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Ask for what is missing. Raises UsageError: where nobody can be asked."""
    if names and not sys.stdin.isatty():
        raise click.UsageError(f"These have no value: {', '.join(names)}. Give --parameters, --network or --param.")
    answers = {}
    for name in names:
        click.echo(f"\n{form[name]['Description']}", err=True)
        answers[name] = click.prompt(name, err=True)
    return answers


def _cost(template: dict[str, Any], region: str) -> str:
    from storescp_cfn.marketplace import cost

    workload = cost.Workload(*DEFAULT_WORKLOAD)
    estimated = cost.estimate(workload, cost.deployment_of(template), region)
    return (
        f"A month costs about {estimated.this_product_usd:,.0f} USD with {workload.words()}, at list prices; "
        "storescp-cfn estimate counts with your own numbers."
    )


def _confirmed(proposed: Proposal, yes: bool) -> Screen | None:
    """Show the change set, ask, and let it happen or take it back."""
    from storescp_cfn.account import changes, screen

    if not proposed.name:
        return screen.Screen(f"{proposed.stack} is as it should be: nothing would change.")
    headline = f"{proposed.stack}: {len(proposed.changes)} resources would be touched."
    if proposed.replaced:
        headline += f" Replaced by new ones: {', '.join(proposed.replaced)}."
    screen.show(screen.Screen(headline, tables=[proposed.table()]), json_wanted=False, stream=sys.stderr)
    if not _agreed(yes, "Do it?"):
        changes.discard(proposed)
        return None
    return changes.execute(proposed, lambda text: click.echo(text, err=True))


def _agreed(yes: bool, question: str) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: add --yes.")
    return click.confirm(question, err=True)
