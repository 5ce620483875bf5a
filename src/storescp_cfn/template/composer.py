"""A function's package, joined into the one readable file that the template carries inline (docs/adr/0005).

In order of their imports, imports hoisted, docstrings and comments kept; names that two modules define are refused.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

IMPORTER_PACKAGE = "import_lambda"
PREFLIGHT_PACKAGE = "preflight_lambda"
ENTRY = "handler"
LINE_LENGTH = 120


class ComposeError(Exception):
    """One sentence on a module that cannot be joined with the others."""


def importer_source() -> str:
    """Return the importer's source."""
    return source_of(IMPORTER_PACKAGE)


@cache
def source_of(package: str) -> str:
    """Return a package as one source, from its files: beside this module in a wheel, else in the checkout."""
    folder = Path(__file__).with_name(package)
    folder = folder if folder.is_dir() else Path(__file__).parents[3] / package
    return compose(package, lambda name: (folder / f"{name}.py").read_text(encoding="utf-8"))


def compose(package: str, read: Callable[[str], str]) -> str:
    """Return one source for the package whose modules `read` returns by name, from the entry's imports on.

    Raises ComposeError: a name is defined twice, or a module imports in a way that cannot be hoisted.
    """
    modules = dict.fromkeys(_in_order(package, read, ENTRY))
    owners: dict[str, str] = {}
    imports: set[tuple[str, str]] = set()
    for name in modules:
        tree = ast.parse(read(name))
        imports |= set(_hoisted(package, name, tree))
        for defined in _defined(tree):
            if owners.setdefault(defined, name) != name:
                raise ComposeError(f"{package}: {owners[defined]} and {name} both define {defined}")
    if twice := owners.keys() & {imported.partition(" as ")[2] or imported for _, imported in imports}:
        raise ComposeError(f"{package}: {', '.join(sorted(twice))} is defined, and imported elsewhere")
    head = f'"""{ast.get_docstring(ast.parse(read("__init__")))}\n"""\n\nfrom __future__ import annotations\n'
    return "\n".join([head, *_import_lines(imports), *(_section(name, read(name)) for name in modules)])


def _in_order(package: str, read: Callable[[str], str], name: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a module after all that it imports."""
    if name in above:
        raise ComposeError(f"{package}: {' imports '.join((*above, name))}")
    for node in ast.parse(read(name)).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            yield from _in_order(package, read, str(node.module).partition(".")[2], (*above, name))
    yield name


def _hoisted(package: str, name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield a module's imports of others than the package, as (module or nothing, imported)."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        is_own = module.partition(".")[0] == package
        aliased = any(alias.asname or alias.name.startswith(package) for alias in node.names) and (is_own or not module)
        if node not in tree.body or aliased or (isinstance(node, ast.ImportFrom) and node.level):
            raise ComposeError(f"{package}/{name}.py, line {node.lineno}: this import cannot be hoisted")
        if not is_own and module != "__future__":
            yield from ((module, ast.unparse(alias)) for alias in node.names)


def _import_lines(imports: set[tuple[str, str]]) -> Iterator[str]:
    yield from (f"import {imported}" for module, imported in sorted(imports) if not module)
    for module in sorted({module for module, _ in imports if module}):
        yield f"from {module} import {', '.join(sorted(imported for of, imported in imports if of == module))}"


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (
                one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            )


def _section(name: str, source: str) -> str:
    """Return a module's text below its imports, under a heading made of its docstring."""
    tree = ast.parse(source)
    above = (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.Expr))
    last = max((node.end_lineno or 0 for node in above), default=0)
    title, _, rest = (ast.get_docstring(tree) or name).partition("\n\n")
    paragraphs = [f"--- {name}: {' '.join(title.split())} ", *rest.split("\n\n")] if rest else [f"--- {name}: {title} "]
    wrapped = [line for one in paragraphs for line in textwrap.wrap(one.strip(), LINE_LENGTH - 2)]
    body = "\n".join(source.splitlines()[last:]).strip("\n")
    return "\n\n" + "\n".join(f"# {line}" for line in wrapped) + f"\n\n\n{body}\n"
