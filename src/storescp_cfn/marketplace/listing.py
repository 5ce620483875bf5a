"""What the vendor says of the product, read from `listing.toml` and held to its form.

Lengths are not judged here: the change sets that carry the texts are held to `limits.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storescp_cfn.marketplace.errors import BadInputError

FILE = "listing.toml"
PRICING = ("free", "byol", "hourly", "monthly")
PAID = ("hourly", "monthly")
PRICE = r"\d{1,8}(\.\d{1,3})?"
ADDRESS = r"https://\S+|[^@\s]+@[^@\s]+\.[^@\s]+"


@dataclass(frozen=True)
class Entry:
    """One entry of listing.toml.

    Attributes:
        path: table and key.
        kind: the type of its value; list is a list of strings, dict a list of tables with `text` and `url`.
        required: it may not be empty.
        pattern: what a string, or each string of a list, has to match if it is there.
        meaning: what is to be written, for the sentence that says that it is missing or wrong.
    """

    path: str
    kind: type
    meaning: str
    required: bool = True
    pattern: str = r"[\S\s]+"


ENTRIES = (
    Entry("product.title", str, "the product's name"),
    Entry("product.logo", str, "an https:// address of a public PNG on Amazon S3", pattern=r"https://\S{1,2040}"),
    Entry("product.sku", str, "your own number for the product", required=False),
    Entry("product.short_description", str, "one paragraph"),
    Entry("product.long_description", str, "what the product does"),
    Entry("product.highlights", list, "one to three sentences"),
    Entry("product.categories", list, "one to three categories of AWS Marketplace"),
    Entry("product.keywords", list, "what buyers search for"),
    Entry("product.videos", list, "an https:// address", required=False, pattern=r"https://\S+"),
    Entry("product.links", dict, "tables with text and url", required=False),
    Entry("delivery.title", str, "the name of the delivery option"),
    Entry("delivery.description", str, "what is delivered"),
    Entry("support.address", str, "an e-mail or https:// address", pattern=ADDRESS),
    Entry("support.description", str, "what to write to the support"),
    Entry("support.refund_policy", str, "when money is given back"),
    Entry("offer.name", str, "the offer's name"),
    Entry("offer.description", str, "the offer in a sentence"),
    Entry("offer.licence_agreement", str, "`standard` or an https:// address", pattern=r"standard|https://\S+"),
    Entry("offer.pricing", str, f"one of {', '.join(PRICING)}", pattern="|".join(PRICING)),
    Entry("offer.price_usd", str, 'US dollars as text, such as "0.25"', required=False, pattern=PRICE),
    Entry("offer.buyer_accounts", list, "account numbers of 12 digits", required=False, pattern=r"\d{12}"),
)


@dataclass(frozen=True)
class Listing:
    """The entries, by their paths, checked."""

    entries: Mapping[str, Any]

    def __getitem__(self, path: str) -> Any:
        return self.entries[path]

    @property
    def paid(self) -> bool:
        """Whether the receiver has to register its usage (Seller guide: hourly and fixed monthly pricing)."""
        return self["offer.pricing"] in PAID

    def information(self) -> dict[str, Any]:
        """The details of UpdateInformation: the product page."""
        return {
            "ProductTitle": self["product.title"],
            "ShortDescription": self["product.short_description"],
            "LongDescription": self["product.long_description"],
            "LogoUrl": self["product.logo"],
            "Highlights": self["product.highlights"],
            "SearchKeywords": self["product.keywords"],
            "Categories": self["product.categories"],
            "SupportDescription": f"{self['support.address']}\n\n{self['support.description']}",
            "AdditionalResources": [{"Text": link["text"], "Url": link["url"]} for link in self["product.links"]],
            "VideoUrls": self["product.videos"],
            **({"Sku": self["product.sku"]} if self["product.sku"] else {}),
        }


def read_listing(text: str) -> Listing:
    """Read listing.toml.

    Raises:
        BadInputError: it is no TOML, has an entry that is not known, lacks one, or one has another form.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{FILE} cannot be read: {error}.") from error
    found = {
        f"{table}.{key}": value
        for table, content in tables.items()
        if isinstance(content, dict)
        for key, value in content.items()
    }
    known = {entry.path for entry in ENTRIES}
    for path in sorted(found.keys() - known) + [name for name, each in tables.items() if not isinstance(each, dict)]:
        raise BadInputError(f"{FILE} has {path}, which is not known; known are {', '.join(sorted(known))}.")
    for entry in ENTRIES:
        _require_form(entry, found)
    listing = Listing({entry.path: _value(entry, found) for entry in ENTRIES})
    if listing.paid and not listing["offer.price_usd"]:
        raise BadInputError(f"{FILE}: offer.price_usd is empty, but offer.pricing is {listing['offer.pricing']}.")
    return listing


def _value(entry: Entry, found: Mapping[str, Any]) -> Any:
    value = found.get(entry.path, "" if entry.kind is str else [])
    if entry.kind is dict:
        return [link for link in value if link["url"]]
    return value.strip() if isinstance(value, str) else value


def _require_form(entry: Entry, found: Mapping[str, Any]) -> None:
    value = found.get(entry.path, "" if entry.kind is str else [])
    if entry.kind is dict:
        good = isinstance(value, list) and all(_is_link(link) for link in value)
    elif entry.kind is list:
        good = isinstance(value, list) and all(
            isinstance(item, str) and re.fullmatch(entry.pattern, item) for item in value
        )
    else:
        good = isinstance(value, str) and (not value.strip() or re.fullmatch(entry.pattern, value.strip()) is not None)
    if not good:
        raise BadInputError(f"{FILE}: {entry.path} is {str(value)[:60]!r}; it has to be {entry.meaning}.")
    if entry.required and not (value.strip() if isinstance(value, str) else value):
        raise BadInputError(f"{FILE}: {entry.path} is empty; it has to be {entry.meaning}.")


def _is_link(link: Any) -> bool:
    return (
        isinstance(link, dict)
        and set(link) == {"text", "url"}
        and all(isinstance(value, str) for value in link.values())
        and re.fullmatch(r"(https://\S+)?", link["url"]) is not None
    )
