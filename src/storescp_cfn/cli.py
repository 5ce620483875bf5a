"""The command line. A command is a few lines around one function, and imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path

import click

from storescp_cfn import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="storescp-cfn")
def main() -> None:
    """Render, run and publish a DICOM Store SCP that delivers images into AWS HealthImaging."""


@main.command("render-template")
@click.option(
    "--format", "style", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="How to write it."
)
@click.option(
    "--output", default="-", show_default=True, metavar="FILE", help="Where to write it; - is standard output."
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 and show how the committed files differ.")
def render_template(style: str, output: str, check: bool) -> None:
    """Print the CloudFormation template.

    With --check, compare it with the files below templates/, or with --output FILE, and exit 1 if they are stale.
    """
    from storescp_cfn.template import files

    try:
        if check:
            stale = files.differences(files.COMMITTED if output == "-" else {output: style})
            click.echo(stale, nl=False)
            raise SystemExit(1 if stale else 0)
        if output == "-":
            click.echo(files.text(style), nl=False)
        else:
            files.write(output, style)
    except files.TemplateFileError as error:
        raise click.ClickException(str(error)) from error


def _demonstrate(port: int, folder: Path | None, verbose: bool, stay: bool) -> None:
    from storescp_cfn.local import LocalError, demo
    from storescp_cfn.template import render

    try:
        request = demo.DemoRequest(port, folder, stay, verbose)
        raise SystemExit(demo.demonstrate(render().to_json(), request))
    except LocalError as error:
        raise click.ClickException(str(error)) from error


_port = click.option(
    "--port", type=click.IntRange(1, 65535), default=11112, show_default=True, help="The DICOM port on 127.0.0.1."
)
_dicom = click.option(
    "--dicom",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Send the DICOM files below FOLDER instead of the test files.",
)
_verbose = click.option("--verbose", is_flag=True, help="A line for every resource that the stack creates.")


@main.command()
@_port
@_dicom
@_verbose
def demo(port: int, folder: Path | None, verbose: bool) -> None:
    """Send a study through the whole chain on this machine, and account for every image."""
    _demonstrate(port, folder, verbose, stay=False)


@main.command()
@_port
@_dicom
@_verbose
def up(port: int, folder: Path | None, verbose: bool) -> None:
    """The same as demo, and stay for any DICOM program until Ctrl-C."""
    _demonstrate(port, folder, verbose, stay=True)


def _add_commands() -> None:
    from storescp_cfn.commands import (
        asking,
        changing,
        completing,
        launching,
        marketplace,
        networking,
        quarantine,
        verifying,
    )

    for command in (
        launching.doctor,
        launching.policy,
        networking.network,
        changing.deploy,
        changing.update,
        changing.outputs,
        changing.delete,
        completing.completion,
        verifying.verify,
        asking.status,
        asking.devices,
        quarantine.quarantine,
        quarantine.warnings,
        *marketplace.COMMANDS,
    ):
        main.add_command(command)


_add_commands()
