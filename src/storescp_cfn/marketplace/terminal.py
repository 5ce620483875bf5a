"""What the release engineer sees and is asked: tables, and a confirmation before something is public for good."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from storescp_cfn.marketplace.cost import Deployment, Estimate, Workload, notes
from storescp_cfn.marketplace.errors import BadInputError

PLAIN_WIDTH = 160


def show_estimate(found: Estimate, workload: Workload, deployment: Deployment) -> None:
    """Print the table: with colours on a terminal, in plain columns into a pipe."""
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH, no_color=True, highlight=False)
    console.print(
        f"A month in {found.region}: {workload.words()}; {deployment.tasks} tasks of {deployment.vcpu:g} vCPU, "
        f"{deployment.memory_gb:g} GB ({deployment.architecture})."
    )
    console.print(_table(found, plain=not console.is_terminal))
    for note in notes(found):
        console.print(note)


def _table(found: Estimate, plain: bool) -> Table:
    table = Table(box=None, pad_edge=False) if plain else Table()
    for heading in ("Service", "Unit"):
        table.add_column(heading)
    for heading in ("USD per unit", "This product", "USD", "One job per image", "USD"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in found.lines:
        if line.this_product or line.job_per_image:
            table.add_row(
                line.service,
                line.unit,
                line.price_words(),
                f"{line.this_product:,.0f}",
                f"{line.this_product_usd:,.2f}",
                f"{line.job_per_image:,.0f}",
                f"{line.job_per_image_usd:,.2f}",
            )
    table.add_section()
    table.add_row("Total", "", "", "", f"{found.this_product_usd:,.2f}", "", f"{found.job_per_image_usd:,.2f}")
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
