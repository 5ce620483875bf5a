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

from storescp_cfn.marketplace import architecture, changeset, cost, limits, links, sbom
from storescp_cfn.marketplace.checkout import Checkout, buyers_notes, read_checkout, release_notes
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.marketplace.listing import FILE as LISTING
from storescp_cfn.marketplace.listing import Listing, read_listing
from storescp_cfn.marketplace.release_request import ReleaseRequest
from storescp_cfn.marketplace.sbom import ImageFiles, read_image_files
from storescp_cfn.marketplace.usage import TYPICAL, Facts, usage_instructions
from storescp_cfn.template import Release, reference, regions, render

# CloudFormation quotas: a template in S3 may have 1 MB.
MAXIMUM_TEMPLATE_BYTES = 1_000_000
CHECKSUMS, MANIFEST = "SHA256SUMS", "release.json"


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


def package(request: ReleaseRequest, root: Path, image_files: Path, output: Path) -> Bundle:
    """Make a release.

    Args:
        request: what is asked for.
        root: the checkout that this code runs from.
        image_files: folder with the SBOM and the licences of the image, as `make image-lint` wrote them.
        output: the folder to write; an earlier bundle there is replaced, anything else is not.

    Raises:
        BadInputError: something is wrong; nothing was written.
    """
    request.require_valid()
    _require_replaceable(output)
    image = read_image_files(image_files, request.version)
    if image.metered != bool(request.product_code):
        raise BadInputError(
            f"{image_files} is of an image that registers "
            + (
                "its usage, but no --product-code is given."
                if image.metered
                else "no usage, but --product-code is given."
            )
        )
    return _write(contents(request, read_checkout(root, request.version), image), output)


def contents(request: ReleaseRequest, checkout: Checkout, image: ImageFiles) -> dict[str, bytes]:
    """Every file of the bundle but the checksums: a pure function of request, commit and image."""
    rendered = render(Release(version=request.version, image=request.images[0], metered=bool(request.product_code)))
    template: dict[str, Any] = json.loads(rendered.to_json())
    text = str(rendered.to_yaml()).rstrip("\n").encode() + b"\n"
    if len(text) > MAXIMUM_TEMPLATE_BYTES:
        raise BadInputError(
            f"The template is {len(text)} bytes long; CloudFormation's limit is {MAXIMUM_TEMPLATE_BYTES}."
        )
    key = links.template_key(request.version, hashlib.sha256(text).hexdigest())
    url = links.template_url(request.template_bucket, key)
    files = {
        f"storescp-{request.version}.yaml": text,
        **_picture(checkout, template),
        "parameters.md": reference.parameters_page().encode(),
        **_software(request, checkout, template, image),
        **_cost(template),
        **_listing(request, checkout, template, url),
    }
    files[MANIFEST] = _json(
        {
            "schema": 1,
            "version": request.version,
            "commit": checkout.commit,
            "committed_at": checkout.committed_at,
            "images": list(request.images),
            "regions": list(request.regions),
            "product_id": request.product_id,
            "metered": bool(request.product_code),
            "template": {
                "file": f"storescp-{request.version}.yaml",
                "bucket": request.template_bucket,
                "key": key,
                "url": url,
                "sha256": hashlib.sha256(text).hexdigest(),
            },
        }
    )
    return files


def load(folder: Path) -> Bundle:
    """Open a bundle and verify every byte of it.

    Raises:
        BadInputError: it is not one, or a file is missing, added or changed.
    """
    sums, expected = _read_checksums(folder)
    found = set(_entries(folder)) - {CHECKSUMS}
    for name in sorted(found ^ set(expected)):
        raise BadInputError(
            f"{name} was {'added to' if name in found else 'removed from'} {folder}: run `package` again."
        )
    for name, digest in expected.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise BadInputError(f"{name} in {folder} was changed after `package` wrote it: run `package` again.")
    if MANIFEST not in expected:
        raise BadInputError(f"{folder} holds no release ({MANIFEST} is missing): run `package` first.")
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return Bundle(folder, hashlib.sha256(sums.encode()).hexdigest(), manifest)


def _read_checksums(folder: Path) -> tuple[str, dict[str, str]]:
    """The checksum file's text, and the digest of each file that it names."""
    try:
        sums = (folder / CHECKSUMS).read_text("utf-8")
    except OSError as error:
        raise BadInputError(
            f"{folder} holds no release ({CHECKSUMS}: {error.strerror}): run `package` first."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{folder} holds no release ({CHECKSUMS} is not a text): run `package` first.") from error
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in sums.splitlines()]
    if not matches or None in matches:
        raise BadInputError(f"{folder} holds no release ({CHECKSUMS} is no list of checksums): run `package` first.")
    return sums, {match[2]: match[1] for match in matches if match}


def _entries(folder: Path) -> list[str]:
    """Whatever lies below the folder and is no folder itself; links too, wherever they lead."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _picture(checkout: Checkout, template: Mapping[str, Any]) -> dict[str, bytes]:
    svg = checkout.read(architecture.FILE)
    for problem in architecture.problems(svg.decode(), template):
        raise BadInputError(problem)
    return {"architecture.svg": svg, "architecture.png": checkout.read(architecture.FILE.replace(".svg", ".png"))}


def _software(
    request: ReleaseRequest, checkout: Checkout, template: Mapping[str, Any], image: ImageFiles
) -> dict[str, bytes]:
    functions = {
        f"functions/{name}.py": resource["Properties"]["Code"]["ZipFile"].encode()
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    locked = sbom.locked(checkout.read("container/requirements.lock").decode())
    licences = f"{image.licences.rstrip()}\n\n{sbom.notices(locked)}"
    parts = sbom.bill_of_materials(request.version, checkout.committed_at, functions, image.components)
    return {**functions, "sbom.cdx.json": _json(parts), "THIRD-PARTY-LICENCES.md": licences.encode()}


def _cost(template: Mapping[str, Any]) -> dict[str, bytes]:
    deployment = cost.deployment_of(template)
    tables = [cost.markdown(cost.estimate(TYPICAL, deployment, region)) for region in regions.SUPPORTED]
    return {"cost-estimate.md": cost.page(TYPICAL, deployment, tables).encode()}


def _usage(request: ReleaseRequest, listing: Listing, template: Mapping[str, Any]) -> str:
    roles = {
        name: resource["Properties"]["Description"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    region = request.regions[0]
    month = cost.estimate(TYPICAL, cost.deployment_of(template), region)
    image, support = request.images[0], listing["support.address"]
    return usage_instructions(Facts(request.version, image, region, roles, listing.paid, support, month))


def _change_sets(
    request: ReleaseRequest, listing: Listing, notes: str, usage: str, url: str
) -> dict[str, dict[str, Any]]:
    options = [
        changeset.DeliveryOption(
            f"{listing['delivery.title']}{place}",
            listing["delivery.description"],
            usage,
            request.images,
            links.deployment_resources(url, named),
        )
        for place, named in links.by_delivery_option(request.regions).items()
    ]
    change_sets = {"changeset.json": changeset.add_version(request.product_id, request.version, notes, options)}
    for change_set in change_sets.values():
        limits.require_within_limits(change_set)
    return change_sets


def _listing(request: ReleaseRequest, checkout: Checkout, template: Mapping[str, Any], url: str) -> dict[str, bytes]:
    listing = read_listing(checkout.read(LISTING).decode())
    if listing.paid != bool(request.product_code):
        raise BadInputError(
            f"{LISTING} has the pricing {listing['offer.pricing']}, "
            + ("so --product-code is needed." if listing.paid else "so there is no --product-code.")
        )
    notes = buyers_notes(release_notes(checkout.read("CHANGELOG.md").decode(), request.version), request.version)
    usage = _usage(request, listing, template)
    change_sets = _change_sets(request, listing, notes, usage, url)
    resources = links.deployment_resources(url, request.regions)
    return {
        "usage-instructions.txt": usage.encode(),
        "release-notes.md": f"{notes}\n".encode(),
        "listing.json": _json(listing.information()),
        "launch-links.md": "".join(f"- [{link['Name']}]({link['Url']})\n" for link in resources).encode(),
        **{name: _json(change_set) for name, change_set in change_sets.items()},
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _require_replaceable(output: Path) -> None:
    """Only a release that is as it was packaged may be replaced: anything else may be somebody's work."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise BadInputError(f"{output} is not a folder: choose another --output.")
    if output.is_dir() and any(output.iterdir()):
        try:
            load(output)
        except BadInputError as error:
            raise BadInputError(
                f"{output} holds something else than a release as it was packaged ({str(error).partition(':')[0]}): "
                "empty it or choose another --output."
            ) from error


def _write(files: Mapping[str, bytes], output: Path) -> Bundle:
    """Write beside the output, then move it into place in one step."""
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".storescp-package-", dir=output.parent) as scratch:
            new = Path(scratch, "new")
            for name, body in {**files, CHECKSUMS: sums.encode()}.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(body)
            if output.exists():
                output.rename(Path(scratch, "old"))
            new.rename(output)
    except (OSError, shutil.Error) as error:
        raise BadInputError(f"{output} cannot be written: {error.strerror or error}.") from error
    return load(output)
