"""The architecture diagram of the listing, 1100 x 700, drawn from the rendered template's own resources.

What is drawn is looked up in the template: a node is there if its resources are, counts are counted, and an arrow is
drawn only if the template proves it (the one end's resource mentions the other's). A resource type that no
node stands for is an error, so that the picture cannot fall behind the template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from storescp_cfn.marketplace.errors import MarketplaceError
from storescp_cfn.marketplace.lettering import ASCENT, DESCENT, escaped, number, outlines, width

WIDTH, HEIGHT = 1100, 700
ICON = 56.0
TITLE_SIZE, GROUP_SIZE, NAME_SIZE, NOTE_SIZE, STEP_SIZE = 20.0, 13.0, 13.5, 12.0, 12.5
INK, GREY, BLUE = "#232f3e", "#545b64", "#1a5fb4"

Resources = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, and what is in it."""

    kind: str
    name: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two share an area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies wholly inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Node:
    """One icon with a name and a note below it. `types` are the resource types that it stands for.

    note: a text, or a function of this node's resources (logical id to resource).
    only: of those types, the logical ids that match. Drawn though no resource is it: `always`, or if the template has
    `parameter`.
    """

    key: str
    icon: str
    x: float
    y: float
    name: str
    note: str | Callable[[Resources], str] = ""
    types: tuple[str, ...] = ()
    only: str = ""
    always: bool = False
    parameter: str = ""

    def resources(self, resources: Resources) -> dict[str, Mapping[str, Any]]:
        """The template's resources that this node stands for."""
        return {
            name: resource
            for name, resource in resources.items()
            if resource["Type"] in self.types and re.search(self.only, name)
        }

    def note_text(self, resources: Resources) -> str:
        return self.note if isinstance(self.note, str) else self.note(self.resources(resources))


@dataclass(frozen=True)
class Arrow:
    """A line through points, from one node to another, with the number of the step that it is.

    proof: the resource whose definition names the other resource, as (logical id or type, logical id or
    type), where * stands for any letters;
    none where an end is outside the template.
    via: a node that the line passes through, if it is drawn.
    """

    ends: tuple[str, str]
    points: tuple[tuple[float, float], ...]
    step: int | None = None
    badge: tuple[float, float] | None = None
    proof: tuple[str, str] | None = None
    dashed: bool = False
    via: str = ""


def _count(word: str, type_name: str) -> Callable[[Resources], str]:
    def text(found: Resources) -> str:
        count = sum(resource["Type"] == type_name for resource in found.values())
        return f"{count} {word}{'' if count == 1 else 's'}"

    return text


def _watching(found: Resources) -> str:
    parts = []
    for kind, word in (
        ("CloudWatch::Dashboard", "dashboard"),
        ("CloudWatch::Alarm", "alarm"),
        ("Logs::LogGroup", "log"),
    ):
        count = sum(resource["Type"] == f"AWS::{kind}" for resource in found.values())
        if count:
            parts.append(f"{count} {word}{'' if count == 1 else 's'}")
    return ", ".join(parts)


INNER, GATE, LEFT, MIDDLE, FAR = 350.0, 472.0, 616.0, 800.0, 986.0
UPPER, LOWER, FOOT = 208.0, 396.0, 578.0
NODES: tuple[Node, ...] = (
    Node("modality", "AWSIoTThingMedicalEmergency", 96, UPPER, "Modalities", "CT, MR, X-ray, PACS", always=True),
    Node(
        "load_balancer",
        "ElasticLoadBalancingNetworkLoadBalancer",
        INNER,
        UPPER,
        "Network Load Balancer",
        "DICOM over TCP or TLS",
        (
            "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "AWS::ElasticLoadBalancingV2::Listener",
            "AWS::ElasticLoadBalancingV2::TargetGroup",
            "AWS::EC2::SecurityGroup",
            "AWS::EC2::SecurityGroupIngress",
            "AWS::EC2::SecurityGroupEgress",
        ),
    ),
    Node("nat", "AmazonVPCNATGateway", GATE, UPPER, "NAT gateway", "yours", always=True),
    Node(
        "receiver",
        "AWSFargate",
        INNER,
        LOWER,
        "Receiver",
        "AWS Fargate, 2 or more zones",
        (
            "AWS::ECS::Cluster",
            "AWS::ECS::Service",
            "AWS::ECS::TaskDefinition",
            "AWS::ApplicationAutoScaling::ScalableTarget",
            "AWS::ApplicationAutoScaling::ScalingPolicy",
        ),
    ),
    Node("endpoint", "AmazonVPCEndpoints", GATE, LOWER, "S3 endpoint", "optional", ("AWS::EC2::VPCEndpoint",)),
    Node(
        "landing",
        "AmazonSimpleStorageServiceBucket",
        LEFT,
        LOWER,
        "Landing bucket",
        "images, batches, quarantine",
        ("AWS::S3::Bucket", "AWS::S3::BucketPolicy"),
        only="^Landing",
    ),
    Node(
        "events",
        "AmazonEventBridge",
        LEFT,
        UPPER,
        "Amazon EventBridge",
        _count("rule", "AWS::Events::Rule"),
        ("AWS::Events::Rule", "AWS::Scheduler::Schedule"),
    ),
    Node(
        "importer",
        "AWSLambda",
        MIDDLE,
        UPPER,
        "Importer",
        "AWS Lambda",
        ("AWS::Lambda::Function", "AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"),
    ),
    Node("ledger", "AmazonDynamoDB", FAR, UPPER, "Ledger", "Amazon DynamoDB", ("AWS::DynamoDB::Table",)),
    Node(
        "datastore",
        "AWSHealthImaging",
        MIDDLE,
        LOWER,
        "AWS HealthImaging",
        "data store",
        ("AWS::HealthImaging::Datastore",),
    ),
    Node(
        "results",
        "AmazonSimpleStorageServiceBucket",
        FAR,
        LOWER,
        "Results bucket",
        "what became of each image",
        ("AWS::S3::Bucket", "AWS::S3::BucketPolicy"),
        only="^Results",
    ),
    Node(
        "registry", "AmazonElasticContainerRegistry", 272, FOOT, "AWS Marketplace", "registry, us-east-1", always=True
    ),
    Node(
        "roles",
        "AWSIdentityandAccessManagement",
        376,
        FOOT,
        "IAM",
        _count("role", "AWS::IAM::Role"),
        ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy"),
    ),
    Node("key", "AWSKeyManagementService", GATE, FOOT, "KMS key", "optional, yours", parameter="KmsKeyARN"),
    Node(
        "watch",
        "AmazonCloudWatch",
        LEFT,
        FOOT,
        "Amazon CloudWatch",
        _watching,
        (
            "AWS::CloudWatch::Alarm",
            "AWS::CloudWatch::CompositeAlarm",
            "AWS::CloudWatch::Dashboard",
            "AWS::Logs::LogGroup",
            "AWS::Logs::MetricFilter",
        ),
    ),
    Node(
        "topic",
        "AmazonSimpleNotificationService",
        MIDDLE,
        FOOT,
        "Alarm topic",
        "and your e-mail address",
        ("AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::SNS::Subscription"),
    ),
    Node(
        "access_logs",
        "AmazonSimpleStorageServiceBucket",
        FAR,
        FOOT,
        "Log bucket",
        "who read what",
        ("AWS::S3::Bucket", "AWS::S3::BucketPolicy"),
        only="Log",
    ),
)

HALF = ICON / 2 + 4
BELOW = ICON / 2 + 42
CROSS = 312.0
ARROWS: tuple[Arrow, ...] = (
    Arrow(("modality", "load_balancer"), ((96 + HALF, UPPER), (INNER - HALF, UPPER)), 1, (186, UPPER)),
    Arrow(
        ("load_balancer", "receiver"),
        ((INNER, UPPER + BELOW), (INNER, LOWER - HALF)),
        proof=("AWS::ECS::Service", "AWS::ElasticLoadBalancingV2::TargetGroup"),
    ),
    Arrow(
        ("receiver", "landing"),
        ((INNER + HALF, LOWER), (LEFT - HALF, LOWER)),
        2,
        (551, LOWER),
        via="endpoint",
        proof=("AWS::ECS::TaskDefinition", "LandingBucket"),
    ),
    Arrow(
        ("landing", "events"),
        ((LEFT - 12, LOWER - HALF), (LEFT - 12, UPPER + BELOW)),
        3,
        (LEFT - 12, CROSS),
        proof=("AWS::Events::Rule", "LandingBucket"),
    ),
    Arrow(
        ("events", "importer"),
        ((LEFT + HALF, UPPER), (MIDDLE - HALF, UPPER)),
        proof=("AWS::Events::Rule", "AWS::Lambda::Function"),
    ),
    Arrow(
        ("importer", "datastore"),
        ((MIDDLE - 8, UPPER + BELOW), (MIDDLE - 8, LOWER - HALF)),
        4,
        (MIDDLE - 8, CROSS),
        proof=("AWS::Lambda::Function", "AWS::HealthImaging::Datastore"),
    ),
    Arrow(
        ("landing", "datastore"),
        ((LEFT + HALF, LOWER), (MIDDLE - HALF, LOWER)),
        5,
        ((LEFT + MIDDLE) / 2, LOWER),
        proof=("ImportJob*", "LandingBucket"),
    ),
    Arrow(
        ("datastore", "results"),
        ((MIDDLE + HALF, LOWER), (FAR - HALF, LOWER)),
        proof=("ImportJob*", "ResultsBucket"),
    ),
    Arrow(
        ("datastore", "events"),
        ((MIDDLE - 28, LOWER - HALF), (MIDDLE - 28, CROSS), (LEFT + 12, CROSS), (LEFT + 12, UPPER + BELOW)),
        6,
        ((LEFT + MIDDLE) / 2, CROSS),
        proof=("AWS::Events::Rule", "AWS::HealthImaging::Datastore"),
    ),
    Arrow(
        ("results", "importer"),
        ((FAR, LOWER - HALF), (FAR, CROSS), (MIDDLE + 14, CROSS), (MIDDLE + 14, UPPER + BELOW)),
        7,
        ((MIDDLE + FAR) / 2, CROSS),
        proof=("AWS::Lambda::Function", "ResultsBucket"),
    ),
    Arrow(
        ("importer", "ledger"),
        ((MIDDLE + HALF, UPPER), (FAR - HALF, UPPER)),
        8,
        ((MIDDLE + FAR) / 2, UPPER),
        proof=("AWS::Lambda::Function", "AWS::DynamoDB::Table"),
    ),
    Arrow(
        ("registry", "receiver"),
        ((272, FOOT - HALF), (272, 520), (INNER, 520), (INNER, LOWER + BELOW)),
        dashed=True,
    ),
    Arrow(
        ("watch", "topic"),
        ((LEFT + HALF, FOOT), (MIDDLE - HALF, FOOT)),
        proof=("AWS::CloudWatch::Alarm", "AWS::SNS::Topic"),
    ),
)

STEPS = (
    "Devices send images from allowed networks",
    "Each image is stored, then acknowledged",
    "A closed batch wakes the importer",
    "It starts one import job a batch",
    "HealthImaging reads the batch",
    "The end of a job wakes the importer",
    "Results are read, image by image",
    "The ledger accounts for every image",
)

# Name, group icon, frame colour, dashed, rectangle.
GROUPS: tuple[tuple[str, str, str, bool, tuple[float, float, float, float]], ...] = (
    ("Hospital", "Corporatedatacenter", "#7d8998", True, (16, 142, 176, 290)),
    ("AWS Cloud", "AWSCloud", "#242f3e", False, (196, 50, 1084, 684)),
    ("Region with AWS HealthImaging", "Region", "#00a4a6", True, (206, 84, 1074, 674)),
    ("Your VPC", "VirtualprivatecloudVPC", "#8c4fff", False, (216, 114, 528, 492)),
)
SUBNETS = (
    ("Public subnets", "Publicsubnet", "#7aa116", (224, 146, 520, 290)),
    ("Private subnets", "Privatesubnet", "#00a4a6", (224, 328, 520, 484)),
)


@dataclass(frozen=True)
class Picture:
    """The SVG, and where its parts lie, for whoever checks that nothing overlaps."""

    svg: str
    boxes: tuple[Box, ...]
    lines: tuple[tuple[tuple[float, float], ...], ...]


def draw(template: Mapping[str, Any], version: str) -> Picture:
    """Draw the diagram of a rendered template.

    Args:
        template: the template as a dictionary.
        version: the release, for the title.

    Raises:
        MarketplaceError: a resource type is not in NODES, or an arrow is not borne out by the template.
    """
    resources: Resources = template["Resources"]
    _require_known(resources)
    nodes = [
        node for node in NODES if node.always or node.parameter in template["Parameters"] or node.resources(resources)
    ]
    canvas = _Canvas()
    title = f"StoreSCP for AWS HealthImaging {version}"
    canvas.text(title, 16, 32, TITLE_SIZE, "medium")
    for name, icon, colour, dashed, frame in GROUPS:
        canvas.group(name, icon, colour, dashed, frame)
    for name, icon, colour, frame in SUBNETS:
        canvas.group(name, icon, colour, False, frame)
    places = {node.key: node for node in nodes}
    for arrow in _proven(ARROWS, set(places), resources):
        canvas.arrow(arrow, places.get(arrow.via))
    for node in nodes:
        canvas.node(node, node.note_text(resources))
    canvas.steps()
    return Picture(canvas.svg(title), tuple(canvas.boxes), tuple(canvas.lines))


def png(svg: str) -> bytes:
    """The picture as a PNG of WIDTH x HEIGHT. No font is looked up: all text is outlines."""
    import resvg_py

    return bytes(
        resvg_py.svg_to_bytes(svg_string=svg, width=WIDTH, height=HEIGHT, background="#ffffff", skip_system_fonts=True)
    )


def _require_known(resources: Resources) -> None:
    for name, resource in resources.items():
        if not any(name in node.resources({name: resource}) for node in NODES):
            raise MarketplaceError(
                f"The diagram has no place for {name} ({resource['Type']}): add it to NODES in marketplace/diagram.py."
            )


def _proven(arrows: Iterable[Arrow], drawn: set[str], resources: Resources) -> Iterable[Arrow]:
    for arrow in arrows:
        if not drawn.issuperset(arrow.ends):
            continue
        if arrow.proof and not _mentions(resources, *arrow.proof):
            raise MarketplaceError(
                f"The diagram draws {' to '.join(arrow.ends)}, but in the template no {arrow.proof[0]} mentions a "
                f"{arrow.proof[1]}: mend ARROWS in marketplace/diagram.py."
            )
        yield arrow


def _mentions(resources: Resources, what: str, other: str) -> bool:
    """Whether a resource of an id or type refers to one of another id or type."""
    targets = _named(resources, other)
    return any(
        re.search(rf"(?<![A-Za-z0-9]){re.escape(target)}(?![A-Za-z0-9])", json.dumps(resources[name]))
        for name in _named(resources, what)
        for target in targets
    )


def _named(resources: Resources, id_or_type: str) -> list[str]:
    return [
        name
        for name, resource in resources.items()
        if fnmatchcase(name, id_or_type) or fnmatchcase(resource["Type"], id_or_type)
    ]


@cache
def _icon(name: str) -> tuple[str, str]:
    """An icon's viewBox and its inside."""
    svg = files(__package__).joinpath("icons", f"{name}.svg").read_text("utf-8")
    match = re.fullmatch(r'<svg xmlns="[^"]+" viewBox="([^"]+)">(.*)</svg>\s*', svg, re.DOTALL)
    if match is None:
        raise MarketplaceError(f"Icon {name}.svg is not of the form that the diagram reads.")
    return match[1], match[2]


class _Canvas:
    """Collects SVG elements and remembers the boxes and lines that they make."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.boxes: list[Box] = []
        self.lines: list[tuple[tuple[float, float], ...]] = []

    def text(
        self, text: str, left: float, baseline: float, size: float, weight: str = "regular", fill: str = INK
    ) -> None:
        self.parts.append(outlines(text, left, baseline, size, weight, fill))
        right = left + width(text, size, weight)
        self.boxes.append(Box("text", text, left, baseline - ASCENT * size, right, baseline + DESCENT * size))

    def image(self, icon: str, left: float, top: float, size: float) -> None:
        view_box, inside = _icon(icon)
        where = f'x="{number(left)}" y="{number(top)}" width="{number(size)}" height="{number(size)}"'
        self.parts.append(f'<svg {where} viewBox="{view_box}">{inside}</svg>')

    def group(self, name: str, icon: str, colour: str, dashed: bool, frame: tuple[float, float, float, float]) -> None:
        left, top, right, bottom = frame
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        self.parts.append(
            f'<rect x="{number(left)}" y="{number(top)}" width="{number(right - left)}" '
            f'height="{number(bottom - top)}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'
        )
        self.boxes.append(Box("group", name, left, top, right, bottom))
        self.image(icon, left, top, 24)
        self.boxes.append(Box("mark", name, left, top, left + 24, top + 24))
        self.text(name, left + 31, top + 17, GROUP_SIZE, fill=colour)

    def node(self, node: Node, note: str) -> None:
        half = ICON / 2
        self.image(node.icon, node.x - half, node.y - half, ICON)
        self.boxes.append(Box("icon", node.key, node.x - half, node.y - half, node.x + half, node.y + half))
        baseline = node.y + half + 16
        for text, size, weight, fill in (
            (node.name, NAME_SIZE, "medium", INK),
            (note, NOTE_SIZE, "regular", GREY),
        ):
            if text:
                self.text(text, node.x - width(text, size, weight) / 2, baseline, size, weight, fill)
                baseline += 16

    def arrow(self, arrow: Arrow, via: Node | None) -> None:
        if via:
            start, end = arrow.points
            self.line((start, (via.x - HALF, via.y)), arrow.dashed)
            self.line(((via.x + HALF, via.y), end), arrow.dashed)
        else:
            self.line(arrow.points, arrow.dashed)
        if arrow.step and arrow.badge:
            self.badge(arrow.step, *arrow.badge)

    def line(self, points: tuple[tuple[float, float], ...], dashed: bool) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        corners = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        style = f'fill="none" stroke="{INK}" stroke-width="1.6"{dash}'
        self.parts.append(f'<polyline points="{corners}" {style} marker-end="url(#tip)"/>')
        self.lines.append(points)

    def badge(self, step: int, x: float, y: float) -> None:
        self.parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="10" fill="{BLUE}"/>')
        text = str(step)
        left = x - width(text, STEP_SIZE, "medium") / 2
        self.parts.append(outlines(text, left, y + STEP_SIZE * 0.36, STEP_SIZE, "medium", "#ffffff"))
        self.boxes.append(Box("badge", text, x - 10, y - 10, x + 10, y + 10))

    def steps(self) -> None:
        """What the numbers mean, below the hospital."""
        baseline = 334.0
        for step, text in enumerate(STEPS, 1):
            self.badge(step, 28, baseline - 4)
            for line in wrapped(text, 136, STEP_SIZE):
                self.text(line, 46, baseline, STEP_SIZE)
                baseline += 16
            baseline += 12

    def svg(self, title: str) -> str:
        tip = (
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker></defs>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escaped(title)}">'
            f'<title>{escaped(title)}</title>{tip}<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def wrapped(text: str, maximum: float, size: float) -> list[str]:
    """Lines of whole words, none wider than `maximum` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, size) <= maximum:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
