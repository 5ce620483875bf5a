"""Publishing against the services' models: what is checked, in which order, and what every failure says.

Covers catalog.py, catalog_errors.py, images.py, marketplace/errors.py.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storescp_cfn.marketplace import catalog_errors
from storescp_cfn.marketplace.bundle import Bundle, load
from storescp_cfn.marketplace.catalog import Clients
from storescp_cfn.marketplace.errors import BadInputError, MarketplaceError
from storescp_cfn.marketplace.publish import publish_bundle
from tests.testkit import marketplace_stub as stub
from tests.testkit.release_checkout import IMAGE

Publish = Callable[..., str]
# Marketplace API Reference, "Work with container-based products": AddDeliveryOptions and AddRepositories,
# without what concerns Helm charts and EKS add-ons only.
DOCUMENTED_ERRORS = """
DUPLICATE_ADDON_VERSION DUPLICATE_COMPATIBLE_AWS_SERVICES DUPLICATE_CONTAINER_IMAGES DUPLICATE_DELIVERY_OPTION_TITLES
DUPLICATE_ECR_REPOSITORY_NAME DUPLICATE_REPOSITORY_NAMES DUPLICATE_VERSION_TITLE EMPTY_DELIVERY_OPTION_IDS
EMPTY_RESOURCE_NAME EMPTY_RESOURCE_URL IMAGE_INACCESSIBLE IMAGE_NOT_FOUND INCOMPATIBLE_PRODUCT_STATUS
INCOMPATIBLE_SERVICES INVALID_ARN INVALID_CONTAINER_IMAGES INVALID_CONTAINER_IMAGE_REPOSITORY
INVALID_CONTAINER_IMAGE_TAG INVALID_CONTAINER_IMAGE_TAG_FORMAT INVALID_CONTAINER_IMAGE_URI
INVALID_DELIVERY_OPTIONS_INPUT INVALID_DELIVERY_OPTION_TITLES INVALID_DETAILS INVALID_ECR_REPOSITORY_NAME
INVALID_FULFILLMENT_OPTION_TITLE INVALID_RELEASE_NOTES INVALID_RESOURCE_NAME INVALID_RESOURCE_URL
INVALID_SHORT_DESCRIPTION INVALID_USAGE_INSTRUCTIONS INVALID_VERSION_TITLE MISSING_CONTAINER_IMAGES
MISSING_REPOSITORY_INFORMATION NO_SERVICE_SPECIFIED SCAN_ERROR TOO_MANY_CONTAINER_IMAGES
UNSUPPORTED_CONTAINER_IMAGE_URI
"""


@pytest.fixture
def publish(aws: stub.Aws, clients: Clients, release: Bundle, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """`publish` against the stub, without waiting."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)

    def call(bundle: Bundle = release, apply: bool = False, **more: object) -> str:
        lines: list[str] = more.setdefault("lines", [])  # type: ignore[assignment]
        return publish_bundle(
            bundle,
            product_id=more.get("product_id"),  # type: ignore[arg-type]
            apply=apply,
            confirm=more.get("confirm", lambda _: None),  # type: ignore[arg-type]
            report=lines.append,
            clients=clients,
            sleep=more.get("sleep", lambda _: None),  # type: ignore[arg-type]
        )

    return call


def started(aws: stub.Aws) -> list[str]:
    return [change_set.request["Intent"] for change_set in aws.change_sets]


def test_validating_checks_everything_and_applies_nothing(aws: stub.Aws, publish: Publish, release: Bundle) -> None:
    lines: list[str] = []
    publish(lines=lines)
    assert started(aws) == ["VALIDATE"]
    assert aws.versions == []
    assert aws.buckets["acme-storescp"].objects == {release.template_key: release.read(release.template_file)}
    assert [line.removeprefix("VALIDATE: ") for line in lines[-3:]] == ["PREPARING", "APPLYING", "SUCCEEDED"]
    assert aws.calls == [
        "get_caller_identity",
        "describe_entity",
        "batch_get_image",
        "batch_get_image",
        "s3 location",
        "s3 put",
        "s3 get anonymous",
        "validate_template us-east-1",
        "validate_template eu-west-1",
        "list_change_sets",
        "start_change_set",
        *["describe_change_set"] * 3,
    ]


def test_applying_validates_first_and_asks_in_between(aws: stub.Aws, publish: Publish) -> None:
    asked: list[tuple[str, list[str]]] = []
    publish(apply=True, confirm=lambda version: asked.append((version, started(aws))))
    assert asked == [("1.2.0", ["VALIDATE"])]
    assert started(aws) == ["VALIDATE", "APPLY"]
    assert aws.versions == ["1.2.0"]
    sent = aws.change_sets[1].request
    assert sent["ChangeSet"][0]["Entity"] == {"Type": "ContainerProduct@1.0", "Identifier": stub.PRODUCT}
    assert sent["ChangeSet"][0]["DetailsDocument"]["Version"]["VersionTitle"] == "1.2.0"


def test_a_refused_confirmation_applies_nothing(aws: stub.Aws, publish: Publish) -> None:
    def refuse(_: str) -> None:
        raise BadInputError("Not confirmed: nothing was published.")

    with pytest.raises(MarketplaceError, match="Not confirmed"):
        publish(apply=True, confirm=refuse)
    assert started(aws) == ["VALIDATE"]


def test_published_twice_is_applied_once(aws: stub.Aws, publish: Publish) -> None:
    first = publish(apply=True)
    assert publish(apply=True) == first
    assert started(aws) == ["VALIDATE", "APPLY"]


def test_an_interrupted_run_is_taken_up_where_it_stopped(aws: stub.Aws, publish: Publish) -> None:
    aws.will_end("SUCCEEDED")
    aws.will_end("PREPARING", "APPLYING", "APPLYING", "SUCCEEDED")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(apply=True, sleep=interrupt)
    assert started(aws) == ["VALIDATE", "APPLY"]
    lines: list[str] = []
    assert publish(apply=True, lines=lines) == "changeset2"
    assert started(aws) == ["VALIDATE", "APPLY"], "nothing is started twice"
    assert aws.versions == ["1.2.0"]


@pytest.mark.parametrize(
    "fault", [stub.LOST, stub.LOST_ANSWER, stub.THROTTLED, stub.Fault("InternalServiceException", 500)]
)
@pytest.mark.parametrize(
    "operation", ["start_change_set", "describe_change_set", "describe_entity", "list_change_sets"]
)
def test_a_fault_that_passes_is_survived_and_nothing_is_started_twice(
    aws: stub.Aws, publish: Publish, operation: str, fault: stub.Fault
) -> None:
    aws.faults[operation] = [fault, fault]
    publish()
    assert started(aws) == ["VALIDATE"]
    assert aws.faults[operation] == []


@pytest.mark.parametrize("operation", ["s3 put", "s3 get", "batch_get_image", "get_caller_identity"])
def test_a_connection_that_is_lost_once_is_tried_again(aws: stub.Aws, publish: Publish, operation: str) -> None:
    aws.faults[operation] = [stub.LOST]
    publish()
    assert started(aws) == ["VALIDATE"]


def test_throttling_without_end_is_said_in_one_sentence_and_can_be_run_again(aws: stub.Aws, publish: Publish) -> None:
    aws.faults["describe_change_set"] = [stub.THROTTLED] * 7
    with pytest.raises(MarketplaceError, match=r"run the same command again.*AWS is throttling these calls"):
        publish()
    publish()
    assert started(aws) == ["VALIDATE"]


def test_a_connection_lost_for_good_is_said_in_one_sentence(aws: stub.Aws, publish: Publish) -> None:
    aws.faults["start_change_set"] = [stub.LOST_ANSWER] * 7
    with pytest.raises(MarketplaceError, match="the connection to AWS was lost"):
        publish()
    publish()
    assert started(aws) == ["VALIDATE"], "the token finds the one whose answer was lost"


@pytest.mark.parametrize("code", DOCUMENTED_ERRORS.split())
def test_every_documented_error_is_explained(aws: stub.Aws, publish: Publish, code: str) -> None:
    aws.will_end("PREPARING", "FAILED", errors=((code, "As the Catalog words it."),))
    with pytest.raises(MarketplaceError) as caught:
        publish(apply=True)
    head, line = str(caught.value).splitlines()
    assert head == "VALIDATE: change set changeset1 failed (CLIENT_ERROR: the request has to be mended)."
    assert line.startswith(f"{code}: ")
    assert line.endswith(" Marketplace said: As the Catalog words it.")
    assert "no documented meaning" not in line
    assert started(aws) == ["VALIDATE"], "nothing is applied after a failed validation"


def test_all_errors_of_a_change_set_are_said_and_unknown_ones_too(aws: stub.Aws, publish: Publish) -> None:
    aws.will_end(
        "FAILED", errors=(("SCAN_ERROR", "CVE-1"), ("BRAND_NEW_CODE", "what it is")), failure_code="SERVER_FAULT"
    )
    with pytest.raises(MarketplaceError) as caught:
        publish()
    head, scan, new = str(caught.value).splitlines()
    assert "SERVER_FAULT: the fault is Marketplace's; run the same command again later" in head
    assert "rebuild it on a mended base" in scan
    assert new.startswith("BRAND_NEW_CODE: the Catalog has no documented meaning for it. Marketplace said: what it is.")


def test_after_a_failure_the_same_command_starts_a_new_change_set(aws: stub.Aws, publish: Publish) -> None:
    aws.will_end("FAILED", failure_code="SERVER_FAULT")
    with pytest.raises(MarketplaceError, match=r"Marketplace said: The change set failed\.$"):
        publish()
    publish()
    assert [one.statuses for one in aws.change_sets] == [["FAILED"], ["SUCCEEDED"]]


def test_a_cancelled_change_set_is_said_to_be(aws: stub.Aws, publish: Publish) -> None:
    aws.will_end("PREPARING", "CANCELLED")
    with pytest.raises(MarketplaceError, match="was cancelled; run the same command again"):
        publish()


def test_a_change_set_that_never_ends_is_left_with_a_sentence(
    aws: stub.Aws, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storescp_cfn.marketplace.catalog.PATIENCE_SECONDS", 2 * 3600)
    aws.will_end("PREPARING")
    waited: list[float] = []
    with pytest.raises(MarketplaceError, match="is still PREPARING after 2 hours: run the same command again"):
        publish(sleep=waited.append)
    assert 2 * 3600 <= sum(waited) < 2 * 3600 + 31


@pytest.mark.parametrize(
    ("pushed", "sentence"),
    [
        ({"tag": "1.1.0"}, "is not in the registry: push it"),
        ({"platforms": ("linux/amd64",)}, "lacks linux/arm64: build it with --platform linux/amd64,linux/arm64"),
        ({"single": True}, "is of one architecture only"),
        ({"attestation": True}, "carries an attestation, which Marketplace refuses"),
        ({"layer_attestation": True}, "carries an attestation, which Marketplace refuses"),
        ({"missing": "linux/arm64"}, "for linux/arm64, which is not in the registry"),
    ],
)
def test_an_image_that_marketplace_would_refuse_is_refused_before_anything_is_uploaded(
    aws: stub.Aws, publish: Publish, pushed: dict[str, Any], sentence: str
) -> None:
    aws.images.clear()
    aws.push("acme/storescp", pushed.pop("tag", "1.2.0"), **pushed)
    with pytest.raises(MarketplaceError, match=sentence) as caught:
        publish()
    assert IMAGE in str(caught.value)
    assert aws.buckets["acme-storescp"].objects == {}
    assert started(aws) == []


def test_an_image_that_is_tagged_latest_too_is_refused(aws: stub.Aws, publish: Publish) -> None:
    aws.images["acme/storescp"]["latest"] = aws.images["acme/storescp"]["1.2.0"]
    with pytest.raises(MarketplaceError, match="carries the tag `latest` too"):
        publish()


def test_another_image_tagged_latest_does_no_harm(aws: stub.Aws, publish: Publish) -> None:
    aws.push("acme/storescp", "latest", platforms=("linux/amd64",))
    publish()
    assert started(aws) == ["VALIDATE"]


def test_a_repository_that_does_not_exist_is_named(aws: stub.Aws, publish: Publish) -> None:
    aws.images.clear()
    with pytest.raises(MarketplaceError, match="there is no such repository in Marketplace's registry"):
        publish()


def test_a_version_that_exists_is_refused(aws: stub.Aws, publish: Publish) -> None:
    aws.versions = ["1.1.0", "1.2.0"]
    with pytest.raises(MarketplaceError, match=r"has a version 1\.2\.0 already.*package the next one"):
        publish()
    assert aws.buckets["acme-storescp"].objects == {}


def test_another_account_s_product_is_refused(aws: stub.Aws, publish: Publish, release: Bundle, tmp_path: Path) -> None:
    anonymous = repackaged(release, tmp_path, "prod-unknown")
    with pytest.raises(MarketplaceError, match="this account has no such product"):
        publish(anonymous, product_id="prod-zzzz9999")


def test_the_product_may_be_named_at_last(aws: stub.Aws, publish: Publish, release: Bundle, tmp_path: Path) -> None:
    anonymous = repackaged(release, tmp_path, "prod-unknown")
    with pytest.raises(MarketplaceError, match="names no product: give --product-id"):
        publish(anonymous)
    publish(anonymous, product_id=stub.PRODUCT)
    assert aws.change_sets[0].request["ChangeSet"][0]["Entity"]["Identifier"] == stub.PRODUCT
    with pytest.raises(MarketplaceError, match="is for product prod-abcd1234efgh5, not for prod-zzzz9999"):
        publish(product_id="prod-zzzz9999")


def repackaged(release: Bundle, folder: Path, product: str) -> Bundle:
    """The same bundle for another product, with its checksums mended."""
    copy = Path(shutil.copytree(release.folder, folder / "dist"))
    text = (copy / "changeset.json").read_text().replace(stub.PRODUCT, product)
    (copy / "changeset.json").write_text(text)
    sums = (copy / "SHA256SUMS").read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    (copy / "SHA256SUMS").write_text(re.sub(r"\w{64}(?=  changeset\.json)", digest, sums))
    return load(copy)


def test_a_template_that_is_there_already_is_not_written_again(
    aws: stub.Aws, publish: Publish, release: Bundle
) -> None:
    aws.buckets["acme-storescp"].objects[release.template_key] = release.read(release.template_file)
    lines: list[str] = []
    publish(lines=lines)
    assert "The template was uploaded before." in lines


def test_other_bytes_at_the_template_s_key_are_never_overwritten(
    aws: stub.Aws, publish: Publish, release: Bundle
) -> None:
    aws.buckets["acme-storescp"].objects[release.template_key] = b"somebody else's"
    with pytest.raises(MarketplaceError, match=r"holds other bytes .*; nothing was overwritten"):
        publish()
    assert aws.buckets["acme-storescp"].objects[release.template_key] == b"somebody else's"
    assert started(aws) == []


@pytest.mark.parametrize(
    ("bucket", "sentence"),
    [
        (stub.Bucket(region="eu-west-1"), "is in eu-west-1, but the links name us-east-1"),
        (stub.Bucket(public=False), "cannot be read without credentials, as buyers have to"),
        (None, "there is no such bucket"),
    ],
)
def test_a_bucket_that_buyers_cannot_read_from_is_refused(
    aws: stub.Aws, publish: Publish, bucket: stub.Bucket | None, sentence: str
) -> None:
    aws.buckets.clear()
    if bucket:
        aws.buckets["acme-storescp"] = bucket
    with pytest.raises(MarketplaceError, match=sentence):
        publish()
    assert started(aws) == []


def test_a_template_that_cloudformation_refuses_is_not_proposed(aws: stub.Aws, publish: Publish) -> None:
    aws.faults["validate_template"] = [stub.Fault("ValidationError")]
    with pytest.raises(MarketplaceError, match=r"Validating the template in us-east-1: AWS refused \(ValidationError"):
        publish()
    assert started(aws) == []


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException", "UnrecognizedClientException"])
def test_credentials_that_may_not_are_said_to(aws: stub.Aws, publish: Publish, code: str) -> None:
    aws.faults["describe_entity"] = [stub.Fault(code, 403)]
    with pytest.raises(MarketplaceError, match=re.escape(catalog_errors.CALL_ERRORS[code])):
        publish()


def test_another_open_change_of_the_product_is_said(aws: stub.Aws, publish: Publish) -> None:
    aws.faults["start_change_set"] = [stub.Fault("ResourceInUseException", 423)]
    with pytest.raises(MarketplaceError, match="another change of this product is still under way"):
        publish()
