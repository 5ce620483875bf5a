"""Bring a packaged release to AWS Marketplace: check everything, upload the template, validate, and only then apply.

Every step can be repeated. The template's key belongs to its content; a change set's name and token are made of
the bundle's digest, so that a second run finds what a first one started instead of starting it twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from storescp_cfn.marketplace import catalog_errors
from storescp_cfn.marketplace.bundle import Bundle
from storescp_cfn.marketplace.changeset import CATALOG, UNKNOWN_PRODUCT
from storescp_cfn.marketplace.errors import BadInputError, MarketplaceError
from storescp_cfn.marketplace.limits import require_within_limits
from storescp_cfn.marketplace.links import BUCKET_REGION

CATALOG_REGION = "us-east-1"
PLATFORMS = ("linux/amd64", "linux/arm64")
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
OPEN, FINISHED = ("PREPARING", "APPLYING"), ("SUCCEEDED", "FAILED", "CANCELLED")
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 30.0
# Scanning takes minutes to hours (Catalog API, "Add a new version").
PATIENCE_SECONDS = 12 * 3600.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Clients:
    """The AWS services that a publication talks to."""

    sts: Any
    ecr: Any
    s3: Any
    s3_anonymous: Any
    catalog: Any
    cloudformation: Callable[[str], Any]


def connect() -> Clients:
    """Clients that retry what AWS lets one retry: throttling, its own faults, lost connections."""
    with _plain("Reading the AWS configuration"):
        session = boto3.session.Session()
    patient = Config(retries={"mode": "standard", "max_attempts": 6}, connect_timeout=10, read_timeout=60)
    anonymous = patient.merge(Config(signature_version=UNSIGNED))

    def client(service: str, region: str = CATALOG_REGION, config: Config = patient) -> Any:
        return session.client(service, region_name=region, config=config)

    return Clients(
        sts=client("sts"),
        ecr=client("ecr"),
        s3=client("s3", BUCKET_REGION),
        s3_anonymous=client("s3", BUCKET_REGION, anonymous),
        catalog=client("marketplace-catalog"),
        cloudformation=lambda region: client("cloudformation", region),
    )


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
    with _plain("Asking AWS who you are"):
        account = aws.sts.get_caller_identity()["Account"]
    report(f"Account {account}, Catalog {CATALOG} in {CATALOG_REGION}, product {product}.")
    publication = _Publication(aws.catalog, bundle, request, report, sleep)
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
    with _plain(f"Reading product {product}"):
        entity = catalog.describe_entity(Catalog=CATALOG, EntityId=product)
    details = entity.get("DetailsDocument") or json.loads(entity.get("Details") or "{}")
    titles = {item.get("VersionTitle") for item in details.get("Versions", ())}
    if version in titles:
        raise BadInputError(
            f"Product {product} has a version {version} already, which cannot be changed: package the next one."
        )


def check_image(ecr: Any, uri: str) -> str:
    """Find an image in Marketplace's registry and return its digest.

    Raises:
        MarketplaceError: it is not there, is not an index of PLATFORMS, lacks one of their manifests, carries
            an attestation (an entry of platform unknown/unknown, as buildx adds), or is tagged `latest` too.
    """
    registry, _, path = uri.partition("/")
    repository, _, tag = path.rpartition(":")
    place = {"registryId": registry.split(".")[0], "repositoryName": repository}
    with _plain(f"Reading image {uri}"):
        answer = ecr.batch_get_image(
            **place,
            imageIds=[{"imageTag": tag}, {"imageTag": "latest"}],
            acceptedMediaTypes=[*INDEX_TYPES, *MANIFEST_TYPES],
        )
    found = {image["imageId"].get("imageTag"): image for image in answer.get("images", ())}
    if tag not in found:
        raise BadInputError(f"Image {uri} is not in the registry: push it, then publish again.")
    digest: str = found[tag]["imageId"]["imageDigest"]
    if found.get("latest", {}).get("imageId", {}).get("imageDigest") == digest:
        raise BadInputError(f"Image {uri} carries the tag `latest` too, which Marketplace refuses: remove that tag.")
    manifests = _manifests(uri, json.loads(found[tag]["imageManifest"]))
    with _plain(f"Reading the architectures of {uri}"):
        answer = ecr.batch_get_image(
            **place,
            imageIds=[{"imageDigest": name} for name in manifests.values()],
            acceptedMediaTypes=list(MANIFEST_TYPES),
        )
    present = {image["imageId"]["imageDigest"] for image in answer.get("images", ())}
    for image in answer.get("images", ()):
        layers = json.loads(image["imageManifest"]).get("layers", ())
        if any("in-toto" in layer.get("mediaType", "") for layer in layers):
            raise _attested(uri)
    for platform, name in manifests.items():
        if name not in present:
            raise BadInputError(
                f"Image {uri} names {name} for {platform}, which is not in the registry: push it again."
            )
    return digest


def _attested(uri: str) -> BadInputError:
    return BadInputError(
        f"Image {uri} carries an attestation, which Marketplace refuses: build it with --provenance=false --sbom=false."
    )


def _manifests(uri: str, index: dict[str, Any]) -> dict[str, str]:
    """The digest of each platform's manifest in an image index."""
    if index.get("mediaType") not in INDEX_TYPES and "manifests" not in index:
        raise BadInputError(f"Image {uri} is of one architecture only: build it with --platform {','.join(PLATFORMS)}.")
    found: dict[str, str] = {}
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        name = f"{platform.get('os', 'unknown')}/{platform.get('architecture', 'unknown')}"
        if name == "unknown/unknown" or "vnd.docker.reference.type" in entry.get("annotations", {}):
            raise _attested(uri)
        found[name] = entry["digest"]
    missing = [platform for platform in PLATFORMS if platform not in found]
    if missing:
        raise BadInputError(
            f"Image {uri} lacks {' and '.join(missing)}: build it with --platform {','.join(PLATFORMS)}."
        )
    return found


def upload_template(aws: Clients, bundle: Bundle, report: Report) -> None:
    """Put the template at its own key, once and for all, and read it back as a buyer would.

    Raises:
        MarketplaceError: the bucket is missing or elsewhere, the key holds other bytes, or nobody may read it.
    """
    place = {"Bucket": bundle.template_bucket, "Key": bundle.template_key}
    body = bundle.read(bundle.template_file)
    with _plain(f"Asking where bucket {bundle.template_bucket} is"):
        region = aws.s3.get_bucket_location(Bucket=bundle.template_bucket).get("LocationConstraint")
    if (region or BUCKET_REGION) != BUCKET_REGION:
        raise BadInputError(
            f"Bucket {bundle.template_bucket} is in {region}, but the links name {BUCKET_REGION}: "
            f"take a bucket in {BUCKET_REGION}."
        )
    with _plain(f"Uploading {bundle.template_url}"):
        try:
            aws.s3.put_object(**place, Body=body, ContentType="text/yaml", IfNoneMatch="*")
        except ClientError as error:
            # 412: the key is taken. 409: somebody else is writing it now. What is there decides.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                raise
            report("The template was uploaded before.")
    try:
        with _plain(f"Reading {bundle.template_url} back"):
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
    with _plain(f"Validating the template in {region}"):
        cloudformation.validate_template(TemplateURL=url)


@dataclass(frozen=True)
class _Publication:
    """One release's change sets: started at most once for each intent, then followed to their end."""

    catalog: Any
    bundle: Bundle
    request: dict[str, Any]
    report: Report
    sleep: Callable[[float], None]

    def name(self, intent: str) -> str:
        return f"storescp-cfn {self.bundle.version} {intent} {self.bundle.digest[:12]}"

    def history(self, intent: str) -> list[dict[str, Any]]:
        """Earlier change sets of this very bundle, newest first."""
        name, found, token = self.name(intent), [], None
        while True:
            with _plain("Listing change sets"):
                page = self.catalog.list_change_sets(
                    Catalog=CATALOG,
                    FilterList=[{"Name": "ChangeSetName", "ValueList": [name]}],
                    Sort={"SortBy": "StartTime", "SortOrder": "DESCENDING"},
                    **({"NextToken": token} if token else {}),
                )
            found += [item for item in page["ChangeSetSummaryList"] if item.get("ChangeSetName") == name]
            token = page.get("NextToken")
            if not token:
                return found

    def latest(self, intent: str) -> dict[str, Any] | None:
        return next(iter(self.history(intent)), None)

    def run(self, intent: str) -> str:
        """Start the change set, or take up the one that an interrupted run started, and follow it."""
        before = self.history(intent)
        if before and before[0]["Status"] in OPEN:
            self.report(f"{intent}: change set {before[0]['ChangeSetId']} of an earlier run is still open.")
            return self.follow(before[0]["ChangeSetId"], intent)
        with _plain(f"Starting the change set with intent {intent}"):
            change_set: str = self.catalog.start_change_set(
                **{**self.request, "ChangeSetName": self.name(intent)},
                Intent=intent,
                ClientRequestToken=self.token(intent, len(before)),
            )["ChangeSetId"]
        self.report(f"{intent}: change set {change_set} started.")
        return self.follow(change_set, intent)

    def token(self, intent: str, attempt: int) -> str:
        """The same for the same request: a start whose answer was lost is not started again."""
        what = json.dumps([self.bundle.digest, self.request, intent, attempt], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()

    def follow(self, change_set: str, intent: str) -> str:
        """Wait for the end, with a line for each status."""
        shown, wait, waited = None, FIRST_WAIT_SECONDS, 0.0
        while waited < PATIENCE_SECONDS:
            with _plain(f"Following change set {change_set} (run the same command again to go on)"):
                answer = self.catalog.describe_change_set(Catalog=CATALOG, ChangeSetId=change_set)
            status = answer["Status"]
            if status != shown:
                self.report(f"{intent}: {status}")
                shown = status
            if status == "SUCCEEDED":
                return change_set
            if status in FINISHED:
                raise MarketplaceError(_failure(answer, intent))
            self.sleep(wait)
            waited, wait = waited + wait, min(LONGEST_WAIT_SECONDS, wait * 1.5)
        raise MarketplaceError(
            f"Change set {change_set} is still {shown} after {PATIENCE_SECONDS / 3600:.0f} hours: "
            "run the same command again to go on following it."
        )


def _failure(answer: dict[str, Any], intent: str) -> str:
    """What a change set ended with, a sentence for each error."""
    change_set = answer["ChangeSetId"]
    if answer["Status"] == "CANCELLED":
        return f"{intent}: change set {change_set} was cancelled; run the same command again to start anew."
    errors = [
        catalog_errors.explain(error.get("ErrorCode", "UNKNOWN"), error.get("ErrorMessage", ""))
        for change in answer.get("ChangeSet", ())
        for error in change.get("ErrorDetailList", ())
    ]
    failure = answer.get("FailureCode", "")
    meaning = catalog_errors.FAILURE_CODES.get(failure, "no reason is given")
    if not errors and answer.get("FailureDescription"):
        errors = [f"Marketplace said: {answer['FailureDescription'].rstrip('.')}."]
    return "\n".join([f"{intent}: change set {change_set} failed ({failure or 'no code'}: {meaning}).", *errors])


@contextmanager
def _plain(doing: str) -> Iterator[None]:
    """Turn what boto3 raises into one sentence."""
    try:
        yield
    except ClientError as error:
        code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        words = catalog_errors.CALL_ERRORS.get(code, "AWS refused")
        raise MarketplaceError(f"{doing}: {words} ({code}: {said.strip().rstrip('.')}).") from error
    except NoCredentialsError as error:
        raise MarketplaceError(
            f"{doing}: there are no AWS credentials; set AWS_PROFILE or log in to the seller account."
        ) from error
    except HTTPClientError as error:
        raise MarketplaceError(f"{doing}: the connection to AWS was lost ({error}).") from error
    except BotoCoreError as error:
        raise MarketplaceError(f"{doing}: {str(error).rstrip('.')}.") from error
