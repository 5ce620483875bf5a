"""The house's own rules, read from its source: arrows, sizes, names, what is gone, and each module's test."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from tests.testkit.source_tree import ROOT, circles, functions, imports, modules, python_files

MAXIMUM_LINES = 400
MAXIMUM_INLINE_LINES = 200
MAXIMUM_FUNCTION_LINES = 40
# What the template carries inline, and reviewers read there.
INLINE_PACKAGES = ("import_lambda/", "preflight_lambda/")

# Which part may import which (design: cli → marketplace, local → account → template; the others stand alone).
PARTS = {
    "commands": ("storescp_cfn.cli", "storescp_cfn.__main__", "storescp_cfn.commands"),
    "marketplace": ("storescp_cfn.marketplace",),
    "local": ("storescp_cfn.local",),
    "account": ("storescp_cfn.account",),
    "template": ("storescp_cfn.template",),
    "common": ("storescp_cfn.markdown", "storescp_cfn"),
    "receiver": ("storescp",),
    "importer": ("import_lambda",),
    "emulator": ("healthimaging_emulator",),
}
ARROWS = {
    "commands": {"marketplace", "local", "account", "template", "common"},
    "marketplace": {"account", "template", "common"},
    "local": {"account", "template", "common", "emulator"},
    "account": {"template", "common"},
    "template": {"common"},
    "common": set(),
    "receiver": set(),
    "importer": set(),
    "emulator": set(),
}

# The glossary's left column. In every file; a word that means something else elsewhere is looked for where it was used.
OLD_WORDS: dict[str, tuple[str, ...]] = {
    r"(?i:doorbell)|\brung\b|\bring\(|\bone_job_an?_": ("",),
    r"\bSURPRISES\b|\btrouble\(|\bsays\(|\bguarded\(": ("",),
    r"\bput_aside\b|\bForeignObjects?\b|\bStrayObjects?\b": ("",),
    r"\bfit_objects\b|\bstarting_ends\b": ("",),
    r"\b(def|class) (decide|conclude|again|looked|Found|Listed)\b": ("import_lambda", "tests/import_lambda"),
    r"\b_Agreed\b|\b_say_farewell\b|\bis_let_through\b|\bunready_because\b|\bunreachable_because\b": ("",),
    r"\bdef (cut|check|regulate)\b|\bclass Receiver\b": ("container",),
    r"\b(instance|group)\.(study|series|sop)\b|\bclass Found\b": ("container", "tests/container"),
    r"\bOwnPort\b|\bHandedOver\b|\bSecuredPort\b|\bSecuring\b": ("",),
    r"\bfile_head\b|\bsop_instance\b": ("container", "import_lambda", "src", "tests"),
    r"\bnotes\.Accepted\b|\btimes\.Link\b|\bCHAIN\b|\bclass Field\b": ("src", "audit", "docs/generate.py", "tests"),
    r"\bCertificateEndsAlarm\b|\bUnwrittenManifestAlarm\b|\bInstancesNotPrimary\b": ("",),
    r"\bclass Order\b|\bpublish as bring\b|\bHOURS_A_MONTH\b|\b[A-Z]+_AN?_[A-Z]+\b": ("src",),
    r"\bmarketplace[./](codes|software|source)\b": ("",),
    r"\bours\b|\btheirs\b": ("src/storescp_cfn/marketplace",),
    r"\bclass (Chain|Running)\b|\bTimetable\b|\b_side_door\b": ("src", "tests"),
}
# This page names the old words; the design decisions may tell what was there before.
MAY_NAME_OLD_WORDS = {"tests/test_house.py", "CHANGELOG.md"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".sh", ".json", ".rst", ""}
SEARCHED = (
    "src",
    "container",
    "import_lambda",
    "audit",
    "interop",
    "scripts",
    "docs",
    "benchmarks",
    "tests",
    "templates",
)

GONE = (
    "templates/storescp.json",
    "src/storescp_cfn/marketplace/reference.py",
    "src/storescp_cfn/marketplace/diagram.py",
    "src/storescp_cfn/marketplace/lettering.py",
    "src/storescp_cfn/marketplace/glyphs.json",
    "src/storescp_cfn/marketplace/codes.py",
    "src/storescp_cfn/marketplace/software.py",
    "src/storescp_cfn/marketplace/source.py",
    "src/storescp_cfn/template/importer_source.py",
    "src/storescp_cfn/template/notes.py",
    "src/storescp_cfn/template/times.py",
    "src/storescp_cfn/local/healthimaging",
    "import_lambda/index.py",
    "container/storescp/server.py",
    "container/storescp/connections.py",
    "scripts/embed-importer",
    "scripts/embed_importer.py",
    "tests/shared",
    "tests/interop",
)


# --- Arrows ---------------------------------------------------------------------------------------------------


def part_of(module: str) -> str | None:
    """The part that a module belongs to: the one whose name for it is the longest."""
    fitting = [
        (len(name), part)
        for part, names in PARTS.items()
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(fitting)[1] if fitting else None


def test_arrows_point_one_way() -> None:
    against = []
    for module in modules():
        part = part_of(module.name)
        for imported in imports(module):
            other = part_of(imported)
            if part and other and other != part and other not in ARROWS[part]:
                against.append(f"{module.name} imports {imported}")
    assert against == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """A package's own __init__ gathers its modules, which may import what lies beside them."""
    packages = {module.name for module in modules() if module.path.endswith("__init__.py")}
    graph = {module.name: imports(module) - packages for module in modules() if module.name not in packages}
    assert circles(graph) == []


# --- Sizes ----------------------------------------------------------------------------------------------------


def test_no_file_is_longer_than_a_reader_keeps_in_mind() -> None:
    folders = "src container import_lambda preflight_lambda audit interop scripts docs benchmarks tests"
    long = []
    for path in python_files(*folders.split()):
        limit = MAXIMUM_INLINE_LINES if path.startswith(INLINE_PACKAGES) else MAXIMUM_LINES
        if (ROOT / path).read_text(encoding="utf-8").count("\n") > limit:
            long.append(path)
    assert long == []


def test_a_function_fits_on_a_screen() -> None:
    paths = [module.path for module in modules()] + python_files("tests")
    assert [
        f"{function.path}: {function.name}"
        for path in paths
        for function in functions(path)
        if function.lines > MAXIMUM_FUNCTION_LINES
    ] == []


# --- Names ----------------------------------------------------------------------------------------------------


def searched() -> list[tuple[str, str]]:
    """Every text file of the project, generated ones too, with its text."""
    found = []
    for folder in SEARCHED:
        for path in sorted((ROOT / folder).rglob("*")):
            relative = path.relative_to(ROOT)
            skipped = {"__pycache__", "_build", "releases", "adr"} & set(relative.parts)
            if (
                path.is_file()
                and path.suffix in TEXT_SUFFIXES
                and not skipped
                and str(relative) not in MAY_NAME_OLD_WORDS
            ):
                found.append((str(relative), path.read_text(encoding="utf-8", errors="replace")))
    return found


def test_the_old_words_are_gone() -> None:
    broken = []
    for path, text in searched():
        for pattern, places in OLD_WORDS.items():
            if any(path.startswith(place) for place in places):
                broken += [f"{path}: {match[0]}" for match in re.finditer(pattern, text)]
    assert broken == []


def test_what_was_deleted_stays_deleted() -> None:
    assert [path for path in GONE if (ROOT / path).exists()] == []


# --- Tests ----------------------------------------------------------------------------------------------------


def described_by_tests() -> dict[str, str]:
    """Each test file's docstring."""
    described = {}
    for path in python_files("tests"):
        text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
        if Path(path).name.startswith(("test_", "fuzz_")):
            described[path] = text
    return described


def test_each_module_has_its_test() -> None:
    """A test of its name, or one whose docstring names it: `x.py`, or `folder/x.py` where several are called x."""
    described = described_by_tests()
    own = {Path(path).name.removeprefix("test_") for path in described}
    told = " ".join(described.values())
    names = Counter(Path(module.path).name for module in modules())
    untested = []
    for module in modules():
        path = Path(module.path)
        if path.name in ("__init__.py", "__main__.py") or module.path.startswith(("benchmarks/", "docs/")):
            continue
        alone = names[path.name] == 1
        name = path.name if alone else f"{path.parent.name}/{path.name}"
        if not (alone and path.name in own) and not re.search(rf"(?<![\w.-]){re.escape(name)}\b", told):
            untested.append(module.path)
    assert untested == []


def test_each_test_says_what_it_is_about() -> None:
    assert [path for path, line in described_by_tests().items() if not line] == []


# --- Documentation --------------------------------------------------------------------------------------------


def test_every_module_that_the_api_pages_name_exists() -> None:
    known = {module.name for module in modules()}
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    named = re.findall(r"automodule:: (\S+)", pages)
    assert named and [name for name in named if name not in known] == []
