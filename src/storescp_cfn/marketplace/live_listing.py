"""What happens to a listing besides a new version: made, shown, changed, restricted, and compared with this checkout.

Each change is VALIDATEd by the Catalog before anybody is asked to apply it. A run that was interrupted is taken up.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storescp_cfn.marketplace.catalog import ChangeSets, Report, in_plain_words
from storescp_cfn.marketplace.changeset import CATALOG, Request
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.marketplace.limits import require_within_limits
from storescp_cfn.marketplace.listing import Listing


@dataclass(frozen=True)
class Change:
    """One change of the listing: its name for people, and what the Catalog is asked."""

    title: str
    request: Request


@dataclass(frozen=True)
class Version:
    """A version as the Catalog describes it."""

    title: str
    created: str
    option_ids: tuple[str, ...]
    restricted: bool


@dataclass(frozen=True)
class LiveListing:
    """A product as the Catalog describes it."""

    product_id: str
    state: str
    information: Mapping[str, Any]
    versions: tuple[Version, ...] = field(default=())

    def version(self, title: str) -> Version:
        """The version of that title.

        Raises:
            BadInputError: there is none.
        """
        for version in self.versions:
            if version.title == title:
                return version
        known = ", ".join(version.title for version in self.versions) or "none"
        raise BadInputError(f"Product {self.product_id} has no version {title}; it has {known}.")


def carry_out(
    catalog: Any,
    change: Change,
    *,
    apply: bool,
    confirm: Callable[[str], None],
    report: Report,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Have a change validated and, if asked, applied.

    Args:
        catalog: the client `marketplace-catalog`.
        change: what to do.
        apply: do it for good after validating.
        confirm: asked with the change's title before applying; raises to stop.
        report: takes a line of progress.
        sleep: what tests replace.

    Returns:
        The id of the change set that was followed last.

    Raises:
        MarketplaceError: the Catalog refused, or could not be reached.
    """
    require_within_limits(change.request)
    digest = hashlib.sha256(json.dumps(change.request, sort_keys=True).encode()).hexdigest()
    change_sets = ChangeSets(catalog, change.title, digest, change.request, report, sleep)
    change_set = change_sets.run("VALIDATE")
    if apply:
        confirm(change.title)
        change_set = change_sets.run("APPLY")
    return change_set


def created_product(catalog: Any, change_set: str) -> str:
    """The id of the product that an applied change set made, without its revision."""
    with in_plain_words(f"Reading change set {change_set}"):
        answer = catalog.describe_change_set(Catalog=CATALOG, ChangeSetId=change_set)
    (made,) = (change for change in answer["ChangeSet"] if change["ChangeType"] == "CreateProduct")
    return str(made["Entity"]["Identifier"]).partition("@")[0]


def describe(catalog: Any, product_id: str) -> LiveListing:
    """Read a product.

    Raises:
        MarketplaceError: this account has no such product, or it cannot be read.
    """
    with in_plain_words(f"Reading product {product_id}"):
        entity = catalog.describe_entity(Catalog=CATALOG, EntityId=product_id)
    details = entity.get("DetailsDocument") or json.loads(entity.get("Details") or "{}")
    description, promotion = details.get("Description", {}), details.get("PromotionalResources", {})
    information = {
        **{name: description[name] for name in _DESCRIPTION if name in description},
        "LogoUrl": promotion.get("LogoUrl", ""),
        "AdditionalResources": promotion.get("AdditionalResources", []),
        "SupportDescription": details.get("SupportInformation", {}).get("Description", ""),
    }
    versions = tuple(_version(each) for each in details.get("Versions", ()))
    return LiveListing(product_id, str(description.get("Visibility", "unknown")), information, versions)


_DESCRIPTION = (
    "ProductTitle",
    "ShortDescription",
    "LongDescription",
    "Sku",
    "Highlights",
    "SearchKeywords",
    "Categories",
)


def _version(document: Mapping[str, Any]) -> Version:
    options: Sequence[Mapping[str, Any]] = document.get("DeliveryOptions", ())
    return Version(
        title=str(document.get("VersionTitle", "")),
        created=str(document.get("CreationDate", ""))[:10],
        option_ids=tuple(str(option["Id"]) for option in options if "Id" in option),
        restricted=bool(options) and all(option.get("Visibility") == "Restricted" for option in options),
    )


def drift(live: LiveListing, listing: Listing) -> Iterator[str]:
    """Where the product page differs from this checkout's `listing.toml`, a sentence each."""
    wanted = listing.information()
    for name, value in live.information.items():
        here = wanted.get(name, "" if isinstance(value, str) else [])
        if value != here and (value or here):
            yield f"{name} on the listing is {str(value)[:50]!r}, but {str(here)[:50]!r} here."
