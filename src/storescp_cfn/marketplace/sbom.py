"""What the product is made of: a CycloneDX list of the receiver's locked dependencies, and their licences.

The base image's own packages are not in here: they are listed from the built image (`make image-test`).
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from storescp_cfn.marketplace.errors import BadInputError


@dataclass(frozen=True)
class Dependency:
    """One locked package: normalised name, version, SHA-256 of its files in the order of the lock."""

    name: str
    version: str
    sha256: tuple[str, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


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


def bill_of_materials(
    version: str, timestamp: str, functions: Mapping[str, bytes], dependencies: tuple[Dependency, ...]
) -> dict[str, Any]:
    """A CycloneDX 1.6 document.

    Args:
        version: the release's.
        timestamp: RFC 3339, of the commit, so that two runs give the same bytes.
        functions: sources of the Lambda functions that the template carries, by file name.
        dependencies: of the receiver's image.
    """
    root, receiver = f"storescp-cfn@{version}", f"storescp@{version}"
    own = {"licenses": [{"license": {"id": "Apache-2.0"}}], "version": version}
    carried = [_function(name, source, own) for name, source in functions.items()]
    serial = hashlib.sha256("".join(json.dumps(each) for each in carried).encode()).hexdigest()
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
        "components": [
            {"type": "container", "bom-ref": receiver, "name": "storescp", **own},
            *carried,
            *(_component(dependency) for dependency in dependencies),
        ],
        "dependencies": [
            {"ref": root, "dependsOn": [receiver, *(each["bom-ref"] for each in carried)]},
            {"ref": receiver, "dependsOn": [dependency.purl for dependency in dependencies]},
            *({"ref": each["bom-ref"], "dependsOn": []} for each in carried),
            *({"ref": dependency.purl, "dependsOn": []} for dependency in dependencies),
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


def licences(dependencies: tuple[Dependency, ...]) -> str:
    """The third-party notices, in Markdown: each package, its holder, and the text of its licence."""
    entries = [(dependency, _entry(dependency.name)) for dependency in dependencies]
    parts = ["# Third-party software in the receiver's image\n"]
    for dependency, entry in entries:
        parts.append(
            f"## {dependency.name} {dependency.version}\n\n{entry['copyright']}\n\n"
            f"Licence: {entry['licence']}. {entry['note']} <{entry['url']}>\n"
        )
    for name in sorted({entry["licence"] for _, entry in entries}):
        text = files(__package__).joinpath("licences", f"{name}.txt").read_text("utf-8").strip()
        parts.append(f"## Text of the {name} licence\n\n{text}\n")
    return "\n".join(parts)


def _component(dependency: Dependency) -> dict[str, Any]:
    entry = _entry(dependency.name)
    return {
        "type": "library",
        "bom-ref": dependency.purl,
        "name": dependency.name,
        "version": dependency.version,
        "purl": dependency.purl,
        "licenses": [{"license": {"id": entry["licence"]}}],
        "copyright": entry["copyright"],
        "externalReferences": [
            {"type": "website", "url": entry["url"]},
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{dependency.name}/{dependency.version}/",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in dependency.sha256],
            },
        ],
    }


def _entry(name: str) -> dict[str, str]:
    table = _table()
    if name not in table:
        raise BadInputError(
            f"container/requirements.lock names {name}, whose licence is unknown: "
            "add it to marketplace/third_party.json."
        )
    return table[name]


@cache
def _table() -> dict[str, dict[str, str]]:
    data: dict[str, dict[str, str]] = json.loads(files(__package__).joinpath("third_party.json").read_text("utf-8"))
    return data
