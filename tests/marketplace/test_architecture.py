"""The drawn picture shows the template, and the check sees each way in which it could fall behind."""

from __future__ import annotations

import copy
import hashlib
import struct
from typing import Any
from xml.etree import ElementTree

import pytest

from storescp_cfn.marketplace import architecture
from storescp_cfn.template import render
from tests.testkit.release_checkout import ROOT

SVG = (ROOT / architecture.FILE).read_text(encoding="utf-8")
PNG = (ROOT / architecture.FILE).with_suffix(".png").read_bytes()


@pytest.fixture
def template() -> dict[str, Any]:
    return copy.deepcopy(render().to_dict())


def test_every_resource_has_its_place_and_every_arrow_is_a_reference(template: dict[str, Any]) -> None:
    assert list(architecture.problems(SVG, template)) == []


def test_a_resource_without_a_place_is_named(template: dict[str, Any]) -> None:
    template["Resources"]["Queue"] = {"Type": "AWS::SQS::Queue"}
    (problem,) = architecture.problems(SVG, template)
    assert problem.startswith("docs/architecture.svg has no place for Queue (AWS::SQS::Queue): add the type to")


def test_a_resource_of_a_known_type_and_another_name_is_named(template: dict[str, Any]) -> None:
    template["Resources"]["SpareBucket"] = {"Type": "AWS::S3::Bucket"}
    (problem,) = architecture.problems(SVG, template)
    assert "has no place for SpareBucket (AWS::S3::Bucket)" in problem


def test_an_icon_without_a_resource_is_named(template: dict[str, Any]) -> None:
    del template["Resources"]["S3Endpoint"]
    (problem,) = architecture.problems(SVG, template)
    assert "AWS::EC2::VPCEndpoint in its icon endpoint, but the template has none" in problem


def test_an_arrow_that_is_no_reference_is_named(template: dict[str, Any]) -> None:
    template["Resources"]["Importer"]["Properties"] = {}
    found = list(architecture.problems(SVG, template))
    assert any(
        "from importer to datastore, but in the template no AWS::Lambda::Function refers" in one for one in found
    )


def test_an_arrow_at_no_icon_is_named(template: dict[str, Any]) -> None:
    moved = SVG.replace('data-to="ledger"', 'data-to="nowhere"')
    assert list(architecture.problems(moved, template)) == [
        "docs/architecture.svg has an arrow at nowhere, but no such icon."
    ]


def test_the_picture_has_marketplaces_size_and_needs_no_network() -> None:
    root = ElementTree.fromstring(SVG)
    size = (architecture.WIDTH_PIXELS, architecture.HEIGHT_PIXELS)
    assert (int(root.attrib["width"]), int(root.attrib["height"])) == size
    assert "href" not in SVG and "url(http" not in SVG
    assert PNG.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", PNG[16:24]) == size


def test_the_png_was_rendered_from_this_svg() -> None:
    """`make picture` notes what it rendered: the PNG itself differs with the machine's fonts."""
    noted = (ROOT / "docs/architecture.sha256").read_text(encoding="ascii").split()[0]
    assert noted == hashlib.sha256(SVG.encode()).hexdigest(), "run `make picture`"


def test_each_step_has_one_arrow_and_one_line() -> None:
    steps = [element.text for element in ElementTree.fromstring(SVG).iter() if element.get("class") == "step"]
    assert sorted(map(str, steps)) == sorted([str(1 + number // 2) for number in range(len(steps))])
