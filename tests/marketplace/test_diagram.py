"""The picture follows the template, and can be read: nothing overlaps, nothing is outside, nothing is crossed out."""

from __future__ import annotations

import copy
import json
import struct
from itertools import combinations, pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from storescp_cfn.marketplace import diagram
from storescp_cfn.marketplace.diagram import HEIGHT, WIDTH, Box
from storescp_cfn.marketplace.errors import MarketplaceError
from storescp_cfn.marketplace.lettering import width
from storescp_cfn.template import render

SMALLEST_TEXT = 12.0


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    rendered: dict[str, Any] = json.loads(render().to_json())
    return rendered


@pytest.fixture(scope="module")
def picture(template: dict[str, Any]) -> diagram.Picture:
    return diagram.draw(template, "1.2.0")


def test_texts_icons_and_numbers_never_overlap(picture: diagram.Picture) -> None:
    things = [box for box in picture.boxes if box.kind != "group"]
    assert [(one, other) for one, other in combinations(things, 2) if one.meets(other)] == []


def test_everything_is_on_the_canvas_and_in_its_frame(picture: diagram.Picture) -> None:
    canvas = Box("canvas", "", 8, 8, WIDTH - 8, HEIGHT - 8)
    assert [box for box in picture.boxes if not canvas.holds(box)] == []
    groups = [box for box in picture.boxes if box.kind == "group"]
    # A badge may sit on a frame that its arrow crosses; letters and icons may not.
    solid = [box for box in picture.boxes if box.kind in ("text", "icon")]
    assert [(box, frame) for box in solid for frame in groups if frame.meets(box) and not frame.holds(box)] == []


def around(start: tuple[float, float], end: tuple[float, float]) -> Box:
    """A stretch of an arrow with a pixel to each side."""
    (left, right), (top, bottom) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return Box("line", "", left - 1, top - 1, right + 1, bottom + 1)


def test_no_arrow_runs_through_a_text_or_an_icon(picture: diagram.Picture) -> None:
    solid = [box for box in picture.boxes if box.kind in ("text", "icon", "mark")]
    stretches = [around(*ends) for line in picture.lines for ends in pairwise(line)]
    assert [(box, stretch) for box in solid for stretch in stretches if box.meets(stretch)] == []


def test_all_letters_are_large_enough(picture: diagram.Picture) -> None:
    heights = {round(box.bottom - box.top, 2) for box in picture.boxes if box.kind == "text"}
    assert min(heights) >= round(SMALLEST_TEXT * 0.98, 2)


def test_every_service_of_the_template_is_drawn_with_its_icon(picture: diagram.Picture) -> None:
    drawn = {box.name for box in picture.boxes if box.kind == "icon"}
    assert drawn == {node.key for node in diagram.NODES}
    assert "AWS HealthImaging" in {box.name for box in picture.boxes if box.kind == "text"}


def test_the_numbers_are_the_template_s(template: dict[str, Any], picture: diagram.Picture) -> None:
    types = [resource["Type"] for resource in template["Resources"].values()]
    texts = {box.name for box in picture.boxes if box.kind == "text"}
    assert f"{types.count('AWS::IAM::Role')} roles" in texts
    assert f"{types.count('AWS::Events::Rule')} rules" in texts
    assert any(f"{types.count('AWS::CloudWatch::Alarm')} alarms" in text for text in texts)


def test_every_step_has_one_arrow_and_one_line(picture: diagram.Picture) -> None:
    badges = [box.name for box in picture.boxes if box.kind == "badge"]
    assert sorted(badges) == sorted([str(number + 1) for number in range(len(diagram.STEPS))] * 2)


def test_a_resource_without_a_place_is_refused(template: dict[str, Any]) -> None:
    more = copy.deepcopy(template)
    more["Resources"]["Queue"] = {"Type": "AWS::SQS::Queue"}
    with pytest.raises(MarketplaceError, match=r"has no place for Queue \(AWS::SQS::Queue\): add it to NODES"):
        diagram.draw(more, "1.2.0")


def test_an_arrow_that_the_template_does_not_bear_out_is_refused(template: dict[str, Any]) -> None:
    less = copy.deepcopy(template)
    (importer,) = (resource for resource in less["Resources"].values() if resource["Type"] == "AWS::Lambda::Function")
    importer["Properties"]["Environment"] = {}
    with pytest.raises(MarketplaceError, match="draws importer to datastore, but in the template no"):
        diagram.draw(less, "1.2.0")


def test_what_is_not_in_the_template_is_not_drawn(template: dict[str, Any]) -> None:
    less = copy.deepcopy(template)
    less["Resources"] = {
        name: resource for name, resource in less["Resources"].items() if resource["Type"] != "AWS::EC2::VPCEndpoint"
    }
    del less["Parameters"]["KmsKeyARN"]
    drawn = {box.name for box in diagram.draw(less, "1.2.0").boxes if box.kind == "icon"}
    assert drawn == {node.key for node in diagram.NODES} - {"endpoint", "key"}


def test_the_svg_is_well_formed_and_needs_neither_font_nor_network(picture: diagram.Picture) -> None:
    root = ElementTree.fromstring(picture.svg)
    assert (root.get("width"), root.get("height")) == ("1100", "700")
    assert not [
        element for element in root.iter() if element.tag.rsplit("}", 1)[-1] in ("text", "image", "style", "use")
    ]
    assert "href" not in picture.svg


def test_the_png_is_1100_by_700_and_the_same_every_time(picture: diagram.Picture) -> None:
    drawn = diagram.png(picture.svg)
    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", drawn[16:24]) == (1100, 700)
    assert diagram.png(picture.svg) == drawn


def test_lines_are_wrapped_at_words_and_measured_by_their_letters() -> None:
    lines = diagram.wrapped("The ledger accounts for every image", 136, 12.5)
    assert " ".join(lines) == "The ledger accounts for every image"
    assert len(lines) == 2 and max(width(line, 12.5) for line in lines) <= 136
    assert width("WW", 10) > width("ii", 10) > 0
