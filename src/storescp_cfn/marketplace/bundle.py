"""A release as a folder: everything that goes to AWS Marketplace, checked, reproducible, and never half-written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storescp_cfn.marketplace import changeset, cost, diagram, limits, links, listing, reference, software, source
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.template import Release, render
from storescp_cfn.template.composer import PACKAGE, compose

# CloudFormation quotas: a template in S3 may have 1 MB.
MAXIMUM_TEMPLATE_BYTES = 1_000_000
BUCKET_NAME = r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
PRODUCT_ID = r"prod-[a-z0-9]{4,64}"
# RegisterUsage's own pattern.
PRODUCT_CODE = r"[-a-zA-Z0-9/=:_.@]{1,255}"
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Order:
    """What the release engineer asks for.

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
        source.require_version(self.version)
        if not self.images:
            raise BadInputError("No image is named: give --image at least once.")
        for image in self.images:
            _require_image(image)
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
            raise BadInputError(f"Product id {self.product_id!r} is not prod- and letters or digits.")
        if self.product_code and not re.fullmatch(PRODUCT_CODE, self.product_code):
            raise BadInputError(
                f"Product code {self.product_code!r} is not one of AWS Marketplace (letters and digits)."
            )


@dataclass(frozen=True)
class Bundle:
    """A packaged release in its folder, checksums verified."""

    folder: Path
    digest: str
    manifest: Mapping[str, Any]

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(self.manifest["images"])

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self.manifest["regions"])

    @property
    def template_file(self) -> str:
        return str(self.manifest["template"]["file"])

    @property
    def template_bucket(self) -> str:
        return str(self.manifest["template"]["bucket"])

    @property
    def template_key(self) -> str:
        return str(self.manifest["template"]["key"])

    @property
    def template_url(self) -> str:
        return str(self.manifest["template"]["url"])

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def package(order: Order, root: Path, output: Path) -> Bundle:
    """Make a release.

    Args:
        order: what is asked for.
        root: the checkout that this code runs from.
        output: the folder to write; an earlier bundle there is replaced, anything else is not.

    Raises:
        BadInputError: something is wrong; nothing was written.
    """
    order.require_valid()
    _require_replaceable(output)
    return _write(contents(order, source.checkout(root, order.version)), output)


def contents(order: Order, checkout: source.Checkout) -> dict[str, bytes]:
    """Every file of the bundle but the checksums: a pure function of the order and the commit."""
    rendered = render(Release(version=order.version, image=order.images[0], product_code=order.product_code))
    template: dict[str, Any] = json.loads(rendered.to_json())
    text = str(rendered.to_yaml()).rstrip("\n").encode() + b"\n"
    if len(text) > MAXIMUM_TEMPLATE_BYTES:
        raise BadInputError(
            f"The template is {len(text)} bytes long; CloudFormation's limit is {MAXIMUM_TEMPLATE_BYTES}."
        )
    key = links.template_key(order.version, hashlib.sha256(text).hexdigest())
    url = links.template_url(order.template_bucket, key)
    picture = diagram.draw(template, order.version).svg
    made = {
        f"storescp-{order.version}.yaml": text,
        "architecture.svg": picture.encode(),
        "architecture.png": diagram.png(picture),
        "parameters.md": reference.parameters_markdown(template, order.version).encode(),
        **_software(order.version, checkout, template),
        **_cost(template),
        **_listing(order, checkout, template, url),
    }
    made["release.json"] = _json(
        {
            "schema": 1,
            "version": order.version,
            "commit": checkout.commit,
            "committed_at": checkout.committed_at,
            "images": list(order.images),
            "regions": list(order.regions),
            "product_id": order.product_id,
            "metered": bool(order.product_code),
            "template": {
                "file": f"storescp-{order.version}.yaml",
                "bucket": order.template_bucket,
                "key": key,
                "url": url,
                "sha256": hashlib.sha256(text).hexdigest(),
            },
        }
    )
    return made


def load(folder: Path) -> Bundle:
    """Open a bundle and verify every byte of it.

    Raises:
        BadInputError: it is not one, or a file is missing, added or changed.
    """
    try:
        sums = (folder / CHECKSUMS).read_text("utf-8")
    except OSError as error:
        raise BadInputError(
            f"{folder} holds no release ({CHECKSUMS}: {error.strerror}): run `package` first."
        ) from error
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in sums.splitlines())}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {CHECKSUMS}
    for name in sorted(found ^ set(expected)):
        raise BadInputError(
            f"{name} was {'added to' if name in found else 'removed from'} {folder}: run `package` again."
        )
    for name, digest in expected.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise BadInputError(f"{name} in {folder} was changed after `package` wrote it: run `package` again.")
    manifest = json.loads((folder / "release.json").read_text("utf-8"))
    return Bundle(folder, hashlib.sha256(sums.encode()).hexdigest(), manifest)


def _require_image(image: str) -> None:
    registry, _, path = image.partition("/")
    if registry != limits.REGISTRY:
        raise BadInputError(f"Image {image!r} is not in AWS Marketplace's registry {limits.REGISTRY}.")
    if path.endswith(":latest"):
        raise BadInputError(
            f"Image {image!r} is tagged `latest`, which AWS Marketplace refuses: tag it with its version."
        )
    if not re.fullmatch(limits.IMAGE_URI, image):
        raise BadInputError(f"Image {image!r} is not {limits.REGISTRY}/SELLER/REPOSITORY:TAG.")


def _software(version: str, checkout: source.Checkout, template: Mapping[str, Any]) -> dict[str, bytes]:
    importer = compose(lambda name: checkout.read(f"{PACKAGE}/{name}.py").decode()).encode()
    inline = [
        resource["Properties"]["Code"].get("ZipFile")
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    if importer.decode() not in inline:
        raise BadInputError("The template does not carry import_lambda/ as it is committed: run `make render`.")
    digest = hashlib.sha256(importer).hexdigest()
    dependencies = software.locked(checkout.read("container/requirements.lock").decode())
    return {
        "importer/index.py": importer,
        "importer/index.py.sha256": f"{digest}  index.py\n".encode(),
        "sbom.cdx.json": _json(software.bill_of_materials(version, checkout.committed_at, digest, dependencies)),
        "THIRD-PARTY-LICENCES.md": software.licences(dependencies).encode(),
    }


def _cost(template: Mapping[str, Any]) -> dict[str, bytes]:
    deployment = cost.deployment_of(template)
    tables = [
        cost.markdown(cost.estimate(listing.TYPICAL, deployment, region)) for region in links.HEALTHIMAGING_REGIONS
    ]
    return {"cost-estimate.md": cost.page(listing.TYPICAL, deployment, tables).encode()}


def _listing(order: Order, checkout: source.Checkout, template: Mapping[str, Any], url: str) -> dict[str, bytes]:
    notes = source.release_notes(checkout.read("CHANGELOG.md").decode(), order.version)
    roles = {
        name: resource["Properties"]["Description"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    month = cost.estimate(listing.TYPICAL, cost.deployment_of(template), order.regions[0])
    usage = listing.usage_instructions(
        listing.Facts(order.version, order.regions[0], roles, bool(order.product_code), month)
    )
    resources = links.deployment_resources(url, order.regions)
    option = changeset.DeliveryOption(
        listing.DELIVERY_OPTION, listing.DELIVERY_DESCRIPTION, usage, order.images, resources
    )
    repositories = sorted({image.split("/")[-1].rpartition(":")[0] for image in order.images})
    requests = {
        "changeset.json": changeset.add_version(order.product_id, order.version, notes, option),
        "first-listing/create-product.json": changeset.create_product(listing.information(), repositories),
        "first-listing/add-repositories.json": changeset.add_repositories(order.product_id, repositories),
    }
    for request in requests.values():
        limits.require_within_limits(request)
    return {
        "usage-instructions.txt": usage.encode(),
        "release-notes.md": f"{notes}\n".encode(),
        "listing.json": _json(listing.information()),
        "launch-links.md": "".join(f"- [{link['Name']}]({link['Url']})\n" for link in resources).encode(),
        **{name: _json(request) for name, request in requests.items()},
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _require_replaceable(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise BadInputError(f"{output} is not a folder: choose another --output.")
    if output.is_dir() and any(output.iterdir()) and not (output / CHECKSUMS).is_file():
        raise BadInputError(f"{output} holds other files than a release: empty it or choose another --output.")


def _write(made: Mapping[str, bytes], output: Path) -> Bundle:
    """Write beside the output, then move it into place in one step."""
    sums = "".join(f"{hashlib.sha256(made[name]).hexdigest()}  {name}\n" for name in sorted(made))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".storescp-package-", dir=output.parent) as scratch:
            new = Path(scratch, "new")
            for name, body in {**made, CHECKSUMS: sums.encode()}.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(body)
            if output.exists():
                output.rename(Path(scratch, "old"))
            new.rename(output)
    except (OSError, shutil.Error) as error:
        raise BadInputError(f"{output} cannot be written: {error.strerror or error}.") from error
    return load(output)
