"""`verify`: does an image get from here into HealthImaging?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from storescp_cfn.commands.shared import account_command, deployment, stack_argument, tell

if TYPE_CHECKING:
    from storescp_cfn.account.connection import Connection
    from storescp_cfn.account.screen import Screen


@click.command()
@stack_argument
@click.option("--host", metavar="NAME", help="Test this host instead of the stack's load balancer.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port.")
@click.option("--aet", metavar="TITLE", help="Its Called AE Title. With host, port and this, no AWS rights are needed.")
@click.option("--calling", metavar="TITLE", help="The AE title to call as.")
@click.option("--tls/--no-tls", default=None, help="With or without TLS; by default as the stack was launched.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="Who signed.")
@click.option("--store", is_flag=True, help="Without AWS rights: also send a test study. It stays in HealthImaging.")
@click.option("--from-bucket", is_flag=True, help="Test the import alone, from CloudShell.")
@click.option("--remove", is_flag=True, help="Delete test studies that are still in HealthImaging.")
@account_command
def verify(connection: Connection, stack: str | None, aet: str | None, **options: object) -> Screen:
    """Send a small test study and find it again in HealthImaging, leg by leg; it is removed afterwards.

    \b
    Examples:
      storescp-cfn verify
      storescp-cfn verify --from-bucket
      storescp-cfn verify --host storescp.example.org --port 11112 --aet STORESCP
    """
    from dataclasses import replace

    from storescp_cfn.account import verify
    from storescp_cfn.account.dicom_client import Address

    host, port, tls, ca_file = options["host"], options["port"], options["tls"], options["ca"]
    calling = str(options["calling"]) if options["calling"] else None
    assert host is None or isinstance(host, str)
    assert ca_file is None or isinstance(ca_file, Path)
    if aet:
        if not host or not isinstance(port, int):
            raise click.UsageError("--aet goes with --host and --port.")
        address = Address(host, port, aet, calling or verify.DEFAULT_CALLING, bool(tls), ca_file)
        return verify.from_a_pc(address, bool(options["store"]), _tell_leg)
    found = deployment(connection, stack)
    if options["remove"]:
        return verify.remove_all(found)
    if options["from_bucket"]:
        return verify.from_bucket(found, _tell_leg)
    address = replace(verify.address_of(found, calling, host), ca_file=ca_file)
    if isinstance(port, int):
        address = replace(address, port=port)
    if tls is not None:
        address = replace(address, tls=bool(tls))
    return verify.whole_chain(found, address, _tell_leg)


def _tell_leg(name: str) -> None:
    tell(f"{name} ...")
