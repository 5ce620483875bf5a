"""The reference pages of the documentation are what the code says.

Covers importing.py, reference.py, template/service.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from storescp_cfn.template import importing, reference, service
from tests.testkit.template_values import TEMPLATE

FOLDER = Path(__file__).parents[2] / "docs/reference"
PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_fresh(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name], "run `make docs`"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_every_parameter_output_statement_and_resource_is_in_the_reference() -> None:
    for page, names in (
        ("parameters.md", TEMPLATE["Parameters"]),
        ("outputs.md", TEMPLATE["Outputs"]),
        ("resources.md", TEMPLATE["Resources"]),
    ):
        assert [name for name in names if f"**{name}**" not in PAGES[page]] == []
    for role in (*service.roles(), *importing.roles()):
        section = PAGES["iam.md"].split(f"## {role.logical_id}\n")[1].split("\n## ")[0]
        assert [g.sid for g in (*role.grants, *role.key_grants) if f"**{g.sid}**" not in section] == []


def test_tables_have_as_many_cells_as_heads() -> None:
    for name, page in PAGES.items():
        for table in re.findall(r"(?:^\|.*\n?)+", page, re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, name


def test_the_key_policy_can_be_pasted() -> None:
    (block,) = re.findall(r"```json\n(.*?)\n```", PAGES["kms-key.md"], re.DOTALL)
    policy = json.loads(block)
    assert policy == reference.key_policy("us-east-1", "123456789012")
    services = [s["Principal"].get("Service") for s in policy["Statement"]]
    names = ("logs.us-east-1", "cloudwatch", "medical-imaging")
    assert services == [None, *(f"{name}.amazonaws.com" for name in names)]
