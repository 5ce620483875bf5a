"""What the release engineer asks for, held to what AWS Marketplace takes before anything is made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from storescp_cfn.marketplace import changeset, checkout, limits, links
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.template.release import MARKETPLACE_REGISTRY

BUCKET_NAME = r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
# Catalog API shapes (e2fef22), UpdateVisibility: two lengths after `prod-`, and the form of a UUID.
PRODUCT_ID = (
    r"prod-[a-zA-Z0-9]{13}|prod-[a-zA-Z0-9]{25}|[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
# RegisterUsage's own pattern.
PRODUCT_CODE = r"[-a-zA-Z0-9/=:_.@]{1,255}"


@dataclass(frozen=True)
class ReleaseRequest:
    """One version, as it is asked for.

    Attributes:
        version: Semantic Versioning.
        images: URIs in Marketplace's registry; the first is the receiver's.
        template_bucket: public bucket in links.BUCKET_REGION.
        regions: of the quick-create links.
        product_id: `prod-…`, if known yet.
        product_code: for a paid listing.
    """

    version: str
    images: tuple[str, ...]
    template_bucket: str
    regions: tuple[str, ...] = ("us-east-1",)
    product_id: str = changeset.UNKNOWN_PRODUCT
    product_code: str = ""

    def require_valid(self) -> None:
        """Raise BadInputError for the first thing that is wrong, before anything is made."""
        checkout.require_version(self.version)
        if not self.images:
            raise BadInputError("No image is named: give --image at least once.")
        for image in self.images:
            _require_image(image)
        tag = self.images[0].rpartition(":")[2]
        if tag != self.version:
            raise BadInputError(
                f"Image {self.images[0]!r} is tagged {tag}, but the version is {self.version}: "
                "push it under its version."
            )
        if not re.fullmatch(BUCKET_NAME, self.template_bucket):
            raise BadInputError(
                f"Template bucket {self.template_bucket!r} is not a bucket's name (3 to 63 of a-z 0-9 . -)."
            )
        # A dot makes the bucket's HTTPS name one that Amazon S3's certificate does not cover.
        if "." in self.template_bucket:
            raise BadInputError(
                f"Template bucket {self.template_bucket!r} has a dot, with which https:// does not work."
            )
        for region in self.regions:
            links.require_region(region)
        if self.product_id != changeset.UNKNOWN_PRODUCT and not re.fullmatch(PRODUCT_ID, self.product_id):
            raise BadInputError(
                f"Product id {self.product_id!r} is not prod- and 13 or 25 letters or digits, nor a UUID."
            )
        if self.product_code and not re.fullmatch(PRODUCT_CODE, self.product_code):
            raise BadInputError(
                f"Product code {self.product_code!r} is not one of AWS Marketplace (letters and digits)."
            )


def _require_image(image: str) -> None:
    registry, _, path = image.partition("/")
    if registry != MARKETPLACE_REGISTRY:
        raise BadInputError(f"Image {image!r} is not in AWS Marketplace's registry {MARKETPLACE_REGISTRY}.")
    if path.endswith(":latest"):
        raise BadInputError(
            f"Image {image!r} is tagged `latest`, which AWS Marketplace refuses: tag it with its version."
        )
    if not re.fullmatch(limits.IMAGE_URI, image):
        raise BadInputError(f"Image {image!r} is not {MARKETPLACE_REGISTRY}/SELLER/REPOSITORY:TAG.")
