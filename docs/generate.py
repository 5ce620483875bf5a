"""Write the reference pages: docs/reference/ is what `storescp_cfn.template.reference` says."""

from pathlib import Path

from storescp_cfn.template import reference

FOLDER = Path(__file__).resolve().parent / "reference"


def main() -> None:
    """Write every page that differs."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in reference.pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
