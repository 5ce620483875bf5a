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

from storescp_cfn.marketplace import architecture, changeset, cost, limits, links, listing, sbom
from storescp_cfn.marketplace.checkout import Checkout, read_checkout, release_notes
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.marketplace.release_request import ReleaseRequest
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


def package(request: ReleaseRequest, root: Path, output: Path) -> Bundle:
    """Make a release.

    Args:
        request: what is asked for.
        root: the checkout that this code runs from.
        output: the folder to write; an earlier bundle there is replaced, anything else is not.

    Raises:
        BadInputError: something is wrong; nothing was written.
    """
    request.require_valid()
    _require_replaceable(output)
    return _write(contents(request, read_checkout(root, request.version)), output)


def contents(request: ReleaseRequest, checkout: Checkout) -> dict[str, bytes]:
    """Every file of the bundle but the checksums: a pure function of the request and the commit."""
    rendered = render(Release(version=request.version, image=request.images[0], product_code=request.product_code))
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
        **_software(request.version, checkout, template),
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


def _software(version: str, checkout: Checkout, template: Mapping[str, Any]) -> dict[str, bytes]:
    functions = {
        f"functions/{name}.py": resource["Properties"]["Code"]["ZipFile"].encode()
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    dependencies = sbom.locked(checkout.read("container/requirements.lock").decode())
    return {
        **functions,
        "sbom.cdx.json": _json(sbom.bill_of_materials(version, checkout.committed_at, functions, dependencies)),
        "THIRD-PARTY-LICENCES.md": sbom.licences(dependencies).encode(),
    }


def _cost(template: Mapping[str, Any]) -> dict[str, bytes]:
    deployment = cost.deployment_of(template)
    tables = [cost.markdown(cost.estimate(listing.TYPICAL, deployment, region)) for region in regions.SUPPORTED]
    return {"cost-estimate.md": cost.page(listing.TYPICAL, deployment, tables).encode()}


def _listing(request: ReleaseRequest, checkout: Checkout, template: Mapping[str, Any], url: str) -> dict[str, bytes]:
    notes = release_notes(checkout.read("CHANGELOG.md").decode(), request.version)
    roles = {
        name: resource["Properties"]["Description"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    month = cost.estimate(listing.TYPICAL, cost.deployment_of(template), request.regions[0])
    usage = listing.usage_instructions(
        listing.Facts(request.version, request.regions[0], roles, bool(request.product_code), month)
    )
    resources = links.deployment_resources(url, request.regions)
    option = changeset.DeliveryOption(
        listing.DELIVERY_OPTION, listing.DELIVERY_DESCRIPTION, usage, request.images, resources
    )
    repositories = sorted({image.split("/")[-1].rpartition(":")[0] for image in request.images})
    change_sets = {
        "changeset.json": changeset.add_version(request.product_id, request.version, notes, option),
        "first-listing/create-product.json": changeset.create_product(listing.information(), repositories),
        "first-listing/add-repositories.json": changeset.add_repositories(request.product_id, repositories),
    }
    for change_set in change_sets.values():
        limits.require_within_limits(change_set)
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
