"""What can go wrong between a command and an account, each as one sentence that says what to do."""

from __future__ import annotations

import re
from typing import Any


class AccountError(Exception):
    """Something could not be found out or done; the text is one sentence for the person at the terminal."""


class NoSuchStackError(AccountError):
    """The Region holds no stack of that name, or none of this product."""


class AccessDeniedError(AccountError):
    """A permission is missing; `permission` is its IAM name, for example `cloudformation:DescribeStacks`."""

    def __init__(self, sentence: str, permission: str) -> None:
        super().__init__(sentence)
        self.permission = permission


class ThrottledError(AccountError):
    """AWS answers too many requests just now: the same call works a moment later."""


EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
UNKNOWN_KEY_CODES = frozenset(
    {
        "AuthFailure",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
DENIED_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "AuthorizationError",
        "AuthorizationErrorException",
    }
)
THROTTLED_CODES = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
)
SIGN_IN_AGAIN = "sign in again (aws sso login, or new keys), or open AWS CloudShell, where you are signed in"
# boto3 calls a service by the name of its endpoint; IAM's prefix differs for these.
IAM_PREFIXES = {"elbv2": "elasticloadbalancing", "cloudwatch": "cloudwatch", "service-quotas": "servicequotas"}
PERMISSION = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)")
# Operations that IAM knows by another name than the API: the service authorization reference of Amazon S3.
PERMISSIONS_OF_OPERATIONS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:CopyObject": "s3:PutObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
}


def permission_of(service: str, operation: str, message: str = "") -> str:
    """IAM's name of the permission that a call needs; AWS's own message has the last word."""
    if found := PERMISSION.search(message):
        return found[1]
    name = f"{IAM_PREFIXES.get(service, service)}:{operation}"
    return PERMISSIONS_OF_OPERATIONS.get(name, name)


def error_of_client(error: Any, service: str, region: str) -> AccountError:
    """An AccountError for botocore's ClientError, sorted by its exact code."""
    told = error.response.get("Error", {})
    code, message = str(told.get("Code", "")), str(told.get("Message", ""))
    if code in EXPIRED_CODES:
        return AccountError(f"Your AWS session has expired: {SIGN_IN_AGAIN}.")
    if code in UNKNOWN_KEY_CODES:
        return AccountError(f"AWS does not know these credentials ({code}): {SIGN_IN_AGAIN}.")
    if code in DENIED_CODES:
        permission = permission_of(service, error.operation_name, message)
        return AccessDeniedError(
            f"Your AWS user or role may not do this: the permission {permission} is missing. "
            "Ask whoever administers the account for it (storescp-cfn policy prints the whole list).",
            permission,
        )
    if code in THROTTLED_CODES:
        return ThrottledError(f"AWS is answering too many requests just now ({code}): try again in a minute.")
    if code == "OptInRequired":
        return AccountError(f"The Region {region} is not enabled in this account: choose another one with --region.")
    return AccountError(f"AWS refused {error.operation_name} ({code}): {_one_line(message)}")


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "it gave no reason"


def _sentences() -> dict[type[Exception], str]:
    """What botocore raises before a service has answered; `{error}` is its own text."""
    from botocore import exceptions

    no_credentials = (
        "No AWS credentials were found: run `aws configure` or `aws sso login`, name a --profile, "
        "or open AWS CloudShell, where you are signed in."
    )
    expired = f"Your AWS sign-in has expired: {SIGN_IN_AGAIN}."
    unreachable = (
        "AWS could not be reached ({error}): check the network, VPN and proxy of this computer, and that the Region is "
        "written as us-east-1."
    )
    return {
        exceptions.NoCredentialsError: no_credentials,
        exceptions.PartialCredentialsError: "The AWS credentials are incomplete ({error}): run `aws configure` again.",
        exceptions.CredentialRetrievalError: no_credentials,
        exceptions.NoAuthTokenError: no_credentials,
        exceptions.SSOTokenLoadError: expired,
        exceptions.UnauthorizedSSOTokenError: expired,
        exceptions.TokenRetrievalError: expired,
        exceptions.ProfileNotFound: "{error}: `aws configure list-profiles` shows those that exist.",
        exceptions.NoRegionError: "No Region is chosen: add --region, for example --region us-east-1.",
        exceptions.InvalidRegionError: "The Region is not written as AWS writes it: for example us-east-1.",
        exceptions.EndpointConnectionError: unreachable,
        exceptions.ConnectTimeoutError: unreachable,
        exceptions.ReadTimeoutError: unreachable,
        exceptions.ProxyConnectionError: unreachable,
        exceptions.SSLError: (
            "The connection to AWS is not trusted ({error}): if a proxy of the hospital opens TLS, set AWS_CA_BUNDLE "
            "to its certificate."
        ),
        exceptions.ConnectionClosedError: unreachable,
        exceptions.HTTPClientError: unreachable,
    }


def error_of(error: Exception, service: str = "", region: str = "") -> AccountError:
    """An AccountError for any exception of botocore that a call of `service` (boto3's name) raised."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return error_of_client(error, service, region)
    for kind, sentence in _sentences().items():
        if isinstance(error, kind):
            return AccountError(sentence.format(error=_one_line(str(error)).rstrip(".")))
    return AccountError(f"AWS could not be asked ({type(error).__name__}): {_one_line(str(error))}")
