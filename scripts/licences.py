"""licences.py SBOM - print the third-party licence list of an image as Markdown, from its CycloneDX SBOM."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNKNOWN = "not stated in the package"


def licence_of(component: dict[str, Any]) -> str:
    """Names, identifiers or expressions of a component's licences, in order and once each."""
    found: dict[str, None] = {}
    for entry in component.get("licenses", []):
        licence = entry.get("license", {})
        name = entry.get("expression") or licence.get("id") or licence.get("name")
        if name:
            found[str(name)] = None
    return ", ".join(sorted(found)) or UNKNOWN


def lines_of(components: Iterable[dict[str, Any]]) -> Iterable[str]:
    """One table row a package: ours and Python's first, then Debian's."""
    rows = []
    for component in components:
        kind, _, _ = component.get("purl", "").removeprefix("pkg:").partition("/")
        if kind:
            name = f"{component['name']} {component.get('version', '')}".strip()
            rows.append(({"pypi": 0}.get(kind, 1), name, kind, licence_of(component)))
    yield from (f"| {name} | {kind} | {licence} |" for _, name, kind, licence in sorted(rows))


def main() -> int:
    """Print the list; exit 1 if the SBOM names no package, which would mean that it was not read from an image."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    components = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")).get("components", [])
    rows = list(lines_of(components))
    if not rows:
        print(f"{sys.argv[1]} names no package", file=sys.stderr)
        return 1
    print(
        "# Third-party software in the image",
        "",
        "| package | kind | licence |",
        "| --- | --- | --- |",
        *rows,
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
