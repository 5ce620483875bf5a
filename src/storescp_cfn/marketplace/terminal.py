"""What the release engineer sees and is asked: tables, and a confirmation before something is public for good."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from storescp_cfn.marketplace.cost import MONTHS, Deployment, Estimate, Workload, notes
from storescp_cfn.marketplace.errors import BadInputError

PLAIN_WIDTH = 80


def show_estimate(found: Estimate, workload: Workload, deployment: Deployment) -> None:
    """Print the sums by service, 80 columns wide: with colours on a terminal, plain into a pipe."""
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH, no_color=True, highlight=False)
    console.print(
        f"{found.region}: {workload.words()}; {deployment.tasks} tasks of {deployment.vcpu:g} vCPU, "
        f"{deployment.memory_gb:g} GB ({deployment.architecture})."
    )
    console.print(_table(found, plain=not console.is_terminal))
    for note in notes(found):
        console.print(note)


def _table(found: Estimate, plain: bool) -> Table:
    table = Table(box=None, pad_edge=False) if plain else Table(box=SIMPLE, pad_edge=False)
    table.add_column("USD a month")
    for heading in (*(f"Month {month}" for month in MONTHS), "One job/image"):
        table.add_column(heading, justify="right", no_wrap=True)
    for service, sums in found.by_service().items():
        table.add_row(service, *(f"{value:,.2f}" for value in sums))
    table.add_section()
    totals = (*(found.month_usd(month) for month in MONTHS), found.job_per_image_usd)
    table.add_row("Total", *(f"{value:,.2f}" for value in totals))
    return table


def confirmation(yes: bool, ask: Callable[[str], str], interactive: bool) -> Callable[[str], None]:
    """What asks before a version becomes public: the version has to be typed, or --yes was given.

    Raises:
        BadInputError: at once, where nobody can be asked and --yes is missing.
    """
    if not yes and not interactive:
        raise BadInputError("--apply publishes for good: there is no terminal to confirm it on, so give --yes as well.")

    def confirm(version: str) -> None:
        if not yes and ask(f"A public version can never be changed. Type {version} to publish it") != version:
            raise BadInputError("Not confirmed: nothing was published.")

    return confirm
