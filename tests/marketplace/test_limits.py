"""Every limit of the Catalog against the longest value that it allows, and against one over it."""

from __future__ import annotations

import copy
import importlib
import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from storescp_cfn.marketplace.bundle import Bundle
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.marketplace.limits import LIMITS, Limit, require_within_limits, violations
from storescp_cfn.template.release import MARKETPLACE_REGISTRY as REGISTRY

REQUESTS = ("changeset.json", "first-listing/create-product.json", "first-listing/add-repositories.json")
SHAPES = "aws_marketplace_catalog_shapes_containerproduct_1_0_changetypes.models"
SHAPE_OF = {
    "AddDeliveryOptions": ("add_delivery_options_change_detail", "AddDeliveryOptionsChangeDetail"),
    "AddRepositories": ("add_repositories_change_detail", "AddRepositoriesChangeDetail"),
    "CreateProduct": ("create_product_change_detail", "CreateProductChangeDetail"),
    "UpdateInformation": ("update_information_change_detail", "UpdateInformationChangeDetail"),
}


@pytest.fixture(scope="module")
def requests(release: Bundle) -> dict[str, dict[str, Any]]:
    """A request that holds every field once, by change type; `*` is the one for the request itself."""
    changes = {
        change["ChangeType"]: {"Catalog": "AWSMarketplace", "ChangeSet": [change]}
        for name in REQUESTS
        for change in json.loads(release.read(name))["ChangeSet"]
    }
    ecr = changes["AddDeliveryOptions"]["ChangeSet"][0]["DetailsDocument"]["DeliveryOptions"][0]["Details"]
    ecr["EcrDeliveryOptionDetails"]["AccessRoleArn"] = "arn:aws:iam::111122223333:role/marketplace"
    changes["UpdateInformation"]["ChangeSet"][0]["DetailsDocument"] |= {
        "Sku": "1",
        "LogoUrl": "https://acme.example.com/logo.png",
        "VideoUrls": ["https://acme.example.com/video"],
        "AdditionalResources": [{"Text": "Guide", "Url": "https://acme.example.com/guide"}],
    }
    whole = copy.deepcopy(changes["CreateProduct"]) | {"ChangeSetName": "name", "ClientRequestToken": "token"}
    whole["ChangeSet"][0]["Entity"]["Identifier"] = "prod-abcd1234"
    return changes | {"*": whole}


def documents(limit: Limit, request: dict[str, Any]) -> dict[str, Any]:
    document = request if limit.change_type == "*" else request["ChangeSet"][0]["DetailsDocument"]
    assert isinstance(document, dict)
    return document


def put(document: Any, field: str, value: Any) -> None:
    """Set a field, stepping into the first item of each list on the way."""
    *way, last = field.split(".")
    for step in way:
        document = document[step.removesuffix("[]")]
        document = document[0] if step.endswith("[]") else document
    if last.endswith("[]"):
        document[last.removesuffix("[]")][0] = value
    else:
        document[last] = value


def get(document: Any, field: str) -> Any:
    for step in field.split("."):
        document = document[step.removesuffix("[]")]
        document = document[0] if step.endswith("[]") else document
    return document


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
        "Version.ReleaseNotes": 30000,
        "DeliveryOptions": 4,
        "DeliveryOptions[].DeliveryOptionTitle": 72,
        f"{ECR}.ContainerImages": 50,
        f"{ECR}.ContainerImages[]": 1000,
        f"{ECR}.DeploymentResources": 4,
        f"{ECR}.DeploymentResources[].Name": 255,
        f"{ECR}.DeploymentResources[].Url": 255,
        f"{ECR}.CompatibleServices": 4,
        f"{ECR}.Description": 1000,
        f"{ECR}.UsageInstructions": 4000,
        f"{ECR}.AccessRoleArn": 200,
    },
    "AddRepositories": {"Repositories": 50, "Repositories[].RepositoryName": 256},
    "CreateProduct": {"ProductTitle": 72},
    "UpdateInformation": {
        "ProductTitle": 72,
        "ShortDescription": 1000,
        "LongDescription": 5000,
        "Sku": 5000,
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
}


def test_the_table_has_every_documented_limit_and_no_other() -> None:
    ours: dict[str, dict[str, int]] = {}
    for limit in LIMITS:
        if limit.maximum is not None:
            ours.setdefault(limit.change_type, {})[limit.field] = limit.maximum
    assert ours == DOCUMENTED


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


@pytest.mark.parametrize("name", REQUESTS)
def test_the_requests_of_a_release_pass_botocore_s_model(release: Bundle, name: str) -> None:
    shape = (
        botocore.session.get_session()
        .get_service_model("marketplace-catalog")
        .operation_model("StartChangeSet")
        .input_shape
    )
    request = json.loads(release.read(name))
    assert not ParamValidator().validate(request | {"Intent": "VALIDATE"}, shape).has_errors()
    assert violations(request) == []


@pytest.mark.parametrize("name", REQUESTS)
def test_the_requests_of_a_release_pass_the_catalog_s_published_shapes(release: Bundle, name: str) -> None:
    """AWS publishes them on GitHub only (awslabs/aws-marketplace-catalog-api-shapes-for-python): where installed."""
    pytest.importorskip(SHAPES, reason="the Catalog's published shapes are not on PyPI; install them from GitHub")
    for change in json.loads(release.read(name))["ChangeSet"]:
        module, shape = SHAPE_OF[change["ChangeType"]]
        parsed = getattr(importlib.import_module(f"{SHAPES}.{module}"), shape).from_dict(change["DetailsDocument"])
        assert parsed.to_dict() == change["DetailsDocument"]
