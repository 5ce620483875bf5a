"""`quarantine` and `warnings`: what HealthImaging refused or warned of, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from storescp_cfn.commands.shared import account_command, deployment, stack_argument

if TYPE_CHECKING:
    from storescp_cfn.account.connection import Connection
    from storescp_cfn.account.quarantine import Selection
    from storescp_cfn.account.screen import Screen

F = TypeVar("F", bound=Callable[..., Any])


def selection_options(function: F) -> F:
    """Which entries are meant."""
    for option in (
        click.option("--image", default="", metavar="UID", help="One image, by its SOP Instance UID."),
        click.option("--batch", default="", metavar="ID", help="What came with this batch."),
        click.option("--study", default="", metavar="UID", help="Of this study."),
        click.option("--device", default="", metavar="TITLE", help="Of this device."),
    ):
        function = option(function)
    return function


def _selection(choice: dict[str, str], all_of_them: bool = True) -> Selection:
    from storescp_cfn.account.quarantine import Selection

    selection = Selection(**choice)
    if selection.is_empty and not all_of_them:
        raise click.UsageError("Say which: --device, --study, --batch, --image or --all.")
    return selection


@click.group()
def quarantine() -> None:
    """What HealthImaging refused: list it, look at it, try it again, export it, close it."""


@quarantine.command("list")
@stack_argument
@selection_options
@account_command
def quarantine_list(connection: Connection, stack: str | None, **choice: str) -> Screen:
    """What is in quarantine, by device and reason, and whether a retry is worth it.

    \b
    Examples:
      storescp-cfn quarantine list
      storescp-cfn quarantine list --device MR1 --json
    """
    from storescp_cfn.account import quarantine

    return quarantine.show_list(deployment(connection, stack), _selection(choice))


@quarantine.command("show")
@click.argument("image", metavar="UID")
@click.option("--stack", metavar="STACK", help="Which stack, if there are several.")
@account_command
def quarantine_show(connection: Connection, stack: str | None, image: str) -> Screen:
    """One image: why, what was done about it, and its header with all that may name the patient masked."""
    from storescp_cfn.account import quarantine

    return quarantine.show(deployment(connection, stack), image)


@quarantine.command("retry")
@stack_argument
@selection_options
@click.option("--all", "all_of_them", is_flag=True, help="Everything that is in quarantine.")
@click.option("--anyway", is_flag=True, help="Also what cannot be fixed by retrying.")
@account_command
def quarantine_retry(
    connection: Connection, stack: str | None, all_of_them: bool, anyway: bool, **choice: str
) -> Screen:
    """Import images once more; the evidence stays in quarantine. Tells how it ended, if that takes under a minute.

    \b
    Examples:
      storescp-cfn quarantine retry --device MR1
      storescp-cfn quarantine retry --image 1.2.840.113619.2.55.3.7
    """
    from storescp_cfn.account import quarantine

    selection = _selection(choice, all_of_them)
    return quarantine.retry(deployment(connection, stack), selection, anyway)


@quarantine.command("export")
@stack_argument
@selection_options
@click.option("--all", "all_of_them", is_flag=True, help="Everything that is in quarantine.")
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="FOLDER")
@account_command
def quarantine_export(
    connection: Connection, stack: str | None, all_of_them: bool, folder: Path, **choice: str
) -> Screen:
    """Write the images as they were sent into a folder. They are patient data."""
    from storescp_cfn.account import quarantine

    selection = _selection(choice, all_of_them)
    return quarantine.export(deployment(connection, stack), selection, folder)


def _close(
    kinds: str, connection: Connection, stack: str | None, all_of_them: bool, note: str, **choice: str
) -> Screen:
    from storescp_cfn.account import quarantine

    meant = {"quarantine": quarantine.QUARANTINE_KINDS, "warnings": quarantine.WARNING_KINDS}[kinds]
    selection = _selection(choice, all_of_them)
    return quarantine.close(deployment(connection, stack), meant, selection, note)


@quarantine.command("close")
@stack_argument
@selection_options
@click.option("--all", "all_of_them", is_flag=True, help="Everything that is in quarantine.")
@click.option("--note", required=True, metavar="WHY", help="Why nothing is to be done any more. No patient's data.")
@account_command
def quarantine_close(**arguments: Any) -> Screen:
    """Note who decided that nothing is to be done any more, and why. The files stay.

    \b
    Example:
      storescp-cfn quarantine close --study 1.2.840.113619.2.55.3 \\
        --note "sent again, complete"
    """
    return _close("quarantine", **arguments)


@click.group()
def warnings() -> None:
    """What is imported, and yet not as it should be."""


@warnings.command("list")
@stack_argument
@selection_options
@account_command
def warnings_list(connection: Connection, stack: str | None, **choice: str) -> Screen:
    """Images that HealthImaging took with a warning, or put where viewers do not look."""
    from storescp_cfn.account import quarantine

    return quarantine.show_warnings(deployment(connection, stack), _selection(choice))


@warnings.command("close")
@stack_argument
@selection_options
@click.option("--all", "all_of_them", is_flag=True, help="Every open warning.")
@click.option("--note", required=True, metavar="WHY", help="Why nothing is to be done any more. No patient's data.")
@account_command
def warnings_close(**arguments: Any) -> Screen:
    """Note who has looked at warnings, and what was decided."""
    return _close("warnings", **arguments)
