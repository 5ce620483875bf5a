"""What differs between two published versions of the same template."""

from __future__ import annotations

from dataclasses import dataclass

from troposphere import FindInMap, If, Ref, Template

from storescp_cfn import __version__
from storescp_cfn.template import conditions

# Marketplace keeps every container image in this account, and in us-east-1 only.
# https://docs.aws.amazon.com/marketplace/latest/userguide/container-product-policies.html
MARKETPLACE_REGISTRY = "709825985650.dkr.ecr.us-east-1.amazonaws.com"
# The seller's part of the repository name, until `storescp-cfn package --image` says the real one.
MARKETPLACE_REPOSITORY = "storescp/dicom-store-scp"

MAPPING = "Release"
# Versions whose image was the default of ContainerImage: a stack that was made with one of them carries that value
# along, and it must not hold the stack at the old image.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-direct.html
VERSIONS_WITH_IMAGE_AS_DEFAULT = ("0.1.0",)


@dataclass(frozen=True)
class Release:
    """One published version.

    version: the product's version, shown in the template's description.
    image: the container image of the version; empty for the Marketplace image of `version`.
    metered: the image registers its usage with AWS Marketplace (a paid listing), and so needs the permission.
    """

    version: str = __version__
    image: str = ""
    metered: bool = False

    @property
    def container_image(self) -> str:
        """The image that receivers of this version run."""
        return self.image or f"{MARKETPLACE_REGISTRY}/{MARKETPLACE_REPOSITORY}:{self.version}"

    @property
    def images_that_are_no_choice(self) -> list[str]:
        """Values of ContainerImage that nobody typed: none, and the defaults of earlier versions."""
        repository = self.container_image.split("@")[0].rsplit(":", 1)[0]
        return ["", *(f"{repository}:{version}" for version in VERSIONS_WITH_IMAGE_AS_DEFAULT)]


def receiver_image() -> If:
    """The image to run: the version's own, from the mapping, unless somebody chose another."""
    return If(conditions.HAS_OWN_IMAGE, Ref("ContainerImage"), FindInMap(MAPPING, "Receiver", "Image"))


def receiver_version() -> FindInMap:
    """The version of template and receiver."""
    return FindInMap(MAPPING, "Receiver", "Version")


def add_to(template: Template, release: Release) -> None:
    """Add the mapping that names the version and its image.

    A mapping belongs to the template, so that an update brings its version's image with it; a parameter's default
    would stay at what the stack was made with.
    """
    template.add_mapping(MAPPING, {"Receiver": {"Image": release.container_image, "Version": release.version}})
