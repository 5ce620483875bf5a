"""The requests that go to the Marketplace Catalog (StartChangeSet), as plain data.

Source: AWS Marketplace API Reference, "Work with container-based products" and "Work with offers".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storescp_cfn.marketplace import offers
from storescp_cfn.marketplace.listing import Listing

CATALOG = "AWSMarketplace"
PRODUCT_TYPE, OFFER_TYPE = "ContainerProduct@1.0", "Offer@1.0"
# What `package` writes when it is not told the product; `publish` asks for the real one.
UNKNOWN_PRODUCT = "prod-unknown"
# A later change of the same set names what an earlier one makes.
CREATED_PRODUCT = "$CreateProductChange.Entity.Identifier"
CREATED_OFFER = "$CreateOfferChange.Entity.Identifier"

Request = dict[str, Any]


@dataclass(frozen=True)
class DeliveryOption:
    """One way to deliver a version: Amazon ECS through CloudFormation, with links to some Regions."""

    title: str
    description: str
    usage_instructions: str
    images: tuple[str, ...]
    resources: Sequence[dict[str, str]]


def add_version(product_id: str, version: str, release_notes: str, options: Sequence[DeliveryOption]) -> Request:
    """A new version ("Add a new version")."""
    document = {
        "Version": {"VersionTitle": version, "ReleaseNotes": release_notes},
        "DeliveryOptions": [
            {
                "DeliveryOptionTitle": option.title,
                "Details": {
                    "EcrDeliveryOptionDetails": {
                        "ContainerImages": list(option.images),
                        "DeploymentResources": list(option.resources),
                        "CompatibleServices": ["ECS"],
                        "Description": option.description,
                        "UsageInstructions": option.usage_instructions,
                    }
                },
            }
            for option in options
        ],
    }
    return _request(f"Add version {version}", [_change("AddDeliveryOptions", product_id, document)])


def update_version(option_ids: Sequence[str], product_id: str, release_notes: str, usage: str) -> Request:
    """New notes and instructions of a version that is out ("Update a version"): nothing else of it can change."""
    document = {
        "Version": {"ReleaseNotes": release_notes},
        "DeliveryOptions": [
            {"Id": option_id, "Details": {"EcrDeliveryOptionDetails": {"UsageInstructions": usage}}}
            for option_id in option_ids
        ],
    }
    return _request("Update a version", [_change("UpdateDeliveryOptions", product_id, document)])


def restrict_version(option_ids: Sequence[str], product_id: str) -> Request:
    """Take a version off sale ("Restrict a version"): who has it keeps it, nobody else gets it."""
    document = {"DeliveryOptionIds": list(option_ids)}
    return _request("Restrict a version", [_change("RestrictDeliveryOptions", product_id, document)])


def update_listing(listing: Listing, product_id: str) -> Request:
    """New texts of the product page."""
    return _request("Update the listing", [_change("UpdateInformation", product_id, listing.information())])


def add_repositories(product_id: str, names: Sequence[str]) -> Request:
    """More repositories for a product that exists."""
    return _request("Add repositories", [_change("AddRepositories", product_id, _repositories(names))])


def show_to_everybody(product_id: str) -> Request:
    """Ask for a Public product. Marketplace looks at it for up to 37 days; the change has to be alone."""
    return _request("Make public", [_change("UpdateVisibility", product_id, {"TargetVisibility": "Public"})])


def create_listing(listing: Listing, repositories: Sequence[str]) -> Request:
    """A first listing, Limited to `offer.buyer_accounts`: product, texts, repositories, offer and its terms.

    ReleaseProduct and ReleaseOffer stand in one set: a product without an offer cannot be released.
    """

    def product(change_type: str, document: Any) -> dict[str, Any]:
        return _change(change_type, CREATED_PRODUCT, document)

    def offer(change_type: str, document: Any) -> dict[str, Any]:
        return _change(change_type, CREATED_OFFER, document, OFFER_TYPE)

    create_product = _change("CreateProduct", None, {"ProductTitle": listing["product.title"]})
    create_offer = _change("CreateOffer", None, {"ProductId": CREATED_PRODUCT}, OFFER_TYPE)
    charged = offers.dimensions(listing)
    buyers = listing["offer.buyer_accounts"]
    changes = [
        {**create_product, "ChangeName": "CreateProductChange"},
        product("UpdateInformation", listing.information()),
        *([product("AddDimensions", charged)] if charged else []),
        *([product("UpdateTargeting", {"PositiveTargeting": {"BuyerAccounts": buyers}})] if buyers else []),
        product("AddRepositories", _repositories(repositories)),
        product("ReleaseProduct", {}),
        {**create_offer, "ChangeName": "CreateOfferChange"},
        offer("UpdateInformation", offers.information(listing)),
        offer("UpdatePricingTerms", offers.pricing_terms(listing)),
        offer("UpdateLegalTerms", offers.legal_terms(listing)),
        offer("UpdateSupportTerms", offers.support_terms(listing)),
        offer("ReleaseOffer", {}),
    ]
    return _request(f"Create {listing['product.title']}", changes)


def _repositories(names: Sequence[str]) -> dict[str, Any]:
    return {"Repositories": [{"RepositoryName": name, "RepositoryType": "ECR"} for name in names]}


def _request(name: str, changes: list[dict[str, Any]]) -> Request:
    return {"Catalog": CATALOG, "ChangeSetName": name, "ChangeSet": changes}


def _change(change_type: str, identifier: str | None, document: Any, entity_type: str = PRODUCT_TYPE) -> dict[str, Any]:
    entity = {"Type": entity_type} | ({"Identifier": identifier} if identifier else {})
    return {"ChangeType": change_type, "Entity": entity, "DetailsDocument": document}
