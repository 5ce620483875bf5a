"""The limits of the Marketplace Catalog API, as data with their sources, and one function that holds requests to them.

Lengths are counted in characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.template.release import MARKETPLACE_REGISTRY

# Every string of the Catalog has to begin with something visible.
VISIBLE_START = r"\S[\S\s]*"
# A tag as the OCI distribution specification has it; the Catalog refuses `latest`.
# Amazon ECR, CreateRepository: words joined by single separators.
REPOSITORY_WORD = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
IMAGE_URI = (
    re.escape(MARKETPLACE_REGISTRY)
    + rf"/{REPOSITORY_WORD}(?:/{REPOSITORY_WORD})+"
    + r":(?!latest\Z)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
)
URL = r"https?://(www\.)?[-a-zA-Z0-9@:%._+~#=]{1,256}\.[a-zA-Z0-9()]{2,63}\b([-a-zA-Z0-9()@:%_+.~#?&/=, ]*)"
LOGO_URL = r"https://(www\.)?[-a-zA-Z0-9@._]{1,256}\.[a-zA-Z0-9()]{2,63}\b([-a-zA-Z0-9@_+./]*)"
SERVICES = ("ECS", "EKS", "ECS-Anywhere", "EKS-Anywhere", "Bedrock-AgentCore")
ECR_DETAILS = "DeliveryOptions[].Details.EcrDeliveryOptionDetails"


@dataclass(frozen=True)
class Limit:
    """One rule: of which change type, which field, what it may be, and who says so.

    Attributes:
        change_type: the Catalog's name of the change, or `*` for the request that carries the changes. For a type that
            products and offers share, an offer's is `Offer.` and the name.
        field: path below `DetailsDocument` (or the request); `[]` steps into each item of a list, at the beginning
            too.
        source: SHAPES, PAGES or MODEL.
        maximum: characters of a string, items of a list.
        minimum: the same, at least.
        pattern: what the whole string has to match.
        allowed: the words that a string may be.
        unique: the items of a list must differ (the Catalog's errors that begin with DUPLICATE).
        required: the field must be there.
        total_maximum: characters of all items of a list together.
    """

    change_type: str
    field: str
    source: str
    maximum: int | None = None
    minimum: int | None = None
    pattern: str | None = VISIBLE_START
    allowed: tuple[str, ...] = ()
    unique: bool = False
    required: bool = False
    total_maximum: int | None = None


# awslabs/aws-marketplace-catalog-api-shapes-for-python, ContainerProduct@1.0 and Offer@1.0; read by hand.
SHAPES = "shapes e2fef2264d48b3166807d592924e6e3caa1a2f95"
# Marketplace API Reference, "Work with container-based products"; where it says "less than" or "fewer than" a number,
# the limit is one under it.
PAGES = "API reference, container products"
MODEL = "botocore, marketplace-catalog"

_ADD, _REPOSITORIES, _CREATE, _INFORMATION = (
    "AddDeliveryOptions",
    "AddRepositories",
    "CreateProduct",
    "UpdateInformation",
)
_UPDATE, _RESTRICT, _DIMENSIONS = "UpdateDeliveryOptions", "RestrictDeliveryOptions", "AddDimensions"
_OPTION_ID = r"[a-f0-9]{8}(-[a-f0-9]{4}){4}[a-f0-9]{8}"
_TERM = "Terms[].RateCards[].RateCard[]"

LIMITS: tuple[Limit, ...] = (
    Limit("*", "ChangeSet", MODEL, minimum=1, maximum=20, required=True),
    Limit("*", "ChangeSetName", MODEL, maximum=100, pattern=r"[\w\s+=.:@-]+"),
    Limit("*", "ClientRequestToken", MODEL, maximum=64, pattern=r"[!-~]+"),
    Limit("*", "ChangeSet[].ChangeName", MODEL, maximum=72, pattern=r"[A-Za-z]+"),
    Limit("*", "ChangeSet[].Entity.Identifier", MODEL, maximum=255, pattern=r"[\w@$.-]+"),
    Limit(_ADD, "Version.VersionTitle", SHAPES, maximum=64, required=True),
    Limit(_ADD, "Version.ReleaseNotes", PAGES, maximum=29_999, required=True),
    Limit(_ADD, "DeliveryOptions", SHAPES, minimum=1, maximum=4, required=True),
    Limit(_ADD, "DeliveryOptions[].DeliveryOptionTitle", SHAPES, maximum=72, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.ContainerImages", PAGES, minimum=1, maximum=49, unique=True, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.ContainerImages[]", SHAPES, maximum=1000, pattern=IMAGE_URI),
    Limit(_ADD, f"{ECR_DETAILS}.DeploymentResources", SHAPES, maximum=4),
    Limit(_ADD, f"{ECR_DETAILS}.DeploymentResources[].Name", PAGES, minimum=1, maximum=255, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.DeploymentResources[].Url", PAGES, minimum=1, maximum=255, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.CompatibleServices", SHAPES, minimum=1, maximum=4, unique=True, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.CompatibleServices[]", SHAPES, allowed=SERVICES),
    Limit(_ADD, f"{ECR_DETAILS}.Description", PAGES, maximum=999, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.UsageInstructions", SHAPES, maximum=4000, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.AccessRoleArn", SHAPES, maximum=200),
    Limit(_UPDATE, "Version.ReleaseNotes", PAGES, maximum=29_999),
    Limit(_UPDATE, "DeliveryOptions", SHAPES, minimum=1, maximum=4, required=True),
    Limit(_UPDATE, "DeliveryOptions[].Id", SHAPES, maximum=36, pattern=_OPTION_ID, required=True),
    Limit(_UPDATE, f"{ECR_DETAILS}.UsageInstructions", SHAPES, minimum=1, maximum=4000),
    Limit(_RESTRICT, "DeliveryOptionIds", SHAPES, minimum=1, maximum=50, required=True),
    Limit(_RESTRICT, "DeliveryOptionIds[]", SHAPES, maximum=36, pattern=_OPTION_ID),
    Limit(_REPOSITORIES, "Repositories", SHAPES, minimum=1, maximum=50, required=True),
    Limit(
        _REPOSITORIES,
        "Repositories[].RepositoryName",
        SHAPES,
        minimum=2,
        maximum=256,
        pattern=REPOSITORY_WORD,
        required=True,
    ),
    Limit(_REPOSITORIES, "Repositories[].RepositoryType", SHAPES, allowed=("ECR",), required=True),
    Limit(_CREATE, "ProductTitle", SHAPES, maximum=72),
    Limit(_INFORMATION, "ProductTitle", SHAPES, maximum=72, required=True),
    Limit(_INFORMATION, "ShortDescription", SHAPES, maximum=1000, required=True),
    Limit(_INFORMATION, "LongDescription", SHAPES, maximum=5000, required=True),
    Limit(_INFORMATION, "Sku", PAGES, maximum=100),
    Limit(_INFORMATION, "LogoUrl", PAGES, maximum=2048, pattern=LOGO_URL, required=True),
    Limit(_INFORMATION, "VideoUrls", SHAPES, maximum=1),
    Limit(_INFORMATION, "Highlights", SHAPES, minimum=1, maximum=3, required=True),
    Limit(_INFORMATION, "Highlights[]", SHAPES, maximum=500),
    Limit(_INFORMATION, "AdditionalResources", SHAPES, maximum=3, required=True),
    Limit(_INFORMATION, "AdditionalResources[].Text", SHAPES, maximum=500, required=True),
    Limit(_INFORMATION, "AdditionalResources[].Url", SHAPES, pattern=URL, required=True),
    Limit(_INFORMATION, "SupportDescription", SHAPES, maximum=2000, required=True),
    Limit(_INFORMATION, "Categories", SHAPES, minimum=1, maximum=3, unique=True, required=True),
    Limit(_INFORMATION, "SearchKeywords", PAGES, minimum=1, maximum=15, unique=True, total_maximum=250, required=True),
    Limit(_INFORMATION, "SearchKeywords[]", SHAPES, maximum=50),
    Limit(_DIMENSIONS, "[].Key", SHAPES, maximum=100, pattern=r"[A-Za-z0-9_.-]+", required=True),
    Limit(_DIMENSIONS, "[].Name", SHAPES, maximum=500, required=True),
    Limit(_DIMENSIONS, "[].Description", SHAPES, maximum=1000, required=True),
    Limit(_DIMENSIONS, "[].Unit", SHAPES, maximum=20, required=True),
    Limit(_DIMENSIONS, "[].Types", SHAPES, minimum=1, maximum=3, required=True),
    Limit(_DIMENSIONS, "[].Types[]", SHAPES, allowed=("Entitled", "Metered", "ExternallyMetered")),
    Limit("UpdateTargeting", "PositiveTargeting.BuyerAccounts", SHAPES, maximum=100, required=True),
    Limit("UpdateVisibility", "TargetVisibility", SHAPES, allowed=("Public", "Restricted", "Limited"), required=True),
    Limit("Offer.CreateOffer", "ProductId", SHAPES, required=True),
    Limit("Offer.UpdateInformation", "Name", SHAPES, maximum=150),
    Limit("Offer.UpdateInformation", "Description", SHAPES, maximum=255),
    Limit(
        "Offer.UpdatePricingTerms", "PricingModel", SHAPES, allowed=("Byol", "Free", "Usage", "Contract"), required=True
    ),
    Limit("Offer.UpdatePricingTerms", "Terms", SHAPES, minimum=1, required=True),
    Limit("Offer.UpdatePricingTerms", f"{_TERM}.Price", SHAPES, pattern=r"100000000(\.0{0,8})?|\d{1,8}(\.\d{0,8})?"),
    Limit("Offer.UpdateLegalTerms", "Terms", SHAPES, minimum=1, maximum=1, required=True),
    Limit(
        "Offer.UpdateSupportTerms",
        "Terms[].RefundPolicy",
        SHAPES,
        maximum=500,
        pattern=r"[\x00-~©®™¢-¥]+",
        required=True,
    ),
)
# The Catalog API reference, "Characters": what no string may have.
REFUSED_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
REFUSED_MARK = re.compile(r"\s[™®]")


def violations(request: Mapping[str, Any]) -> list[str]:
    """Say everything in a StartChangeSet request that the Catalog would refuse, a sentence each.

    request: the arguments of `marketplace-catalog:StartChangeSet`, with `DetailsDocument` in each change.
    """
    found: list[str] = []
    for limit in LIMITS:
        if limit.change_type == "*":
            found += _check(limit, "StartChangeSet", request)
            continue
        for change in request.get("ChangeSet") or ():
            if limit.change_type == kind_of(change):
                found += _check(limit, limit.change_type, change.get("DetailsDocument", {}))
    for change in request.get("ChangeSet") or ():
        found += _check_characters(kind_of(change), change.get("DetailsDocument", {}))
    return found


def kind_of(change: Mapping[str, Any]) -> str:
    """The change's type as LIMITS has it: products' bare, offers' with `Offer.` before it."""
    offer = str(change.get("Entity", {}).get("Type", "")).startswith("Offer@")
    return f"Offer.{change.get('ChangeType')}" if offer else str(change.get("ChangeType"))


def require_within_limits(request: Mapping[str, Any]) -> None:
    """Raise BadInputError with the first violation; it names field, limit and length."""
    found = violations(request)
    if found:
        raise BadInputError(found[0])


def _check(limit: Limit, where: str, document: Any) -> Iterator[str]:
    for path, value in _values(document, limit.field.split("."), where):
        if value is None:
            if limit.required:
                yield f"{path} is missing; the Catalog requires it."
        elif isinstance(value, str):
            yield from _check_string(limit, path, value)
        elif isinstance(value, Sequence):
            yield from _check_list(limit, path, value)


def _values(document: Any, steps: Sequence[str], path: str) -> Iterator[tuple[str, Any]]:
    """Walk `a.b[].c`: pairs of the path as a reader would write it and the value there, None if it is not."""
    if not steps:
        yield path, document
        return
    name = steps[0].removesuffix("[]")
    value = document.get(name) if isinstance(document, Mapping) else document if not name else None
    here = f"{path}.{name}" if name else path
    if not steps[0].endswith("[]"):
        yield from _values(value, steps[1:], here) if value is not None else [(here, None)]
        return
    for index, item in enumerate(value or ()):
        yield from _values(item, steps[1:], f"{here}[{index}]")


def _check_string(limit: Limit, path: str, value: str) -> Iterator[str]:
    length = len(value)
    if limit.maximum is not None and length > limit.maximum:
        yield f"{path} is {length} characters long; the limit is {limit.maximum}."
    elif length < (limit.minimum or 1):
        yield f"{path} is {length} characters long; the least is {limit.minimum or 1}."
    elif limit.allowed and value not in limit.allowed:
        yield f"{path} is {value!r}; allowed are {', '.join(limit.allowed)}."
    elif limit.pattern and not re.fullmatch(limit.pattern, value):
        yield f"{path} is {value[:60]!r}; it has to match {limit.pattern}."


def _check_list(limit: Limit, path: str, value: Sequence[Any]) -> Iterator[str]:
    count = len(value)
    if limit.maximum is not None and count > limit.maximum:
        yield f"{path} has {count} items; the limit is {limit.maximum}."
    if limit.minimum is not None and count < limit.minimum:
        yield f"{path} has {count} items; the least is {limit.minimum}."
    if limit.unique and len(set(map(str, value))) < count:
        yield f"{path} names something twice; each of its {count} items has to differ."
    total = sum(len(item) for item in value if isinstance(item, str))
    if limit.total_maximum is not None and total > limit.total_maximum:
        yield f"{path} is {total} characters long in all; the limit is {limit.total_maximum}."


def _check_characters(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        refused = REFUSED_CHARACTERS.search(value)
        if refused:
            yield f"{path} has the control character {refused[0]!r}, which the Catalog refuses."
        elif REFUSED_MARK.search(value):
            yield f"{path} has a space before a ™ or ®, which the Catalog refuses: remove it."
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _check_characters(f"{path}.{name}", item)
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield from _check_characters(f"{path}[{index}]", item)
