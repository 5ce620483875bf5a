"""Covers src/storescp_cfn/local/condition_keys.py; that ministack asks it is shown by tests/template/local."""

from __future__ import annotations

import pytest

from storescp_cfn.local import condition_keys


@pytest.mark.parametrize(
    ("query", "headers", "keys"),
    [
        ({}, {"If-None-Match": "*"}, {"s3:if-none-match": "*", "s3:ObjectCreationOperation": "true"}),
        ({"uploads": ""}, {}, {"s3:ObjectCreationOperation": "false"}),
        ({"partNumber": "1", "uploadId": "x"}, {}, {"s3:ObjectCreationOperation": "false"}),
        ({"uploadId": "x"}, {}, {"s3:ObjectCreationOperation": "true"}),
        (
            {},
            {"x-amz-storage-class": "GLACIER"},
            {"s3:x-amz-storage-class": "GLACIER", "s3:ObjectCreationOperation": "true"},
        ),
    ],
)
def test_a_write_carries_what_its_headers_say(
    query: dict[str, str], headers: dict[str, str], keys: dict[str, str]
) -> None:
    assert condition_keys.of_write(query, headers) == keys


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        ("arn:aws:sts::000000000000:assumed-role/Receiver/task", "arn:aws:iam::000000000000:role/Receiver"),
        ("arn:aws:iam::000000000000:user/jane", "arn:aws:iam::000000000000:user/jane"),
        ("arn:aws:iam::000000000000:root", "arn:aws:iam::000000000000:root"),
    ],
)
def test_a_session_has_its_roles_arn(caller: str, principal: str) -> None:
    assert condition_keys.principal_arn(caller) == principal
