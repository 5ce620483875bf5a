"""Covers src/storescp_cfn/local/customer_key.py's pure part; the rest is shown by tests/template/local."""

from __future__ import annotations

import pytest

from storescp_cfn.local.customer_key import ACTIONS_OF_IMPORT, ACTIONS_OF_S3, KEY_ELEMENT
from storescp_cfn.template import importing

KEY = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(
    ("configuration", "key"),
    [
        (f"<Rule><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{KEY}</KMSMasterKeyID></Rule>", KEY),
        ("<Rule><SSEAlgorithm>aws:kms</SSEAlgorithm></Rule>", ""),
        ("", ""),
    ],
)
def test_a_bucket_has_the_customers_key_only_if_it_names_it(configuration: str, key: str) -> None:
    found = KEY_ELEMENT.search(configuration)
    assert (found[1] if found else "") == key


def test_the_importers_role_has_what_an_import_asks_for() -> None:
    grants = {
        grant.sid: [str(action.JSONrepr()) for action in grant.actions]
        for grant in importing.importer_role().key_grants
    }
    assert set(ACTIONS_OF_IMPORT) == set(grants["UseKeyOfDatastore"])
    assert {action for actions in ACTIONS_OF_S3.values() for action in actions} <= set(grants["UseCustomerKey"])
