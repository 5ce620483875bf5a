"""Copy import_lambda/index.py into the template library as a constant, so that rendering reads no file."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "import_lambda/index.py"
MODULE = ROOT / "src/storescp_cfn/template/importer_source.py"
FRAME = '''"""The importer's source, a copy of import_lambda/index.py that `make render` writes: do not edit it here."""
# ruff: noqa: E501

IMPORTER_SOURCE = r\'\'\'{source}\'\'\'
'''


def module_of(source: str) -> str:
    """Return the text of the module that holds `source`; raise ValueError if a raw string cannot hold it."""
    if "'''" in source or not source.endswith("\n"):
        raise ValueError(f"{SOURCE} must end with a newline and hold no three single quotes in a row")
    return FRAME.format(source=source)


def main() -> int:
    """Write the module if it differs; return 0."""
    text = module_of(SOURCE.read_text(encoding="utf-8"))
    if not MODULE.exists() or MODULE.read_text(encoding="utf-8") != text:
        MODULE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
