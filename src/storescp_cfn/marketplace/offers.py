"""The terms of the public offer, from the listing's entries (Offer@1.0 of the Catalog API)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storescp_cfn.marketplace.listing import Listing

# The Standard Contract for AWS Marketplace, newest of the shapes' versions (e2fef22).
STANDARD_CONTRACT_VERSION = "2022-07-14"
# The one thing that is charged: a task for an hour, by RegisterUsage.
DIMENSION = {
    "Key": "Hourly",
    "Name": "Task hour",
    "Description": "An hour of a running receiver task",
    "Unit": "Hrs",
    "Types": ["Metered"],
}

Document = dict[str, Any]


def dimensions(listing: Listing) -> list[Document]:
    """What AddDimensions adds: nothing unless usage is counted."""
    return [DIMENSION] if listing["offer.pricing"] in ("free", "hourly") else []


def _usage(price_usd: str) -> Document:
    card = {"DimensionKey": DIMENSION["Key"], "Price": price_usd}
    return {"Type": "UsageBasedPricingTerm", "CurrencyCode": "USD", "RateCards": [{"RateCard": [card]}]}


# Pricing of the listing: the Catalog's pricing model, and its one term for a price.
_PRICING: dict[str, tuple[str, Callable[[str], Document]]] = {
    "free": ("Free", lambda _: _usage("0.00")),
    "byol": ("Byol", lambda _: {"Type": "ByolPricingTerm"}),
    "hourly": ("Usage", _usage),
    "monthly": (
        "Usage",
        lambda price_usd: {
            "Type": "RecurringPaymentTerm",
            "CurrencyCode": "USD",
            "BillingPeriod": "Monthly",
            "Price": price_usd,
        },
    ),
}


def pricing_terms(listing: Listing) -> Document:
    """The details of UpdatePricingTerms."""
    model, term = _PRICING[listing["offer.pricing"]]
    return {"PricingModel": model, "Terms": [term(listing["offer.price_usd"])]}


def legal_terms(listing: Listing) -> Document:
    """The details of UpdateLegalTerms: AWS's standard contract, or the vendor's own agreement."""
    agreement = listing["offer.licence_agreement"]
    standard = {"Type": "StandardEula", "Version": STANDARD_CONTRACT_VERSION}
    document = standard if agreement == "standard" else {"Type": "CustomEula", "Url": agreement}
    return {"Terms": [{"Type": "LegalTerm", "Documents": [document]}]}


def support_terms(listing: Listing) -> Document:
    """The details of UpdateSupportTerms."""
    return {"Terms": [{"Type": "SupportTerm", "RefundPolicy": listing["support.refund_policy"]}]}


def information(listing: Listing) -> Document:
    """The details of the offer's UpdateInformation."""
    return {"Name": listing["offer.name"], "Description": listing["offer.description"]}
