"""The importer's package as one file: whole, in order, and the same from a wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from storescp_cfn.template.composer import ComposeError, compose, importer_source

ROOT = Path(__file__).parents[2]
MODULES = [path for path in sorted((ROOT / "import_lambda").glob("*.py")) if path.stem != "__init__"]


def defined(source: str) -> list[str]:
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def test_every_module_is_in_it_once_and_it_runs_as_a_file() -> None:
    source = importer_source()
    assert sorted(defined(source)) == sorted(name for path in MODULES for name in defined(path.read_text()))
    for path in MODULES:
        assert source.count(f"# --- {path.stem}: ") == 1
    module = types.ModuleType("index")
    sys.modules["index"] = module  # dataclasses look their module up
    exec(compile(source, "index.py", "exec"), module.__dict__)
    assert callable(module.__dict__["handler"])
    del sys.modules["index"]


def test_docstrings_and_comments_are_kept() -> None:
    source = importer_source()
    docstring = ast.get_docstring(ast.parse((ROOT / "import_lambda/__init__.py").read_text()))
    assert ast.get_docstring(ast.parse(source)) == docstring
    for path in MODULES:
        for line in path.read_text().splitlines():
            assert not line.lstrip().startswith("# ") or line in source
    assert "import_lambda." not in source


def test_no_module_is_longer_than_two_hundred_lines() -> None:
    assert {path.name: count for path in MODULES if (count := len(path.read_text().splitlines())) > 200} == {}


@pytest.mark.parametrize(
    ("handler", "other", "sentence"),
    [
        ("from import_lambda.other import a\nb = 1", "a = 1\nb = 2", "other and handler both define b"),
        ("from import_lambda.other import a as b", "a = 1", "handler.py, line 2: this import cannot be hoisted"),
        ("from .other import a", "a = 1", "handler.py, line 2: this import cannot be hoisted"),
        ("import import_lambda.other", "a = 1", "handler.py, line 2: this import cannot be hoisted"),
        ("def f():\n    import os", "", "handler.py, line 3: this import cannot be hoisted"),
        ("from import_lambda.other import a", "from import_lambda.handler import b", "handler imports other imports"),
        ("from import_lambda.other import a\nfrom os import path", "a = 1\npath = 2", "path is defined, and imported"),
    ],
)
def test_what_cannot_be_joined_is_refused(handler: str, other: str, sentence: str) -> None:
    sources = {"__init__": '"""A package."""', "handler": f'"""H."""\n{handler}\n', "other": f'"""O."""\n{other}\n'}
    with pytest.raises(ComposeError, match=sentence):
        compose("import_lambda", sources.__getitem__)


def test_a_wheel_renders_the_same_template_as_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); import storescp_cfn; "
    code += "from storescp_cfn.template import files; print(storescp_cfn.__file__); print(files.text('yaml'), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    where, _, template = done.stdout.partition("\n")
    assert where.startswith(str(tmp_path))
    assert template == (ROOT / "templates/storescp.yaml").read_text()
