"""The command line. A command is a few lines around one function, and imports what it needs when it is called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Marketplace's errors as click's: one sentence, exit code 1."""
    from storescp_cfn.marketplace.errors import MarketplaceError

    try:
        yield
    except MarketplaceError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--version", required=True, help="Semantic version, for example 1.2.0.")
@click.option("--image", "images", multiple=True, required=True, metavar="URI", help="In Marketplace's registry.")
@click.option("--template-bucket", required=True, metavar="BUCKET", help="Public S3 bucket in us-east-1.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    default=["us-east-1"],
    show_default=True,
    help="Region of a quick-create link; up to four.",
)
@click.option("--product-id", metavar="prod-…", help="The Marketplace product, when it exists.")
@click.option("--product-code", default="", help="For a paid listing: the receiver registers its usage.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("dist"), show_default=True, metavar="FOLDER")
def package(
    version: str,
    images: tuple[str, ...],
    template_bucket: str,
    regions: tuple[str, ...],
    product_id: str | None,
    product_code: str,
    output: Path,
) -> None:
    """Make a Marketplace version from the git checkout: no network, no account, the same bytes every time."""
    with _one_sentence():
        from storescp_cfn.marketplace import bundle
        from storescp_cfn.marketplace.changeset import UNKNOWN_PRODUCT
        from storescp_cfn.marketplace.release_request import ReleaseRequest

        request = ReleaseRequest(version, images, template_bucket, regions, product_id or UNKNOWN_PRODUCT, product_code)
        packaged = bundle.package(request, Path(__file__).parents[2], output)
        click.echo(f"{output} holds version {packaged.version}; template: {packaged.template_url}")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("dist"))
@click.option(
    "--validate/--apply",
    "validate",
    default=True,
    help="Upload the template and ask AWS (default), or publish for good.",
)
@click.option("--product-id", metavar="prod-…", help="The Marketplace product, if the bundle does not name it.")
@click.option("--yes", is_flag=True, help="Publish without asking.")
def publish(folder: Path, validate: bool, product_id: str | None, yes: bool) -> None:
    """Check a packaged version, upload its template and bring it to AWS Marketplace."""
    with _one_sentence():
        from storescp_cfn.marketplace import bundle, terminal
        from storescp_cfn.marketplace.publish import publish_bundle

        confirm = terminal.confirmation(yes or validate, click.prompt, sys.stdin.isatty())
        packaged = bundle.load(folder)
        change_set = publish_bundle(
            packaged, product_id=product_id, apply=not validate, confirm=confirm, report=click.echo
        )
        done = "would be accepted (nothing was published)" if validate else "is published"
        click.echo(f"Version {packaged.version} {done}: change set {change_set}.")


@main.command("launch-url")
@click.option("--template-url", required=True, metavar="URL", help="The template in S3.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--stack-name", default="storescp", show_default=True)
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A value to fill in.")
def launch_url(template_url: str, region: str, stack_name: str, parameters: tuple[str, ...]) -> None:
    """Print the link that opens CloudFormation's form with the template."""
    with _one_sentence():
        from storescp_cfn.marketplace import links
        from storescp_cfn.template import render

        filled = links.values(parameters, render().to_dict()["Parameters"])
        click.echo(links.quick_create_url(template_url, region, stack_name, filled))


@main.command()
@click.option("--studies-per-day", type=float, required=True)
@click.option("--images-per-study", type=float, required=True)
@click.option("--image-mb", type=float, required=True, help="Megabytes (10^6 bytes) of an image.")
@click.option("--region", default="us-east-1", show_default=True)
def estimate(studies_per_day: float, images_per_study: float, image_mb: float, region: str) -> None:
    """Print what a month costs, and beside it one import job an image."""
    with _one_sentence():
        from storescp_cfn.marketplace import cost, terminal
        from storescp_cfn.template import render

        workload = cost.Workload(studies_per_day, images_per_study, image_mb)
        deployment = cost.deployment_of(render().to_dict())
        terminal.show_estimate(cost.estimate(workload, deployment, region), workload, deployment)


def _add_account_commands() -> None:
    from storescp_cfn.commands import asking, changing, launching, networking, quarantine, verifying

    for command in (
        launching.doctor,
        launching.policy,
        networking.network,
        changing.deploy,
        changing.update,
        changing.outputs,
        changing.delete,
        verifying.verify,
        asking.status,
        quarantine.quarantine,
        quarantine.warnings,
    ):
        main.add_command(command)


_add_account_commands()
