"""The limits of the Marketplace Catalog API, as data, and one function that holds a change set to them.

Sources: AWS's published Catalog API shapes (`awslabs/aws-marketplace-catalog-api-shapes-for-python` 1.2.0),
the Catalog API reference ("Work with container-based products", "Work with seller products") and botocore's
`marketplace-catalog` model. Lengths are counted in characters.
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
    """One rule: of which change type, which field, and what it may be.

    Attributes:
        change_type: the Catalog's name of the change, or `*` for the request that carries the changes.
        field: path below `DetailsDocument` (or the request); `[]` steps into each item of a list.
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
    maximum: int | None = None
    minimum: int | None = None
    pattern: str | None = VISIBLE_START
    allowed: tuple[str, ...] = ()
    unique: bool = False
    required: bool = False
    total_maximum: int | None = None


_ADD, _REPOSITORIES, _CREATE, _UPDATE = (
    "AddDeliveryOptions",
    "AddRepositories",
    "CreateProduct",
    "UpdateInformation",
)

LIMITS: tuple[Limit, ...] = (
    Limit("*", "ChangeSet", minimum=1, maximum=20, required=True),
    Limit("*", "ChangeSetName", maximum=100, pattern=r"[\w\s+=.:@-]+"),
    Limit("*", "ClientRequestToken", maximum=64, pattern=r"[!-~]+"),
    Limit("*", "ChangeSet[].ChangeName", maximum=72, pattern=r"[A-Za-z]+"),
    Limit("*", "ChangeSet[].Entity.Identifier", maximum=255, pattern=r"[\w@$.-]+"),
    Limit(_ADD, "Version.VersionTitle", maximum=64, required=True),
    Limit(_ADD, "Version.ReleaseNotes", maximum=30_000, required=True),
    Limit(_ADD, "DeliveryOptions", minimum=1, maximum=4, required=True),
    Limit(_ADD, "DeliveryOptions[].DeliveryOptionTitle", maximum=72, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.ContainerImages", minimum=1, maximum=50, unique=True, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.ContainerImages[]", maximum=1000, pattern=IMAGE_URI),
    Limit(_ADD, f"{ECR_DETAILS}.DeploymentResources", maximum=4),
    # The shapes allow 256 characters, the documentation asks for fewer than 256.
    Limit(_ADD, f"{ECR_DETAILS}.DeploymentResources[].Name", minimum=1, maximum=255, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.DeploymentResources[].Url", minimum=1, maximum=255, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.CompatibleServices", minimum=1, maximum=4, unique=True, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.CompatibleServices[]", allowed=SERVICES),
    Limit(_ADD, f"{ECR_DETAILS}.Description", maximum=1000, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.UsageInstructions", maximum=4000, required=True),
    Limit(_ADD, f"{ECR_DETAILS}.AccessRoleArn", maximum=200),
    Limit(_REPOSITORIES, "Repositories", minimum=1, maximum=50, required=True),
    Limit(
        _REPOSITORIES,
        "Repositories[].RepositoryName",
        minimum=2,
        maximum=256,
        pattern=r"[a-z0-9]+(?:[._-][a-z0-9]+)*",
        required=True,
    ),
    Limit(_REPOSITORIES, "Repositories[].RepositoryType", allowed=("ECR",), required=True),
    Limit(_CREATE, "ProductTitle", maximum=72),
    Limit(_UPDATE, "ProductTitle", maximum=72),
    Limit(_UPDATE, "ShortDescription", maximum=1000),
    Limit(_UPDATE, "LongDescription", maximum=5000),
    Limit(_UPDATE, "Sku", maximum=5000),
    Limit(_UPDATE, "LogoUrl", pattern=LOGO_URL),
    Limit(_UPDATE, "VideoUrls", maximum=1),
    Limit(_UPDATE, "Highlights", minimum=1, maximum=3),
    Limit(_UPDATE, "Highlights[]", maximum=500),
    Limit(_UPDATE, "AdditionalResources", maximum=3),
    Limit(_UPDATE, "AdditionalResources[].Text", maximum=500, required=True),
    Limit(_UPDATE, "AdditionalResources[].Url", pattern=URL, required=True),
    Limit(_UPDATE, "SupportDescription", maximum=2000),
    Limit(_UPDATE, "Categories", minimum=1, maximum=3, unique=True),
    Limit(_UPDATE, "SearchKeywords", minimum=1, maximum=15, unique=True, total_maximum=250),
    Limit(_UPDATE, "SearchKeywords[]", maximum=50),
)


def violations(request: Mapping[str, Any]) -> list[str]:
    """Say everything in a StartChangeSet request that the Catalog would refuse, a sentence each.

    Args:
        request: the arguments of `marketplace-catalog:StartChangeSet`, with `DetailsDocument` in each change.
    """
    found: list[str] = []
    for limit in LIMITS:
        if limit.change_type == "*":
            found += _check(limit, "StartChangeSet", request)
            continue
        for change in request.get("ChangeSet") or ():
            if change.get("ChangeType") == limit.change_type:
                found += _check(limit, limit.change_type, change.get("DetailsDocument", {}))
    return found


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
    value = document.get(name) if isinstance(document, Mapping) else None
    here = f"{path}.{name}"
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
