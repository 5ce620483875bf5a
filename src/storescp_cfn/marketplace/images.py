"""The image in AWS Marketplace's registry, looked at before a version names it."""

from __future__ import annotations

import json
from typing import Any

from storescp_cfn.marketplace.catalog import in_plain_words
from storescp_cfn.marketplace.errors import BadInputError

PLATFORMS = ("linux/amd64", "linux/arm64")
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def check_image(ecr: Any, uri: str) -> str:
    """Find an image in Marketplace's registry and return its digest.

    Raises:
        MarketplaceError: it is not there, is not an index of PLATFORMS, lacks one of their manifests, carries
            an attestation (an entry of platform unknown/unknown, as buildx adds), or is tagged `latest` too.
    """
    registry, _, path = uri.partition("/")
    repository, _, tag = path.rpartition(":")
    place = {"registryId": registry.split(".")[0], "repositoryName": repository}
    with in_plain_words(f"Reading image {uri}"):
        answer = ecr.batch_get_image(
            **place,
            imageIds=[{"imageTag": tag}, {"imageTag": "latest"}],
            acceptedMediaTypes=[*INDEX_TYPES, *MANIFEST_TYPES],
        )
    found = {image["imageId"].get("imageTag"): image for image in answer.get("images", ())}
    if tag not in found:
        raise BadInputError(f"Image {uri} is not in the registry: push it, then publish again.")
    digest: str = found[tag]["imageId"]["imageDigest"]
    if found.get("latest", {}).get("imageId", {}).get("imageDigest") == digest:
        raise BadInputError(f"Image {uri} carries the tag `latest` too, which Marketplace refuses: remove that tag.")
    manifests = _manifests(uri, json.loads(found[tag]["imageManifest"]))
    with in_plain_words(f"Reading the architectures of {uri}"):
        answer = ecr.batch_get_image(
            **place,
            imageIds=[{"imageDigest": name} for name in manifests.values()],
            acceptedMediaTypes=list(MANIFEST_TYPES),
        )
    present = {image["imageId"]["imageDigest"] for image in answer.get("images", ())}
    for image in answer.get("images", ()):
        layers = json.loads(image["imageManifest"]).get("layers", ())
        if any("in-toto" in layer.get("mediaType", "") for layer in layers):
            raise _attested(uri)
    for platform, name in manifests.items():
        if name not in present:
            raise BadInputError(
                f"Image {uri} names {name} for {platform}, which is not in the registry: push it again."
            )
    return digest


def _attested(uri: str) -> BadInputError:
    return BadInputError(
        f"Image {uri} carries an attestation, which Marketplace refuses: build it with --provenance=false --sbom=false."
    )


def _manifests(uri: str, index: dict[str, Any]) -> dict[str, str]:
    """The digest of each platform's manifest in an image index."""
    if index.get("mediaType") not in INDEX_TYPES and "manifests" not in index:
        raise BadInputError(f"Image {uri} is of one architecture only: build it with --platform {','.join(PLATFORMS)}.")
    found: dict[str, str] = {}
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        name = f"{platform.get('os', 'unknown')}/{platform.get('architecture', 'unknown')}"
        if name == "unknown/unknown" or "vnd.docker.reference.type" in entry.get("annotations", {}):
            raise _attested(uri)
        found[name] = entry["digest"]
    missing = [platform for platform in PLATFORMS if platform not in found]
    if missing:
        raise BadInputError(
            f"Image {uri} lacks {' and '.join(missing)}: build it with --platform {','.join(PLATFORMS)}."
        )
    return found
