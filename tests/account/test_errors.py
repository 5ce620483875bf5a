"""Every expected error is one sentence that says what to do: connection.py, shared.py.

Covers account/errors.py.
"""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ProfileNotFound
from click.testing import CliRunner

from storescp_cfn.account.connection import Connection
from storescp_cfn.account.errors import AccessDeniedError, error_of
from storescp_cfn.cli import main
from tests.account.conftest import Account


def refused(code: str, operation: str = "DescribeStacks", message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused("ExpiredToken"), "session has expired: sign in again"),
        (refused("InvalidClientTokenId"), "AWS does not know these credentials"),
        (refused("AccessDenied"), "the permission cloudformation:DescribeStacks is missing"),
        (refused("ThrottlingException"), "try again in a minute"),
        (refused("OptInRequired"), "is not enabled in this account"),
        (refused("Weird", message="some\nthing"), "AWS refused DescribeStacks (Weird): some thing"),
        (NoCredentialsError(), "No AWS credentials were found"),
        (ProfileNotFound(profile="x"), "aws configure list-profiles"),
        (EndpointConnectionError(endpoint_url="https://x"), "AWS could not be reached"),
    ],
)
def test_what_aws_says_becomes_one_sentence(error: Exception, words: str) -> None:
    sentence = str(error_of(error, "cloudformation", "us-east-1"))
    assert words in sentence
    assert "\n" not in sentence
    assert sentence.endswith((".", "thing"))


@pytest.mark.parametrize(
    ("service", "operation", "message", "permission"),
    [
        ("s3", "ListObjectsV2", "Access Denied", "s3:ListBucket"),
        ("elbv2", "DescribeTargetHealth", "", "elasticloadbalancing:DescribeTargetHealth"),
        (
            "dynamodb",
            "Query",
            "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:Query on resource: y",
            "dynamodb:Query",
        ),
    ],
)
def test_the_missing_permission_is_named_as_iam_names_it(
    service: str, operation: str, message: str, permission: str
) -> None:
    error = error_of(refused("AccessDeniedException", operation, message), service)
    assert isinstance(error, AccessDeniedError)
    assert error.permission == permission


def test_no_such_stack_names_those_that_there_are(account: Account) -> None:
    arguments = ["status", "Nowhere", "--region", "us-east-1", "--endpoint-url", account.stack.endpoint_url]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stderr == "Error: There is no stack Nowhere in us-east-1: there is StoreSCP.\n"


def test_a_region_without_a_stack_is_said(account: Account) -> None:
    arguments = ["status", "--region", "eu-west-1", "--endpoint-url", account.stack.endpoint_url]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "No stack of this product is in eu-west-1" in result.stderr


def test_no_region_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Exception, match="No Region is chosen"):
        _ = Connection().region


def test_an_error_is_json_where_json_is_wanted(account: Account) -> None:
    arguments = ["status", "Nowhere", "--json", "--region", "us-east-1", "--endpoint-url", account.stack.endpoint_url]
    result = CliRunner().invoke(main, arguments)
    assert '"exit_status": 2' in result.stdout
