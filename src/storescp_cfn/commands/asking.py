"""`status`: is it healthy, and where is that study?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from storescp_cfn.commands.shared import account_command, deployment, stack_argument

if TYPE_CHECKING:
    from storescp_cfn.account.connection import Connection
    from storescp_cfn.account.deployment import Deployment
    from storescp_cfn.account.screen import Screen

WATCH_SECONDS = 10


@click.command()
@stack_argument
@click.option("--study", metavar="UID", help="Where is this study? By its Study Instance UID.")
@click.option("--image", metavar="UID", help="Where is this image? By its SOP Instance UID.")
@click.option("--accession", metavar="NUMBER", help="The studies with this accession number.")
@click.option("--patient", metavar="ID", help="The studies of this patient id. It is neither kept nor shown.")
@click.option("--device", metavar="TITLE", help="What did this device send? By its AE title.")
@click.option("--since", metavar="TIME", help="With --device: 09:30, 2026-11-23, 2h or 3d; today if it is not given.")
@click.option("--batch", metavar="ID", help="What became of this batch?")
@click.option("--watch", is_flag=True, help=f"Ask again every {WATCH_SECONDS} seconds, until Ctrl-C.")
@account_command
def status(connection: Connection, stack: str | None, watch: bool, **question: str | None) -> Screen:
    """Is the stack healthy, and where is that study?

    Without a question: receivers, alarms, what waits, and a line for each device. Exit status: 0 all is well, 1 there
    is something to do, 2 it could not be found out.

    \b
    Examples:
      storescp-cfn status
      storescp-cfn status StoreSCP --region eu-west-1 --json
      storescp-cfn status --study 1.2.840.113619.2.55.3
      storescp-cfn status --device CT1 --since 09:30
    """
    asked = [name for name, value in question.items() if value and name != "since"]
    if len(asked) > 1:
        raise click.UsageError(f"Ask one question at a time: --{' or --'.join(asked)}.")
    if question["since"] and asked != ["device"]:
        raise click.UsageError("--since goes with --device.")
    found = deployment(connection, stack)
    while watch:
        from storescp_cfn.account import screen

        click.clear()
        screen.show(_answer(found, question), json_wanted=False)
        time.sleep(WATCH_SECONDS)
    return _answer(found, question)


def _answer(found: Deployment, question: dict[str, str | None]) -> Screen:
    from storescp_cfn.account import status as overview
    from storescp_cfn.account import whereabouts

    if question["study"]:
        return whereabouts.study(found, question["study"])
    if question["image"]:
        return whereabouts.instance(found, question["image"])
    if question["accession"]:
        return whereabouts.by_attribute(found, "DICOMAccessionNumber", question["accession"])
    if question["patient"]:
        return whereabouts.by_attribute(found, "DICOMPatientId", question["patient"])
    if question["batch"]:
        return whereabouts.batch(found, question["batch"])
    if question["device"]:
        return overview.of_device(found, question["device"], question["since"])
    return overview.overview(found)


@click.command()
@stack_argument
@click.option("--device", "titles", multiple=True, metavar="TITLE", help="For this device; repeat it for more.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a page to print.")
@account_command
def devices(connection: Connection, stack: str | None, titles: tuple[str, ...], html: Path | None) -> Screen:
    """A sheet for each device: host, port, AE title, TLS, what to switch off.

    \b
    Examples:
      storescp-cfn devices --device CT1 --device MR1 --html devices.html
    """
    from storescp_cfn.account import devices

    found = deployment(connection, stack)
    made = devices.sheets(found, titles or devices.known_titles(found))
    if html:
        try:
            html.write_text(devices.as_html(found, made), encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{html} cannot be written: {error.strerror}") from error
    return devices.screen(found, made, str(html or ""))
