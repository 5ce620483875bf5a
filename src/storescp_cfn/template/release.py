"""What differs between two published versions of the same template."""

from __future__ import annotations

from dataclasses import dataclass

from storescp_cfn import __version__

# Marketplace keeps every container image in this account, and in us-east-1 only.
# https://docs.aws.amazon.com/marketplace/latest/userguide/container-product-policies.html
MARKETPLACE_REGISTRY = "709825985650.dkr.ecr.us-east-1.amazonaws.com"
# The seller's part of the repository name, until `storescp-cfn package --image` says the real one.
MARKETPLACE_REPOSITORY = "storescp/dicom-store-scp"


@dataclass(frozen=True)
class Release:
    """One published version.

    version: the product's version, shown in the template's description.
    image: the container image that `ContainerImage` defaults to; empty for the Marketplace image of `version`.
    product_code: of a paid Marketplace listing; with one the receiver registers its usage. Empty otherwise.
    """

    version: str = __version__
    image: str = ""
    product_code: str = ""

    @property
    def container_image(self) -> str:
        """The default of `ContainerImage`."""
        return self.image or f"{MARKETPLACE_REGISTRY}/{MARKETPLACE_REPOSITORY}:{self.version}"
