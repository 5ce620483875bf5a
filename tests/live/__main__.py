"""`make live`: the whole life of a stack in a real account. Costs a few dollars; asks for STORESCP_LIVE=1."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from storescp_cfn.account import dicom_client, verify
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.errors import AccountError
from tests.live.acceptance import Account, Plan, run, table


@click.command()
@click.option("--region", required=True)
@click.option("--profile")
@click.option("--certificate", default="", help="ARN of a certificate: a device with TLS is tried, too.")
@click.option("--slices", default=1000, show_default=True)
@click.option("--facts", type=click.Path(path_type=Path), default=Path("live-facts.json"), show_default=True)
def main(region: str, profile: str | None, certificate: str, slices: int, facts: Path) -> None:
    """A stack's whole life in a real account; then a table, and what AWS does not document."""
    if not os.environ.get("STORESCP_LIVE"):
        raise click.ClickException(
            "This makes things in an AWS account that cost money: set STORESCP_LIVE=1 to run it."
        )
    own = dicom_client.leaves_as(verify.fetch_own_address)
    if not own:
        raise click.ClickException("The address under which this computer sends could not be found out.")
    plan = Plan(peer_cidr=f"{own}/32", certificate=certificate, slices=slices)
    try:
        results = run(Account(Connection(profile, region)), plan, click.echo, facts)
    except AccountError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(results))
    sys.exit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
