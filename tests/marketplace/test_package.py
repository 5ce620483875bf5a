"""A release: the same bytes every time, everything in it, and one sentence for whatever is wrong.

Covers bundle.py, checkout.py, release_request.py, sbom.py.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storescp_cfn.marketplace import bundle
from storescp_cfn.marketplace.checkout import SEMANTIC_VERSION, release_notes
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.marketplace.release_request import ReleaseRequest
from storescp_cfn.template import Release, regions, render
from tests.testkit.marketplace_stub import PRODUCT
from tests.testkit.release_checkout import ARGUMENTS, IMAGE, NOTES, Run, command, git, listing_text, write_image_files

FILES = {
    "SHA256SUMS",
    "THIRD-PARTY-LICENCES.md",
    "architecture.png",
    "architecture.svg",
    "changeset.json",
    "cost-estimate.md",
    "launch-links.md",
    "listing.json",
    "parameters.md",
    "release-notes.md",
    "release.json",
    "sbom.cdx.json",
    "storescp-1.2.0.yaml",
    "usage-instructions.txt",
    *(
        f"functions/{name}.py"
        for name, resource in render().to_dict()["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Function"
    ),
}


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_runs_in_two_processes_give_the_same_bytes(run: Run, checkout: Path) -> None:
    first = run("package", *ARGUMENTS, env="one")
    assert (first.returncode, first.stderr) == (0, "")
    made = bytes_below(checkout / "dist")
    assert set(made) == FILES
    again = command(checkout, {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"})("package", *ARGUMENTS)
    assert (again.returncode, again.stderr) == (0, "")
    assert bytes_below(checkout / "dist") == made
    assert first.stdout == again.stdout
    assert not [path for path in checkout.iterdir() if path.name.startswith(".storescp-package-")]


def test_packaging_needs_no_network(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("packaging opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    bundle.package(
        ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp"), pristine, pristine.parent / "image", tmp_path / "dist"
    )


def test_the_checksums_are_those_of_every_file(release: bundle.Bundle) -> None:
    made = bytes_below(release.folder)
    sums = made.pop("SHA256SUMS").decode()
    assert sums == "".join(f"{hashlib.sha256(made[name]).hexdigest()}  {name}\n" for name in sorted(made))


def test_the_template_is_the_release_s_own(release: bundle.Bundle) -> None:
    template = release.read("storescp-1.2.0.yaml").decode()
    assert f"Image: '{IMAGE}'" in template or f"Image: {IMAGE}" in template
    assert template.startswith("AWSTemplateFormatVersion")
    assert "StoreSCP 1.2.0" in template
    digest = hashlib.sha256(template.encode()).hexdigest()
    assert release.template_key == f"storescp/1.2.0-{digest[:8]}.yaml"
    assert release.manifest["template"]["sha256"] == digest


def test_the_change_set_carries_links_images_notes_and_instructions(release: bundle.Bundle) -> None:
    change = json.loads(release.read("changeset.json"))["ChangeSet"][0]
    assert (change["ChangeType"], change["Entity"]["Identifier"]) == ("AddDeliveryOptions", PRODUCT)
    document = change["DetailsDocument"]
    assert document["Version"] == {"VersionTitle": "1.2.0", "ReleaseNotes": f"Optional update.\n\n{NOTES}"}
    details = document["DeliveryOptions"][0]["Details"]["EcrDeliveryOptionDetails"]
    assert details["ContainerImages"] == [IMAGE]
    assert details["UsageInstructions"].encode() == release.read("usage-instructions.txt")
    urls = [resource["Url"] for resource in details["DeploymentResources"]]
    assert [url.removeprefix("https://").partition(".console")[0] for url in urls] == ["us-east-1", "eu-west-1"]
    assert all(release.template_url in url and len(url) < 256 for url in urls)


def test_the_functions_sources_are_in_it_as_the_template_carries_them(release: bundle.Bundle) -> None:
    source = release.read("functions/Importer.py")
    assert source.decode() == render().to_dict()["Resources"]["Importer"]["Properties"]["Code"]["ZipFile"]
    parts = {part["name"]: part for part in json.loads(release.read("sbom.cdx.json"))["components"]}
    assert parts["functions/Importer.py"]["hashes"][0]["content"] == hashlib.sha256(source).hexdigest()


def test_the_parts_list_is_the_images_own_and_names_what_is_compiled_into_its_wheels(release: bundle.Bundle) -> None:
    parts = json.loads(release.read("sbom.cdx.json"))
    names = {part["name"] for part in parts["components"]}
    assert {"storescp", "functions/Importer.py", "uvloop", "libuv", "zlib1g"} <= names
    references = [part["bom-ref"] for part in parts["components"]]
    assert len(set(references)) == len(references)
    assert not [reference for reference in references if reference.startswith("chance")]
    everything = {*references, parts["metadata"]["component"]["bom-ref"]}
    assert {name for entry in parts["dependencies"] for name in (entry["ref"], *entry["dependsOn"])} == everything


def test_the_licences_are_whole(release: bundle.Bundle) -> None:
    notices = release.read("THIRD-PARTY-LICENCES.md").decode()
    assert "| zlib1g | deb | Zlib |" in notices
    assert "## uvloop\n" in notices and "## libuv\n" in notices
    begins = "Permission is hereby granted, free of charge, to any person obtaining a copy"
    assert begins in notices, "MIT's first paragraph"


IMAGE_FILES = {
    "no folder": (shutil.rmtree, "No such file or directory. The image's own parts are part"),
    "no JSON": (lambda folder: (folder / "sbom.cdx.json").write_text("x"), "is no JSON: run `make image-lint` again"),
    "no packages": (lambda folder: (folder / "sbom.cdx.json").write_text("{}"), "lists no package of an image"),
    "another version": (
        lambda folder: write_image_files(folder, "1.1.0"),
        "is of an image of version 1.1.0, not 1.2.0",
    ),
    "a metered image": (
        lambda folder: write_image_files(folder, metered=True),
        "is of an image that registers its usage, but no --product-code is given",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), IMAGE_FILES.values(), ids=IMAGE_FILES.keys())
def test_an_image_whose_parts_are_not_known_is_not_released(
    spoil: Callable[[Path], object], sentence: str, checkout: Path
) -> None:
    spoil(checkout.parent / "image")
    refused(checkout, sentence)


def test_two_delivery_options_reach_all_regions(pristine: Path, tmp_path: Path) -> None:
    request = ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp", regions.SUPPORTED)
    made = bundle.package(request, pristine, pristine.parent / "image", tmp_path / "dist")
    options = json.loads(made.read("changeset.json"))["ChangeSet"][0]["DetailsDocument"]["DeliveryOptions"]
    links = [option["Details"]["EcrDeliveryOptionDetails"]["DeploymentResources"] for option in options]
    assert [len(each) for each in links] == [2, 3]
    named = [region for each in links for link in each for region in regions.SUPPORTED if f"({region})" in link["Name"]]
    assert sorted(named) == sorted(regions.SUPPORTED)
    titles = [option["DeliveryOptionTitle"] for option in options]
    assert titles[0].endswith(" in North America") and titles[1].endswith(" in Europe and Asia Pacific")


def test_the_parameter_reference_has_every_parameter(release: bundle.Bundle) -> None:
    reference = release.read("parameters.md").decode()
    template = render().to_dict()
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    form = [name for group in groups for name in group["Parameters"]]
    assert re.findall(r"^\| \*\*(\w+)\*\*<br>", reference, re.MULTILINE) == form
    assert set(form) == set(template["Parameters"])


def statements(template: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every statement that grants a role something, with the logical id that it stands in."""
    found = []
    for name, resource in template["Resources"].items():
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            documents.append(properties["PolicyDocument"])
        found += [(name, statement) for document in documents for statement in document["Statement"]]
    return found


def test_a_paid_listing_s_receiver_gets_one_permission_more_and_nothing_that_a_buyer_could_remove() -> None:
    free, paid = (
        json.loads(render(Release(version="1.2.0", image=IMAGE, metered=metered)).to_json())
        for metered in (False, True)
    )
    assert "aws-marketplace" not in json.dumps(free)
    assert "PRODUCT_CODE" not in json.dumps(paid)
    (policy,) = {name for name in free["Resources"] if free["Resources"][name] != paid["Resources"][name]}
    ((granted_in, more),) = (each for each in statements(paid) if each not in statements(free))
    assert (granted_in, more["Effect"], more["Action"]) == (policy, "Allow", ["aws-marketplace:RegisterUsage"])


def paid_checkout(checkout: Path, pricing: str) -> Path:
    (checkout / "listing.toml").write_text(listing_text(pricing=pricing, price_usd="0.25"))
    git(checkout, "commit", "--all", "--message", "Charge")
    return checkout


@pytest.mark.parametrize("pricing", ["hourly", "monthly"])
def test_a_paid_listing_says_so_in_its_instructions(pricing: str, checkout: Path) -> None:
    request = ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp", product_code="abc123")
    files = write_image_files(checkout.parent / "metered", metered=True)
    made = bundle.package(request, paid_checkout(checkout, pricing), files, checkout.parent / "dist")
    assert "Usage is metered with AWS Marketplace (product code only)." in made.read("usage-instructions.txt").decode()
    assert made.manifest["metered"] is True


def test_pricing_product_code_and_image_have_to_agree(checkout: Path) -> None:
    """An image without the code would run unmetered; a template without the permission would not run at all."""
    free, paid = (ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp", product_code=code) for code in ("", "abc123"))
    image = checkout.parent / "image"
    with pytest.raises(BadInputError, match="has the pricing free, so there is no --product-code"):
        bundle.package(paid, checkout, write_image_files(checkout.parent / "x", metered=True), checkout.parent / "dist")
    with pytest.raises(BadInputError, match="is of an image that registers no usage, but --product-code is given"):
        bundle.package(paid, checkout, image, checkout.parent / "dist")
    with pytest.raises(BadInputError, match="has the pricing hourly, so --product-code is needed"):
        bundle.package(free, paid_checkout(checkout, "hourly"), image, checkout.parent / "dist")
    assert not (checkout.parent / "dist").exists()


def refused(checkout: Path, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        bundle.package(
            ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp"),
            checkout,
            checkout.parent / "image",
            checkout.parent / "dist",
        )
    assert not (checkout.parent / "dist").exists()


def test_a_changed_file_is_refused(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("something else")
    refused(checkout, r"has 1 uncommitted changes \(first: CHANGELOG\.md\): commit or remove them")


def test_an_added_file_is_refused(checkout: Path) -> None:
    (checkout / "src/new.py").write_text("")
    refused(checkout, r"has 1 uncommitted changes \(first: src/new\.py\)")


def test_a_version_that_is_tagged_elsewhere_is_refused(checkout: Path) -> None:
    git(checkout, "tag", "v1.2.0")
    bundle.package(
        ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp"),
        checkout,
        checkout.parent / "image",
        checkout.parent / "first",
    )
    git(checkout, "commit", "--allow-empty", "--message", "More")
    refused(checkout, r"Version 1\.2\.0 exists: tag v1\.2\.0 is at \w{12}, but \w{12} is checked out")


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    write_image_files(tmp_path / "image")
    refused(tmp_path / "x", "is not a git checkout")


def test_a_picture_that_does_not_show_the_template_is_refused(checkout: Path) -> None:
    picture = checkout / "docs/architecture.svg"
    picture.write_text(picture.read_text().replace("AWS::DynamoDB::Table", "AWS::RDS::DBInstance"))
    git(checkout, "commit", "--all", "--message", "Redraw")
    refused(checkout, r"docs/architecture\.svg has no place for Ledger \(AWS::DynamoDB::Table\)")


def test_a_dependency_without_hash_or_licence_is_refused(checkout: Path) -> None:
    lock = checkout / "container/requirements.lock"
    lock.write_text("uvloop==0.23.0\n")
    git(checkout, "commit", "--all", "--message", "Unlock")
    refused(checkout, "has a line that is not name==version with hashes: 'uvloop==0.23.0'")
    lock.write_text(f"Un_Known==1.0 --hash=sha256:{'0' * 64}\n")
    git(checkout, "commit", "--all", "--message", "Lock")
    refused(checkout, "names un-known, whose licence is unknown")


def test_a_template_over_one_megabyte_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAXIMUM_TEMPLATE_BYTES", 1000)
    refused(checkout, r"The template is \d+ bytes long; CloudFormation's limit is 1000")


def packaged(checkout: Path, output: Path) -> bundle.Bundle:
    return bundle.package(
        ReleaseRequest("1.2.0", (IMAGE,), "acme-storescp"), checkout, checkout.parent / "image", output
    )


def lay_thesis(dist: Path) -> None:
    (dist / "thesis.txt").write_text("years of work")


def lay_checksums(dist: Path) -> None:
    lay_thesis(dist)
    (dist / "SHA256SUMS").write_text("")


def lay_link(dist: Path) -> None:
    (dist / "work").symlink_to(dist.parent)


def edit_notes(dist: Path) -> None:
    (dist / "release-notes.md").write_text("an evening's work")


FOREIGN = {
    "another file": (False, lay_thesis, "SHA256SUMS"),
    "another file beside a checksum file": (False, lay_checksums, "is no list of checksums"),
    "a file added to a release": (True, lay_thesis, "thesis.txt was added"),
    "a link added to a release": (True, lay_link, "work was added"),
    "a file of the release that somebody edited": (True, edit_notes, "release-notes.md in .* was changed"),
}


@pytest.mark.parametrize(("after_a_release", "lay", "why"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_a_release_as_packaged_is_never_replaced(
    after_a_release: bool, lay: Callable[[Path], None], why: str, pristine: Path, tmp_path: Path
) -> None:
    """A folder with somebody's files was deleted because a file called SHA256SUMS lay in it."""
    dist = tmp_path / "dist"
    if after_a_release:
        packaged(pristine, dist)
    else:
        dist.mkdir()
    lay(dist)
    before = bytes_below(dist)
    with pytest.raises(BadInputError, match=f"holds something else than a release as it was packaged .*{why}"):
        packaged(pristine, dist)
    assert bytes_below(dist) == before


def test_an_earlier_release_is_replaced_whole(pristine: Path, tmp_path: Path) -> None:
    packaged(pristine, tmp_path / "dist")
    packaged(pristine, tmp_path / "dist")
    assert set(bytes_below(tmp_path / "dist")) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["dist"]


@pytest.mark.parametrize("sums", [b"", b"\xff\xfe\x00", b"no checksum\n"])
def test_a_checksum_file_that_is_none_is_one_sentence(sums: bytes, release: bundle.Bundle, tmp_path: Path) -> None:
    dist = Path(shutil.copytree(release.folder, tmp_path / "dist"))
    (dist / "SHA256SUMS").write_bytes(sums)
    with pytest.raises(BadInputError, match=r"holds no release \(SHA256SUMS is n.*\): run `package` first"):
        bundle.load(dist)


def test_a_git_error_is_a_sentence_and_not_a_list(checkout: Path) -> None:
    (checkout / ".git/HEAD").write_text("nonsense")
    with pytest.raises(BadInputError, match=r"git status failed in \S+: fatal: [^\[\]]+$"):
        packaged(checkout, checkout.parent / "dist")


def test_a_heading_in_a_code_fence_does_not_end_the_notes() -> None:
    notes = "Run:\n\n```\n## not a heading\nmake demo\n```\n\nand see."
    assert release_notes(f"# Changelog\n\n## 1.2.0\n\n{notes}\n\n## 1.1.0\n\n- b\n", "1.2.0") == notes


@pytest.mark.parametrize("heading", ["## 1.2.0", "## [1.2.0] - 2026-12-01", "## v1.2.0 (2026-12-01)"])
def test_notes_are_found_below_the_usual_headings(heading: str) -> None:
    assert (
        release_notes(
            f"# Changelog\n\n## 1.2.0-rc.1\n\nno\n\n{heading}\n\n### Added\n\n- a\n\n## 1.1.0\n\n- b\n", "1.2.0"
        )
        == "### Added\n\n- a"
    )


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("1.2.0", True),
        ("0.0.1", True),
        ("1.2.0-rc.1", False),
        ("01.2.0", False),
        ("1.2.0+build", False),
        ("1.2.0\n", False),
    ],
)
def test_versions_are_semantic(version: str, good: bool) -> None:
    assert bool(re.fullmatch(SEMANTIC_VERSION, version)) is good
