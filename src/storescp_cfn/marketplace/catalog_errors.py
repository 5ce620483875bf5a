"""The Catalog's error codes in plain words: what is wrong and what to do.

Codes: Marketplace API Reference, "Work with container-based products", asynchronous errors of AddDeliveryOptions
and AddRepositories; and the failure codes and exceptions of botocore's `marketplace-catalog` model.
"""

from __future__ import annotations

_NEW_VERSION = "run `package` again with the next version number"
_TITLE = "the version title is not one the Catalog takes (spaces, characters or length)"
_EDITED = "changeset.json was changed after `package` wrote it; package the release again"

CHANGE_ERRORS: dict[str, str] = {
    "DUPLICATE_ADDON_VERSION": f"a version with this title exists already; {_NEW_VERSION}",
    "DUPLICATE_COMPATIBLE_AWS_SERVICES": f"a compatible service is named twice: {_EDITED}",
    "DUPLICATE_CONTAINER_IMAGES": "an image is named twice; name each --image once",
    "DUPLICATE_DELIVERY_OPTION_TITLES": f"two delivery options have one title: {_EDITED}",
    "DUPLICATE_ECR_REPOSITORY_NAME": "a repository of this name exists in your seller account; leave that change out",
    "DUPLICATE_REPOSITORY_NAMES": "a repository is named twice; name each once",
    "DUPLICATE_VERSION_TITLE": f"a version with this title exists already; {_NEW_VERSION}",
    "EMPTY_DELIVERY_OPTION_IDS": f"no delivery option is named: {_EDITED}",
    "EMPTY_RESOURCE_NAME": f"a quick-create link has no name: {_EDITED}",
    "EMPTY_RESOURCE_URL": f"a quick-create link is empty: {_EDITED}",
    "IMAGE_INACCESSIBLE": "Marketplace may not read an image; images have to lie in the product's own repositories",
    "IMAGE_NOT_FOUND": "an image is not in its repository; push it under exactly this tag, then publish again",
    "INCOMPATIBLE_PRODUCT_STATUS": "the product takes no versions yet; release it to Limited or Public first",
    "INCOMPATIBLE_SERVICES": f"a compatible service is not one the Catalog knows: {_EDITED}",
    "INVALID_ARN": f"the access role is not an ARN: {_EDITED}",
    "INVALID_CONTAINER_IMAGES": "an image URI is not one of Marketplace's registry; check --image",
    "INVALID_CONTAINER_IMAGE_REPOSITORY": "an image lies in a repository that this product does not have; add the "
    "repository with add-repositories.json, push the image there",
    "INVALID_CONTAINER_IMAGE_TAG": "an image is tagged `latest`, which Marketplace refuses; push it under its version",
    "INVALID_CONTAINER_IMAGE_TAG_FORMAT": "an image's tag has characters that Marketplace refuses; push it under its "
    "version",
    "INVALID_CONTAINER_IMAGE_URI": "an image belongs to another product; push it to this product's repository",
    "INVALID_DELIVERY_OPTIONS_INPUT": f"a delivery option has no or several delivery methods: {_EDITED}",
    "INVALID_DELIVERY_OPTION_TITLES": f"a delivery option of this title exists already; {_NEW_VERSION}",
    "INVALID_DETAILS": f"the Catalog cannot read the request: {_EDITED}",
    "INVALID_ECR_REPOSITORY_NAME": "a repository name is not lower case words joined by hyphens, or is too long "
    "together with the seller's name",
    "INVALID_FULFILLMENT_OPTION_TITLE": f"the delivery option's title is too long: {_EDITED}",
    "INVALID_RELEASE_NOTES": "the release notes are too long or have characters that the Catalog refuses; mend this "
    "version's section of CHANGELOG.md",
    "INVALID_RESOURCE_NAME": f"a quick-create link's name is too long: {_EDITED}",
    "INVALID_RESOURCE_URL": "a quick-create link has 256 characters or more; take a bucket with a shorter name",
    "INVALID_SHORT_DESCRIPTION": f"the delivery option's description is missing or too long: {_EDITED}",
    "INVALID_USAGE_INSTRUCTIONS": f"the usage instructions are missing, too long or have refused characters: {_EDITED}",
    "INVALID_VERSION_TITLE": f"{_TITLE}; {_NEW_VERSION}",
    "MISSING_CONTAINER_IMAGES": f"no image is named: {_EDITED}",
    "MISSING_REPOSITORY_INFORMATION": f"no repository is named: {_EDITED}",
    "NO_SERVICE_SPECIFIED": f"no compatible service is named: {_EDITED}",
    "SCAN_ERROR": "Marketplace's scan found a vulnerability in an image; rebuild it on a mended base, push it under a "
    "new tag and package the next version (the report linked here is kept for 60 days)",
    "TOO_MANY_CONTAINER_IMAGES": "more than 50 images are named; name fewer",
    "UNSUPPORTED_CONTAINER_IMAGE_URI": "an image's manifest is of a kind that Marketplace does not read; build it with "
    "--provenance=false --sbom=false and push it again",
}

FAILURE_CODES = {
    "CLIENT_ERROR": "the request has to be mended",
    "SERVER_FAULT": "the fault is Marketplace's; run the same command again later",
}

# Exceptions that StartChangeSet, DescribeChangeSet, ListChangeSets and DescribeEntity answer with at once, and the
# common ones of the other services that are asked.
CALL_ERRORS: dict[str, str] = {
    "AccessDenied": "these credentials may not do that; use the seller account's role for publishing",
    "AccessDeniedException": "these credentials may not do that; use the seller account's role for publishing",
    "ExpiredToken": "the AWS credentials have expired; log in again",
    "ExpiredTokenException": "the AWS credentials have expired; log in again",
    "InternalServiceException": "Marketplace has an internal error; run the same command again later",
    "InvalidClientTokenId": "AWS does not know these credentials; log in again",
    "NoSuchBucket": "there is no such bucket; create it or check --template-bucket",
    "RepositoryNotFoundException": "there is no such repository in Marketplace's registry; add it with "
    "add-repositories.json",
    "ResourceInUseException": "another change of this product is still under way; wait until it has ended",
    "ResourceNotFoundException": "this account has no such product; check --product-id and the credentials",
    "ResourceNotSupportedException": "this is not a product that the Catalog can describe; check --product-id",
    "ServiceQuotaExceededException": "too many change sets are open in this account; wait until some have ended",
    "SignatureDoesNotMatch": "the AWS secret key does not match its key id; log in again",
    "ThrottlingException": "AWS is throttling these calls; run the same command again in a minute",
    "UnrecognizedClientException": "AWS does not know these credentials; log in again",
    "ValidationException": "the service refuses the request as it is written",
}


def explain(code: str, message: str) -> str:
    """One sentence for an error that a change set ended with: the plain words, and what the Catalog said."""
    words = CHANGE_ERRORS.get(code)
    said = message.strip().rstrip(".")
    return f"{code}: {words or 'the Catalog has no documented meaning for it'}. Marketplace said: {said}."
