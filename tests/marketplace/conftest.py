"""A clean checkout of the working tree, releases made from it, and the seller's AWS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storescp_cfn.marketplace import bundle, catalog
from storescp_cfn.marketplace.release_request import ReleaseRequest
from tests.testkit import marketplace_stub
from tests.testkit.release_checkout import CHANGELOG, IMAGE, ROOT, Run, command, git, listing_text, write_image_files


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release is made of, as it lies in the working tree, committed in a checkout of its own."""
    folder = tmp_path_factory.mktemp("pristine") / "checkout"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "import_lambda", "preflight_lambda", "container", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    (folder / "listing.toml").write_text(listing_text())
    write_image_files(folder.parent / "image")
    write_image_files(folder.parent / "image-9.9.9", "9.9.9")
    (folder / ".gitignore").write_text("__pycache__/\n/dist/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Release")
    return folder


@pytest.fixture
def checkout(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    write_image_files(tmp_path / "image")
    return Path(shutil.copytree(pristine, tmp_path / "checkout"))


@pytest.fixture
def run(checkout: Path) -> Run:
    return command(checkout)


@pytest.fixture(scope="session")
def release(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    """Version 1.2.0 of the stub's product, packaged once."""
    request = ReleaseRequest(
        "1.2.0", (IMAGE,), "acme-storescp", ("us-east-1", "eu-west-1"), product_id=marketplace_stub.PRODUCT
    )
    return bundle.package(request, pristine, pristine.parent / "image", tmp_path_factory.mktemp("release") / "dist")


@pytest.fixture(scope="session")
def seller() -> Iterator[marketplace_stub.Aws]:
    """The services, for the whole run."""
    with marketplace_stub.running() as server:
        yield server


@pytest.fixture(scope="session")
def clients(seller: marketplace_stub.Aws) -> catalog.Clients:
    """Made once: reading botocore's models takes longer than all tests that use them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        for name, value in seller.environment().items():
            patch.setenv(name, value)
        made = catalog.connect()
        regional = {region: made.cloudformation(region) for region in ("us-east-1", "eu-west-1")}
    return replace(made, cloudformation=regional.__getitem__)


@pytest.fixture
def aws(seller: marketplace_stub.Aws) -> marketplace_stub.Aws:
    """The seller's account, with the image of version 1.2.0 pushed and nothing else."""
    seller.reset()
    seller.push("acme/storescp", "1.2.0")
    return seller
