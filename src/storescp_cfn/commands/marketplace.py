"""The vendor's commands: make a version, publish it, and look after the listing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from storescp_cfn.marketplace.listing import Listing
    from storescp_cfn.marketplace.live_listing import Change

CHECKOUT = Path(__file__).parents[3]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Marketplace's errors as click's: one sentence, exit code 1."""
    from storescp_cfn.marketplace.errors import MarketplaceError

    try:
        yield
    except MarketplaceError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--version", required=True, help="Semantic version, for example 1.2.0.")
@click.option("--image", "images", multiple=True, required=True, metavar="URI", help="In Marketplace's registry.")
@click.option("--template-bucket", required=True, metavar="BUCKET", help="Public S3 bucket in us-east-1.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    help="Region of a quick-create link; all that have AWS HealthImaging if none is given.",
)
@click.option("--product-id", metavar="prod-…", help="The Marketplace product, when it exists.")
@click.option("--product-code", default="", help="Of a paid listing, as it was built into the image.")
@click.option(
    "--image-files",
    type=click.Path(path_type=Path),
    default=Path("build/image"),
    show_default=True,
    metavar="FOLDER",
    help="SBOM and licences of the image, as `make image-lint` wrote them.",
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("dist"), show_default=True, metavar="FOLDER")
def package(
    version: str,
    images: tuple[str, ...],
    template_bucket: str,
    regions: tuple[str, ...],
    product_id: str | None,
    product_code: str,
    image_files: Path,
    output: Path,
) -> None:
    """Make a Marketplace version from the git checkout: no network, no account, the same bytes every time."""
    with _one_sentence():
        from storescp_cfn.marketplace import bundle
        from storescp_cfn.marketplace.changeset import UNKNOWN_PRODUCT
        from storescp_cfn.marketplace.release_request import ReleaseRequest
        from storescp_cfn.template.regions import SUPPORTED

        product = product_id or UNKNOWN_PRODUCT
        request = ReleaseRequest(version, images, template_bucket, regions or SUPPORTED, product, product_code)
        packaged = bundle.package(request, CHECKOUT, image_files, output)
        click.echo(f"{output} holds version {packaged.version}; template: {packaged.template_url}")


_product = click.option("--product-id", required=True, metavar="prod-…", help="The Marketplace product.")
_apply = click.option("--validate/--apply", default=True, help="Ask the Catalog (default), or do it for good.")
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")
_folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("dist"))


@click.command()
@_folder
@click.option("--validate/--apply", default=True, help="Upload the template and ask (default), or publish for good.")
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


@click.command("launch-url")
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


@click.command()
@click.option("--studies-per-day", type=float, required=True)
@click.option("--images-per-study", type=float, required=True)
@click.option("--image-mb", type=float, required=True, help="Megabytes (10^6 bytes) of an image.")
@click.option(
    "--series-per-study", type=float, default=2.0, show_default=True, help="Each is an image set, 5 MB at least."
)
@click.option("--region", default="us-east-1", show_default=True)
def estimate(
    studies_per_day: float, images_per_study: float, image_mb: float, series_per_study: float, region: str
) -> None:
    """Print what months 1, 12 and 36 cost, and beside the first one import job per image."""
    with _one_sentence():
        from storescp_cfn.marketplace import cost, terminal
        from storescp_cfn.template import render

        workload = cost.Workload(studies_per_day, images_per_study, image_mb, series_per_study)
        deployment = cost.deployment_of(render().to_dict())
        terminal.show_estimate(cost.estimate(workload, deployment, region), workload, deployment)


@click.group()
def listing() -> None:
    """The product on AWS Marketplace: made, shown, changed, restricted, compared with listing.toml."""


@listing.command("create")
@click.option("--repository", "repositories", multiple=True, required=True, metavar="NAME", help="In the registry.")
@_apply
@_yes
def create(repositories: tuple[str, ...], validate: bool, yes: bool) -> None:
    """Make the product, its offer and its repositories, Limited to the accounts of listing.toml."""
    with _one_sentence():
        from storescp_cfn.marketplace import catalog, changeset, live_listing

        change = live_listing.Change("first listing", changeset.create_listing(_listing(), repositories))
        change_set = _carry_out(change, validate, yes)
        if not validate:
            product = live_listing.created_product(catalog.connect().catalog, change_set)
            click.echo(f"The product is {product}: set it as PRODUCT_ID.")


@listing.command("publish")
@_product
@_apply
@_yes
def show(product_id: str, validate: bool, yes: bool) -> None:
    """Ask Marketplace to make a Limited product Public; it is looked at for up to 37 days."""
    with _one_sentence():
        from storescp_cfn.marketplace import changeset, live_listing

        _carry_out(live_listing.Change("public listing", changeset.show_to_everybody(product_id)), validate, yes)


@listing.command("update")
@_product
@_apply
@_yes
def update(product_id: str, validate: bool, yes: bool) -> None:
    """Bring the texts of listing.toml to the product page."""
    with _one_sentence():
        from storescp_cfn.marketplace import changeset, live_listing

        change = live_listing.Change("listing texts", changeset.update_listing(_listing(), product_id))
        _carry_out(change, validate, yes)


@listing.command("update-version")
@_folder
@_product
@_apply
@_yes
def update_version(folder: Path, product_id: str, validate: bool, yes: bool) -> None:
    """Bring the notes and usage instructions of a packaged version to the one that is out."""
    with _one_sentence():
        from storescp_cfn.marketplace import bundle, catalog, changeset, live_listing

        packaged = bundle.load(folder)
        version = live_listing.describe(catalog.connect().catalog, product_id).version(packaged.version)
        request = changeset.update_version(
            version.option_ids,
            product_id,
            packaged.read("release-notes.md").decode().strip(),
            packaged.read("usage-instructions.txt").decode(),
        )
        _carry_out(live_listing.Change(f"texts of {packaged.version}", request), validate, yes)


@listing.command("restrict")
@click.argument("version")
@_product
@_apply
@_yes
def restrict(version: str, product_id: str, validate: bool, yes: bool) -> None:
    """Take VERSION off sale; who has it keeps it."""
    with _one_sentence():
        from storescp_cfn.marketplace import catalog, changeset, live_listing

        found = live_listing.describe(catalog.connect().catalog, product_id).version(version)
        request = changeset.restrict_version(found.option_ids, product_id)
        _carry_out(live_listing.Change(f"restriction of {version}", request), validate, yes)


@listing.command("status")
@_product
def status(product_id: str) -> None:
    """Print the versions that are out, and where the product page differs from listing.toml (then exit 1)."""
    with _one_sentence():
        from storescp_cfn.marketplace import catalog, live_listing

        live = live_listing.describe(catalog.connect().catalog, product_id)
        click.echo(f"{live.product_id} is {live.state}.")
        for version in live.versions:
            click.echo(f"  {version.title}  {version.created}  {'restricted' if version.restricted else 'on sale'}")
        differences = list(live_listing.drift(live, _listing()))
        for difference in differences:
            click.echo(difference)
        if not differences:
            click.echo("The product page says what listing.toml says.")
    if differences:
        raise SystemExit(1)


def _listing() -> Listing:
    from storescp_cfn.marketplace.errors import BadInputError
    from storescp_cfn.marketplace.listing import FILE, read_listing

    try:
        return read_listing((CHECKOUT / FILE).read_text("utf-8"))
    except OSError as error:
        raise BadInputError(f"{CHECKOUT / FILE}: {error.strerror}; the listing is described there.") from error


def _carry_out(change: Change, validate: bool, yes: bool) -> str:
    from storescp_cfn.marketplace import catalog, live_listing, terminal

    confirm = terminal.confirmation(yes or validate, click.prompt, sys.stdin.isatty())
    change_set = live_listing.carry_out(
        catalog.connect().catalog, change, apply=not validate, confirm=confirm, report=click.echo
    )
    click.echo(f"{change.title}: {'would be accepted' if validate else 'done'}; change set {change_set}.")
    return change_set


COMMANDS: tuple[click.Command, ...] = (package, publish, launch_url, estimate, listing)
