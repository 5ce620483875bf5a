"""What the product is made of: a CycloneDX list of parts, and the licences of what others wrote.

The parts of the image come from the image itself, as trivy found them when it was built (`make image-lint`): Debian's
packages and Python's. What is compiled into a wheel is in no package list; `third_party.json` names it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from storescp_cfn.marketplace.errors import BadInputError


@dataclass(frozen=True)
class Dependency:
    """One locked package: normalised name, version, SHA-256 of its files in the order of the lock."""

    name: str
    version: str
    sha256: tuple[str, ...]


def locked(requirements: str) -> tuple[Dependency, ...]:
    """Read a hash-locked requirements file (pip, "Secure installs").

    Raises:
        BadInputError: a line is not `name==version` with at least one SHA-256.
    """
    found = []
    for line in requirements.replace("\\\n", " ").splitlines():
        text = line.split(" #")[0].strip()
        if not text or text.startswith(("#", "--")):
            continue
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", text)
        hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
        if match is None or not hashes:
            raise BadInputError(
                f"container/requirements.lock has a line that is not name==version with hashes: {text[:60]!r}."
            )
        found.append(Dependency(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2], hashes))
    return tuple(sorted(found, key=lambda dependency: dependency.name))


@dataclass(frozen=True)
class ImageFiles:
    """What was written when the image was built: CycloneDX components, licences in Markdown, whether it is metered."""

    components: tuple[Mapping[str, Any], ...]
    licences: str
    metered: bool


def read_image_files(folder: Path, version: str) -> ImageFiles:
    """Read what `make image-lint` wrote.

    Raises:
        BadInputError: it is not there, is no SBOM of an image, or the image is of another version.
    """
    try:
        document = json.loads((folder / "sbom.cdx.json").read_text("utf-8"))
        licences = (folder / "licences.md").read_text("utf-8")
    except OSError as error:
        raise BadInputError(
            f"{error.filename}: {error.strerror}. The image's own parts are part of a release: run `make image-lint`."
        ) from error
    except ValueError as error:
        raise BadInputError(f"{folder}/sbom.cdx.json is no JSON: run `make image-lint` again.") from error
    components = [part for part in document.get("components", ()) if part.get("purl")]
    if document.get("bomFormat") != "CycloneDX" or not components:
        raise BadInputError(f"{folder}/sbom.cdx.json lists no package of an image: run `make image-lint` again.")
    built = _label(document, "org.opencontainers.image.version")
    if built != version:
        raise BadInputError(f"{folder} is of an image of version {built or '(none)'}, not {version}: build it anew.")
    metered = _label(document, "storescp.metered") == "yes"
    return ImageFiles(
        tuple(sorted(map(_plain_component, components), key=lambda part: part["bom-ref"])), licences, metered
    )


def _label(document: Mapping[str, Any], name: str) -> str:
    """A label of the image, as trivy writes it into the properties of the document's subject."""
    properties = document.get("metadata", {}).get("component", {}).get("properties", ())
    named = (entry.get("value", "") for entry in properties if entry.get("name") == f"aquasecurity:trivy:Labels:{name}")
    return str(next(named, ""))


def _plain_component(part: Mapping[str, Any]) -> dict[str, Any]:
    """A component without trivy's own notes and its reference of chance, so that two runs give the same bytes."""
    kept = ("type", "name", "version", "purl", "licenses", "hashes", "supplier")
    return {"bom-ref": part["purl"], **{key: part[key] for key in kept if key in part}}


def bill_of_materials(
    version: str, timestamp: str, functions: Mapping[str, bytes], image: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A CycloneDX 1.6 document.

    Args:
        version: the release's.
        timestamp: RFC 3339, of the commit, so that two runs give the same bytes.
        functions: sources of the Lambda functions that the template carries, by file name.
        image: the components of the receiver's image.
    """
    root, receiver = f"storescp-cfn@{version}", f"storescp@{version}"
    own = {"licenses": [{"license": {"id": "Apache-2.0"}}], "version": version}
    carried = [_function(name, source, own) for name, source in functions.items()]
    inside = [*image, *_compiled_in(image)]
    parts = [{"type": "container", "bom-ref": receiver, "name": "storescp", **own}, *carried, *inside]
    serial = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{root} {timestamp} {serial}')}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "component": {"type": "application", "bom-ref": root, "name": "storescp-cfn", **own},
        },
        "components": parts,
        "dependencies": [
            {"ref": root, "dependsOn": [receiver, *(each["bom-ref"] for each in carried)]},
            {"ref": receiver, "dependsOn": [each["bom-ref"] for each in inside]},
            *({"ref": each["bom-ref"], "dependsOn": []} for each in carried),
        ],
    }


def _function(name: str, source: bytes, own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": f"{name}@{own['version']}",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(source).hexdigest()}],
        "description": "Runs on AWS Lambda's Python, with the boto3 of that runtime",
        **own,
    }


def _compiled_in(image: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is compiled into the image's wheels, by the name of the wheel that carries it."""
    return [
        {
            "type": "library",
            "bom-ref": f"{part['purl']}#{name}",
            "name": name,
            "licenses": [{"license": {"id": _table()[name]["licence"]}}],
            "copyright": _table()[name]["copyright"],
            "description": f"Compiled into {part['name']} {part.get('version', '')}".strip(),
        }
        for part in image
        if part["purl"].startswith("pkg:pypi/")
        for name in _table().get(part["name"], {}).get("contains", ())
    ]


def notices(dependencies: tuple[Dependency, ...]) -> str:
    """Holder and licence text of what is shipped beside Debian's packages, which carry their own; in Markdown."""
    named = {each.name: _entry(each.name) for each in dependencies}
    named |= {inner: _table()[inner] for entry in list(named.values()) for inner in entry["contains"]}
    parts = [
        f"## {name}\n\n{entry['copyright']}\n\nLicence: {entry['licence']}. {entry['note']} <{entry['url']}>\n"
        for name, entry in named.items()
    ]
    for licence in sorted({entry["licence"] for entry in named.values()}):
        text = files(__package__).joinpath("licences", f"{licence}.txt").read_text("utf-8").strip()
        parts.append(f"## Text of the {licence} licence\n\n{text}\n")
    return "\n".join(parts)


def _entry(name: str) -> dict[str, Any]:
    table = _table()
    if name not in table:
        raise BadInputError(
            f"container/requirements.lock names {name}, whose licence is unknown: "
            "add it to marketplace/third_party.json."
        )
    return table[name]


@cache
def _table() -> dict[str, dict[str, Any]]:
    data: dict[str, dict[str, Any]] = json.loads(files(__package__).joinpath("third_party.json").read_text("utf-8"))
    return data
