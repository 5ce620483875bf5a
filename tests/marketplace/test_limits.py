"""Every limit of the Catalog against the longest value that it allows, and against one over it."""

from __future__ import annotations

import copy
import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from storescp_cfn.marketplace import changeset
from storescp_cfn.marketplace.bundle import Bundle
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.marketplace.limits import (
    LIMITS,
    MODEL,
    PAGES,
    SHAPES,
    Limit,
    kind_of,
    require_within_limits,
    violations,
)
from storescp_cfn.marketplace.listing import read_listing
from storescp_cfn.template.release import MARKETPLACE_REGISTRY as REGISTRY
from tests.testkit.marketplace_stub import PRODUCT
from tests.testkit.release_checkout import listing_text

OPTION = "0123abcd-0123-0123-0123-0123456789ab"


def requests_of_a_vendor(release: Bundle) -> dict[str, dict[str, Any]]:
    """Every request that the seller's commands send."""
    paid = read_listing(listing_text(pricing="hourly", price_usd="0.25"))
    return {
        "a version": json.loads(release.read("changeset.json")),
        "a first listing": changeset.create_listing(paid, ["storescp"]),
        "a free listing": changeset.create_listing(read_listing(listing_text()), ["storescp"]),
        "own licences": changeset.create_listing(read_listing(listing_text(pricing="byol")), ["storescp"]),
        "a monthly listing": changeset.create_listing(
            read_listing(listing_text(pricing="monthly", price_usd="99.5")), ["storescp"]
        ),
        "more repositories": changeset.add_repositories(PRODUCT, ["storescp"]),
        "new texts": changeset.update_listing(paid, PRODUCT),
        "new notes": changeset.update_version([OPTION], PRODUCT, "Optional update.", "STEPS: none"),
        "a restriction": changeset.restrict_version([OPTION], PRODUCT),
        "visibility": changeset.show_to_everybody(PRODUCT),
    }


@pytest.fixture(scope="module")
def requests(release: Bundle) -> dict[str, dict[str, Any]]:
    """A request that holds every field once, by kind of change; `*` is the one for the request itself."""
    changes = {
        kind_of(change): {"Catalog": "AWSMarketplace", "ChangeSet": [copy.deepcopy(change)]}
        for request in reversed(requests_of_a_vendor(release).values())
        for change in request["ChangeSet"]
    }
    ecr = changes["AddDeliveryOptions"]["ChangeSet"][0]["DetailsDocument"]["DeliveryOptions"][0]["Details"]
    ecr["EcrDeliveryOptionDetails"]["AccessRoleArn"] = "arn:aws:iam::111122223333:role/marketplace"
    changes["UpdateInformation"]["ChangeSet"][0]["DetailsDocument"] |= {
        "Sku": "1",
        "VideoUrls": ["https://acme.example.com/video"],
        "AdditionalResources": [{"Text": "Guide", "Url": "https://acme.example.com/guide"}],
    }
    whole = copy.deepcopy(changes["CreateProduct"]) | {"ChangeSetName": "name", "ClientRequestToken": "token"}
    whole["ChangeSet"][0]["Entity"]["Identifier"] = PRODUCT
    return changes | {"*": whole}


def documents(limit: Limit, request: dict[str, Any]) -> Any:
    return request if limit.change_type == "*" else request["ChangeSet"][0]["DetailsDocument"]


def put(document: Any, field: str, value: Any) -> None:
    """Set a field, stepping into the first item of each list on the way."""
    *way, last = field.split(".")
    for step in way:
        document = stepped(document, step)
    if last.endswith("[]"):
        document[last.removesuffix("[]")][0] = value
    else:
        document[last] = value


def get(document: Any, field: str) -> Any:
    for step in field.split("."):
        document = stepped(document, step)
    return document


def stepped(document: Any, step: str) -> Any:
    name = step.removesuffix("[]")
    document = document[name] if name else document
    return document[0] if step.endswith("[]") else document


def text_of(limit: Limit, length: int) -> str:
    """A string of that length that breaks no other rule of the limit."""
    if limit.field.endswith("ContainerImages[]"):
        return f"{REGISTRY}/acme/".ljust(length - 2, "a") + ":1"
    return "a" * length


def items_of(value: list[Any], count: int) -> list[Any]:
    return [f"{value[0]}{number}" if isinstance(value[0], str) else value[0] for number in range(count)]


def named(limit: Limit, request: dict[str, Any], how: str) -> list[str]:
    """What is said of the limit's own field, of its length (`characters long;`) or of its count (`items;`)."""
    last = limit.field.rsplit(".", 1)[-1].removesuffix("[]")
    return [said for said in violations(request) if f"{last} " in said.replace("[0]", "") and how in said]


# Written down a second time, from the Catalog API reference and AWS's published shapes, not from our table.
ECR = "DeliveryOptions[].Details.EcrDeliveryOptionDetails"
DOCUMENTED = {
    "*": {
        "ChangeSet": 20,
        "ChangeSetName": 100,
        "ClientRequestToken": 64,
        "ChangeSet[].ChangeName": 72,
        "ChangeSet[].Entity.Identifier": 255,
    },
    "AddDeliveryOptions": {
        "Version.VersionTitle": 64,
        "Version.ReleaseNotes": 29999,  # "less than 30,000"
        "DeliveryOptions": 4,
        "DeliveryOptions[].DeliveryOptionTitle": 72,
        f"{ECR}.ContainerImages": 49,  # "fewer than 50"
        f"{ECR}.ContainerImages[]": 1000,
        f"{ECR}.DeploymentResources": 4,
        f"{ECR}.DeploymentResources[].Name": 255,
        f"{ECR}.DeploymentResources[].Url": 255,
        f"{ECR}.CompatibleServices": 4,
        f"{ECR}.Description": 999,  # "fewer than 1,000"
        f"{ECR}.UsageInstructions": 4000,
        f"{ECR}.AccessRoleArn": 200,
    },
    "AddRepositories": {"Repositories": 50, "Repositories[].RepositoryName": 256},
    "CreateProduct": {"ProductTitle": 72},
    "UpdateInformation": {
        "ProductTitle": 72,
        "ShortDescription": 1000,
        "LongDescription": 5000,
        "Sku": 100,
        "LogoUrl": 2048,
        "VideoUrls": 1,
        "Highlights": 3,
        "Highlights[]": 500,
        "AdditionalResources": 3,
        "AdditionalResources[].Text": 500,
        "SupportDescription": 2000,
        "Categories": 3,
        "SearchKeywords": 15,
        "SearchKeywords[]": 50,
    },
    "UpdateDeliveryOptions": {
        "Version.ReleaseNotes": 29999,
        "DeliveryOptions": 4,
        "DeliveryOptions[].Id": 36,
        f"{ECR}.UsageInstructions": 4000,
    },
    "RestrictDeliveryOptions": {"DeliveryOptionIds": 50, "DeliveryOptionIds[]": 36},
    "AddDimensions": {"[].Key": 100, "[].Name": 500, "[].Description": 1000, "[].Unit": 20, "[].Types": 3},
    "UpdateTargeting": {"PositiveTargeting.BuyerAccounts": 100},
    "Offer.UpdateInformation": {"Name": 150, "Description": 255},
    "Offer.UpdateLegalTerms": {"Terms": 1},
    "Offer.UpdateSupportTerms": {"Terms[].RefundPolicy": 500},
}


def test_the_table_has_every_documented_limit_and_no_other() -> None:
    table: dict[str, dict[str, int]] = {}
    for limit in LIMITS:
        if limit.maximum is not None:
            table.setdefault(limit.change_type, {})[limit.field] = limit.maximum
    assert table == DOCUMENTED


SIZED = [limit for limit in LIMITS if limit.maximum is not None]


@pytest.mark.parametrize("limit", SIZED, ids=lambda limit: f"{limit.change_type}.{limit.field}")
def test_the_longest_is_allowed_and_one_over_is_named_with_its_limit_and_length(
    requests: dict[str, dict[str, Any]], limit: Limit
) -> None:
    request = copy.deepcopy(requests[limit.change_type])
    document = documents(limit, request)
    value = get(document, limit.field)
    assert limit.maximum is not None
    for size in (limit.maximum, limit.maximum + 1):
        if isinstance(value, list):
            put(document, limit.field, items_of(value, size))
            said, expected = named(limit, request, " items;"), f"has {size} items; the limit is {limit.maximum}."
        else:
            put(document, limit.field, text_of(limit, size))
            said = named(limit, request, " characters long;")
            expected = f"is {size} characters long; the limit is {limit.maximum}."
        if size == limit.maximum:
            assert said == []
        else:
            assert [sentence.endswith(expected) for sentence in said] == [True]


@pytest.mark.parametrize(
    "limit", [limit for limit in LIMITS if limit.minimum], ids=lambda limit: f"{limit.change_type}.{limit.field}"
)
def test_one_under_the_least_is_refused(requests: dict[str, dict[str, Any]], limit: Limit) -> None:
    request = copy.deepcopy(requests[limit.change_type])
    document = documents(limit, request)
    assert limit.minimum is not None
    empty: object = [] if isinstance(get(document, limit.field), list) else "a" * (limit.minimum - 1)
    put(document, limit.field, empty)
    assert any(f"the least is {limit.minimum}." in said for said in violations(request))


@pytest.mark.parametrize(
    "limit", [limit for limit in LIMITS if limit.required], ids=lambda limit: f"{limit.change_type}.{limit.field}"
)
def test_a_required_field_that_is_missing_is_named(requests: dict[str, dict[str, Any]], limit: Limit) -> None:
    request = copy.deepcopy(requests[limit.change_type])
    put(documents(limit, request), limit.field, None)
    expected = f"{limit.field.rsplit('.', 1)[-1]} is missing; the Catalog requires it."
    assert any(said.endswith(expected) for said in violations(request))


@pytest.mark.parametrize(
    ("change", "field", "value", "sentence"),
    [
        ("AddDeliveryOptions", "Version.VersionTitle", " 1.2.0", "it has to match"),
        ("AddDeliveryOptions", "Version.ReleaseNotes", "", "the least is 1"),
        ("AddDeliveryOptions", "ECR.ContainerImages[]", f"{REGISTRY}/acme/storescp:latest", "it has to match"),
        ("AddDeliveryOptions", "ECR.ContainerImages[]", f"{REGISTRY}/acme/storescp", "it has to match"),
        ("AddDeliveryOptions", "ECR.ContainerImages[]", "docker.io/acme/storescp:1", "it has to match"),
        ("AddDeliveryOptions", "ECR.ContainerImages", [f"{REGISTRY}/a/b:1"] * 2, "names something twice"),
        ("AddDeliveryOptions", "ECR.CompatibleServices[]", "EC2", "allowed are ECS, EKS"),
        ("AddRepositories", "Repositories[].RepositoryType", "HELM", "allowed are ECR"),
        ("AddRepositories", "Repositories[].RepositoryName", "StoreSCP", "it has to match"),
        ("UpdateInformation", "LogoUrl", "http://acme.example.com/logo.png", "it has to match"),
        ("UpdateInformation", "AdditionalResources[].Url", "guide", "it has to match"),
        ("UpdateInformation", "SearchKeywords", ["a" * 50] * 6, "names something twice"),
        (
            "UpdateInformation",
            "SearchKeywords",
            [f"{n:050}" for n in range(6)],
            "300 characters long in all; the limit is 250",
        ),
        ("*", "ChangeSet[].Entity.Identifier", "prod 1", "it has to match"),
    ],
)
def test_other_rules_are_held_too(
    requests: dict[str, dict[str, Any]], change: str, field: str, value: Any, sentence: str
) -> None:
    request = copy.deepcopy(requests[change])
    document = request if change == "*" else request["ChangeSet"][0]["DetailsDocument"]
    assert violations(request) == []
    put(document, field.replace("ECR.", "DeliveryOptions[].Details.EcrDeliveryOptionDetails."), value)
    assert any(sentence in said for said in violations(request)), violations(request)
    with pytest.raises(BadInputError):
        require_within_limits(request)


def test_every_request_of_the_commands_passes_botocore_s_model_and_the_limits(release: Bundle) -> None:
    operation = (
        botocore.session.get_session().get_service_model("marketplace-catalog").operation_model("StartChangeSet")
    )
    for name, request in requests_of_a_vendor(release).items():
        report = ParamValidator().validate(request | {"Intent": "VALIDATE"}, operation.input_shape)
        assert not report.has_errors(), (name, report.generate_report())
        assert violations(request) == [], name


def test_each_limit_says_who_says_so() -> None:
    assert {limit.source for limit in LIMITS} == {SHAPES, PAGES, MODEL}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\x07b", "has the control character '\\x07', which the Catalog refuses"),
        ("StoreSCP ™", "has a space before a ™ or ®, which the Catalog refuses"),
        ("StoreSCP®, two\nlines™", None),
    ],
)
def test_characters_that_the_catalog_refuses_are_named(
    requests: dict[str, dict[str, Any]], text: str, sentence: str | None
) -> None:
    request = copy.deepcopy(requests["UpdateInformation"])
    request["ChangeSet"][0]["DetailsDocument"]["Highlights"] = [text]
    found = violations(request)
    assert (
        (found == [])
        if sentence is None
        else found == [f"UpdateInformation.Highlights[0] {sentence}{'.' if '™' not in text else ': remove it.'}"]
    )
