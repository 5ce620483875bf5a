"""The requests that go to the Marketplace Catalog, as plain data.

A new version is one change, AddDeliveryOptions. A first listing needs two earlier ones: CreateProduct (with its
texts and repositories, so that images can be pushed) and, for a product that exists, AddRepositories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CATALOG = "AWSMarketplace"
ENTITY_TYPE = "ContainerProduct@1.0"
# What `package` writes when it is not told the product; `publish` asks for the real one.
UNKNOWN_PRODUCT = "prod-unknown"
# A later change of the same set names the product that an earlier one makes.
CREATED = "$CreateProductChange.Entity.Identifier"

Request = dict[str, Any]


@dataclass(frozen=True)
class DeliveryOption:
    """One way to deliver a version. This product has one: Amazon ECS through CloudFormation."""

    title: str
    description: str
    usage_instructions: str
    images: tuple[str, ...]
    resources: Sequence[dict[str, str]]


def add_version(product_id: str, version: str, release_notes: str, option: DeliveryOption) -> Request:
    """StartChangeSet's arguments for a new version (Catalog API, "Add a new version")."""
    details = {
        "ContainerImages": list(option.images),
        "DeploymentResources": list(option.resources),
        "CompatibleServices": ["ECS"],
        "Description": option.description,
        "UsageInstructions": option.usage_instructions,
    }
    document = {
        "Version": {"VersionTitle": version, "ReleaseNotes": release_notes},
        "DeliveryOptions": [{"DeliveryOptionTitle": option.title, "Details": {"EcrDeliveryOptionDetails": details}}],
    }
    return _request(f"Add version {version}", [_change("AddDeliveryOptions", product_id, document)])


def add_repositories(product_id: str, names: Sequence[str]) -> Request:
    """StartChangeSet's arguments for the registry's repositories of a product that exists."""
    return _request("Add repositories", [_change("AddRepositories", product_id, _repositories(names))])


def create_product(information: dict[str, Any], names: Sequence[str]) -> Request:
    """StartChangeSet's arguments for a first listing: a draft product, its texts, its repositories."""
    create = _change("CreateProduct", None, {"ProductTitle": information["ProductTitle"]})
    return _request(
        f"Create {information['ProductTitle']}",
        [
            {**create, "ChangeName": "CreateProductChange"},
            _change("UpdateInformation", CREATED, information),
            _change("AddRepositories", CREATED, _repositories(names)),
        ],
    )


def _repositories(names: Sequence[str]) -> dict[str, Any]:
    return {"Repositories": [{"RepositoryName": name, "RepositoryType": "ECR"} for name in names]}


def _request(name: str, changes: list[dict[str, Any]]) -> Request:
    return {"Catalog": CATALOG, "ChangeSetName": name, "ChangeSet": changes}


def _change(change_type: str, identifier: str | None, document: dict[str, Any]) -> dict[str, Any]:
    entity = {"Type": ENTITY_TYPE} | ({"Identifier": identifier} if identifier else {})
    return {"ChangeType": change_type, "Entity": entity, "DetailsDocument": document}
