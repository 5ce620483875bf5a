"""Condition keys that the embedded AWS does not give to policies by itself, or not as AWS does.

Of Amazon S3: what a request that writes says in its headers. Of all services: `aws:PrincipalArn`, which is the ARN of
the role, not of its session.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/security_iam_service-with-iam.html#security_iam_service-with-iam-id-based-policies-conditionkeys
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Context = dict[str, Any]

# Header of a request that writes: the condition key that carries its value.
KEY_OF_HEADER = {
    "if-none-match": "s3:if-none-match",
    "x-amz-server-side-encryption-customer-algorithm": "s3:x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-aws-kms-key-id": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-storage-class": "s3:x-amz-storage-class",
}


def of_write(query: Mapping[str, Any], headers: Mapping[str, str]) -> Context:
    """The condition keys of an s3:PutObject request.

    `s3:ObjectCreationOperation` is false where the request creates no object: a multipart upload begins, or has a part.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    keys = {key: lower[header] for header, key in KEY_OF_HEADER.items() if lower.get(header)}
    creates = "uploads" not in query and "partNumber" not in query
    return {**keys, "s3:ObjectCreationOperation": "true" if creates else "false"}


def principal_arn(caller_arn: str) -> str:
    """`aws:PrincipalArn` of a caller: for a role's session the role's ARN.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
    """
    return re.sub(r"^(arn:[^:]+):sts::(\d{12}):assumed-role/([^/]+)/.*$", r"\1:iam::\2:role/\3", caller_arn)


def install() -> None:
    """Add them to the ministack of this process; its version is pinned, and a test holds this module against it."""
    _install_keys_of_s3()
    _install_principal_arn()


def _install_principal_arn() -> None:
    from ministack.core import iam_evaluator

    known: Callable[[str, Any], Any] = iam_evaluator._resolve_condition_key

    def of_role(key: str, context: Any) -> Any:
        value = known(key, context)
        return principal_arn(value) if key.lower() == "aws:principalarn" and isinstance(value, str) else value

    iam_evaluator._resolve_condition_key = of_role


def _install_keys_of_s3() -> None:
    from ministack.core import iam_actions

    known: Callable[..., Context] = iam_actions.s3_service_context

    def with_ours(
        iam_action: str,
        query_params: Mapping[str, Any] | None,
        path: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Context:
        context = known(iam_action, query_params, path, headers)
        return {**context, **of_write(query_params or {}, headers or {})} if iam_action == "s3:PutObject" else context

    iam_actions.s3_service_context = with_ours
