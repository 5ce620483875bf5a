"""From a release to its template: one pure function."""

from __future__ import annotations

from dataclasses import dataclass

from troposphere import Template

from storescp_cfn import __version__
from storescp_cfn.template import (
    conditions,
    importing,
    network,
    outputs,
    parameters,
    service,
    storage,
)

# Marketplace keeps every container image in this account, and in us-east-1 only.
# https://docs.aws.amazon.com/marketplace/latest/userguide/container-product-policies.html
MARKETPLACE_REGISTRY = "709825985650.dkr.ecr.us-east-1.amazonaws.com"
# The seller's part of the repository name, until `storescp-cfn package --image` says the real one.
MARKETPLACE_REPOSITORY = "storescp/dicom-store-scp"


@dataclass(frozen=True)
class Release:
    """What differs between two published versions of the same template.

    version: the product's version; it is shown in the template's description.
    image: the container image that `ContainerImage` defaults to; empty for the Marketplace image of `version`.
    """

    version: str = __version__
    image: str = ""

    @property
    def container_image(self) -> str:
        return self.image or f"{MARKETPLACE_REGISTRY}/{MARKETPLACE_REPOSITORY}:{self.version}"


def render(release: Release | None = None) -> Template:
    """Return the template of a release, by default of the version installed here.

    Pure: no file, network, clock or environment is looked at, and two calls give equal templates.
    """
    release = release or Release()
    template = Template()
    template.set_version("2010-09-09")
    template.set_description(
        f"StoreSCP {release.version}: receives DICOM images from modalities and imports them into AWS HealthImaging."
    )
    parameters.add_to(template, container_image=release.container_image)
    conditions.add_to(template)
    for concern in (network, storage, service, importing):
        for resource in concern.resources():
            template.add_resource(resource)
    outputs.add_to(template)
    return template
