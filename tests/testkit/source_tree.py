"""The project's Python files as data: modules, what they import, how long their functions are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where modules are found by a bare name, and what that name begins with.
PACKAGE_ROOTS = {"src": "", "container": "", "import_lambda": "import_lambda.", "": ""}
PROGRAMS = ("src", "container", "import_lambda", "audit", "interop", "scripts", "docs", "benchmarks")
SKIPPED = {"__pycache__", "build", ".venv", "_build", "dist"}


@dataclass(frozen=True)
class Module:
    """One source file. `path` is relative to the checkout, `name` dotted as the house names it."""

    path: str
    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.path)


@cache
def _parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def python_files(*folders: str) -> list[str]:
    """Paths below the folders, sorted, without what is built or installed."""
    found = []
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT)
            if not SKIPPED & set(relative.parts) and not any(part.endswith(".egg-info") for part in relative.parts):
                found.append(str(relative))
    return sorted(found)


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the programs (tests apart)."""
    return tuple(Module(path, _dotted(path)) for path in python_files(*PROGRAMS))


def _dotted(path: str) -> str:
    parts = list(Path(path).with_suffix("").parts)
    if parts[0] in ("src", "container", "scripts"):
        parts = parts[1:]
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports(module: Module) -> set[str]:
    """Names of the house's own modules that this one imports, wherever in it; type checking apart."""
    known = {each.name for each in modules()}
    found = set()
    for name in _imported(module.tree, module):
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            candidate = ".".join(parts[:length])
            if candidate in known:
                found.add(candidate)
                break
    return found - {module.name}


def _imported(node: ast.AST, module: Module) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (_qualified(alias.name, module) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _base(child, module)
            yield from (f"{base}.{alias.name}" for alias in child.names)
        else:
            yield from _imported(child, module)


def _qualified(name: str, module: Module) -> str:
    """The importer's modules import one another by bare name when they run as a function's source."""
    own = f"import_lambda.{name}"
    return own if module.path.startswith("import_lambda/") and (ROOT / f"import_lambda/{name}.py").exists() else name


def _base(statement: ast.ImportFrom, module: Module) -> str:
    if not statement.level:
        return _qualified(statement.module or "", module)
    parts = module.name.split(".")
    if not module.path.endswith("__init__.py"):
        parts = parts[:-1]
    parts = parts[: len(parts) - (statement.level - 1)]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


@dataclass(frozen=True)
class Function:
    """A function or method: where it is, and its lines without decorators and docstring."""

    path: str
    name: str
    lines: int


def functions(path: str) -> Iterator[Function]:
    """The functions of a file; one that is a single statement is a table of data and left out."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if len(body) > 1:
                end = body[-1].end_lineno or 0
                documented = body[0].lineno - node.body[0].lineno
                yield Function(path, node.name, end - node.lineno + 1 - documented)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach one another."""
    reached = {node: _reach(node, graph) for node in graph}
    groups = {tuple(sorted(other for other in reached[node] if node in reached.get(other, ()))) for node in graph}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reach(node: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for following in graph.get(waiting.pop(), ()):
            if following not in found:
                found.add(following)
                waiting.append(following)
    return found
