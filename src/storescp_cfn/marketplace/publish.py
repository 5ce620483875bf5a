"""Bring a packaged release to AWS Marketplace: check everything, upload the template, validate, and only then apply.

Every step can be repeated. The template's key belongs to its content; a change set's name and token are made of
the bundle's digest, so that a second run finds what a first one started instead of starting it twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from storescp_cfn.marketplace.bundle import Bundle
from storescp_cfn.marketplace.catalog import CATALOG_REGION, OPEN, ChangeSets, Clients, Report, connect, in_plain_words
from storescp_cfn.marketplace.changeset import CATALOG, UNKNOWN_PRODUCT
from storescp_cfn.marketplace.errors import BadInputError, MarketplaceError
from storescp_cfn.marketplace.images import check_image
from storescp_cfn.marketplace.limits import require_within_limits
from storescp_cfn.marketplace.links import BUCKET_REGION


def publish_bundle(
    bundle: Bundle,
    *,
    product_id: str | None,
    apply: bool,
    confirm: Callable[[str], None],
    report: Report,
    clients: Clients | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Validate a release with the Catalog and, if asked, apply it.

    Args:
        bundle: what `package` wrote, its checksums verified.
        product_id: `prod-…`, when the bundle does not name it.
        apply: publish for good after validating.
        confirm: asked with the version before applying; raises to stop.
        report: takes a line of progress.
        clients, sleep: what tests replace.

    Returns:
        The id of the change set that was followed last.

    Raises:
        MarketplaceError: a check failed, the Catalog refused, or AWS could not be reached. Nothing is half
            published: an uploaded template that no version links to is the most that remains.
    """
    aws = clients or connect()
    request = for_product(bundle, product_id)
    product = request["ChangeSet"][0]["Entity"]["Identifier"]
    with in_plain_words("Asking AWS who you are"):
        account = aws.sts.get_caller_identity()["Account"]
    report(f"Account {account}, Catalog {CATALOG} in {CATALOG_REGION}, product {product}.")
    publication = ChangeSets(aws.catalog, bundle.version, bundle.digest, request, report, sleep)
    if apply:
        known = publication.latest("APPLY")
        if known and known["Status"] in (*OPEN, "SUCCEEDED"):
            report(f"Change set {known['ChangeSetId']} of this release was started before.")
            return publication.follow(known["ChangeSetId"], "APPLY")
    check_version(aws.catalog, product, bundle.version)
    for uri in bundle.images:
        report(f"Image {uri} is {check_image(aws.ecr, uri)}.")
    upload_template(aws, bundle, report)
    for region in bundle.regions:
        validate_template(aws.cloudformation(region), bundle.template_url, region)
    report(f"CloudFormation accepts the template in {', '.join(bundle.regions)}.")
    change_set = publication.run("VALIDATE")
    if apply:
        confirm(bundle.version)
        change_set = publication.run("APPLY")
    return change_set


def for_product(bundle: Bundle, product_id: str | None) -> dict[str, Any]:
    """The bundle's change set with the product's id in it."""
    request: dict[str, Any] = json.loads(bundle.read("changeset.json"))
    entity = request["ChangeSet"][0]["Entity"]
    named = entity["Identifier"]
    if product_id and named not in (UNKNOWN_PRODUCT, product_id):
        raise BadInputError(f"The bundle is for product {named}, not for {product_id}; package it again.")
    if not product_id and named == UNKNOWN_PRODUCT:
        raise BadInputError("The bundle names no product: give --product-id prod-… to `package` or to `publish`.")
    entity["Identifier"] = product_id or named
    require_within_limits(request)
    return request


def check_version(catalog: Any, product: str, version: str) -> None:
    """Raise unless the product is this account's and has no version of that title yet."""
    with in_plain_words(f"Reading product {product}"):
        entity = catalog.describe_entity(Catalog=CATALOG, EntityId=product)
    details = entity.get("DetailsDocument") or json.loads(entity.get("Details") or "{}")
    titles = {item.get("VersionTitle") for item in details.get("Versions", ())}
    if version in titles:
        raise BadInputError(
            f"Product {product} has a version {version} already, which cannot be changed: package the next one."
        )


def upload_template(aws: Clients, bundle: Bundle, report: Report) -> None:
    """Put the template at its own key, once and for all, and read it back as a buyer would.

    Raises:
        MarketplaceError: the bucket is missing or elsewhere, the key holds other bytes, or nobody may read it.
    """
    place = {"Bucket": bundle.template_bucket, "Key": bundle.template_key}
    body = bundle.read(bundle.template_file)
    with in_plain_words(f"Asking where bucket {bundle.template_bucket} is"):
        region = aws.s3.get_bucket_location(Bucket=bundle.template_bucket).get("LocationConstraint")
    if (region or BUCKET_REGION) != BUCKET_REGION:
        raise BadInputError(
            f"Bucket {bundle.template_bucket} is in {region}, but the links name {BUCKET_REGION}: "
            f"take a bucket in {BUCKET_REGION}."
        )
    with in_plain_words(f"Uploading {bundle.template_url}"):
        try:
            aws.s3.put_object(**place, Body=body, ContentType="text/yaml", IfNoneMatch="*")
        except ClientError as error:
            # 412: the key is taken. 409: somebody else is writing it now. What is there decides.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                raise
            report("The template was uploaded before.")
    try:
        with in_plain_words(f"Reading {bundle.template_url} back"):
            there = aws.s3_anonymous.get_object(**place)["Body"].read()
    except MarketplaceError as error:
        raise MarketplaceError(
            f"{bundle.template_url} cannot be read without credentials, as buyers have to: let everyone s3:GetObject "
            f"it in the bucket's policy. ({error})"
        ) from error
    if there != body:
        raise MarketplaceError(
            f"{bundle.template_url} holds other bytes than this release's template; nothing was overwritten."
        )
    report(f"Template {bundle.template_url} is public and the release's own.")


def validate_template(cloudformation: Any, url: str, region: str) -> None:
    """Ask CloudFormation to read the template where buyers will."""
    with in_plain_words(f"Validating the template in {region}"):
        cloudformation.validate_template(TemplateURL=url)
