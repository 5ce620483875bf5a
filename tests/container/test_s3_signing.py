"""Covers signing.py and endpoint.py: botocore, which knows the rules, signs the same."""

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from storescp.s3.endpoint import find_endpoint
from storescp.s3.signing import Keys, Scope, encode_path, encode_query, signed_headers

NOW = datetime(2026, 11, 24, 10, 52, 1, tzinfo=UTC)


@pytest.mark.parametrize("token", ["", "a/session+token=="])
@pytest.mark.parametrize(
    ("method", "key", "parameters", "headers"),
    [
        ("PUT", "incoming/20261123T200315123Z-9f3a61c2-0001/1.2/x-0af/1.2.dcm", (), {"if-none-match": "*"}),
        ("PUT", "a b/ä~(1)+=.dcm", (("partNumber", "3"), ("uploadId", "x/+ =~")), {}),
        ("POST", "k", (("uploads", ""),), {}),
        ("GET", "", (("list-type", "2"), ("prefix", "a/b c"), ("encoding-type", "url")), {}),
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(
    method: str, key: str, parameters: tuple[tuple[str, str], ...], headers: dict[str, str], token: str
) -> None:
    path, query = encode_path(f"/{key}"), encode_query(parameters)
    url = f"https://landing.s3.eu-west-1.amazonaws.com{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=dict(headers))
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    with patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        S3SigV4Auth(Credentials("AN-ID", "a-secret", token or None), "s3", "eu-west-1").add_auth(request)
    complete = {"host": "landing.s3.eu-west-1.amazonaws.com", **headers}
    ours = signed_headers(
        method, path, query, complete, Keys("AN-ID", "a-secret", token), Scope("eu-west-1", "s3"), NOW
    )
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours.get("x-amz-security-token", "") == token


def test_keys_do_not_show_themselves() -> None:
    assert "a-secret" not in repr(Keys("AN-ID", "a-secret", "a-token"))


@pytest.mark.parametrize(
    ("bucket", "url", "host", "port", "host_header", "path", "is_tls"),
    [
        ("landing", "", "landing.s3.eu-west-2.amazonaws.com", 443, "landing.s3.eu-west-2.amazonaws.com", "/", True),
        ("a.b", "", "s3.eu-west-2.amazonaws.com", 443, "s3.eu-west-2.amazonaws.com", "/a.b/", True),
        ("landing", "http://127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1:9000", "/landing/", False),
        ("landing", "https://user:word@[::1]/s3/", "::1", 443, "[::1]", "/s3/landing/", True),
    ],
)
def test_a_bucket_is_found_where_aws_or_the_setting_says(
    bucket: str, url: str, host: str, port: int, host_header: str, path: str, is_tls: bool
) -> None:
    endpoint = find_endpoint(bucket, "eu-west-2", url)
    assert (endpoint.host, endpoint.port, endpoint.host_header) == (host, port, host_header)
    assert (endpoint.path, endpoint.is_tls) == (path, is_tls)
