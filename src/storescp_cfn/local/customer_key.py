"""A customer's key on the embedded AWS: whoever uses what it encrypts has to be allowed to use the key as well.

ministack encrypts nothing with a bucket's key, and asks nobody for it. Here each request to read or write an object of
a bucket with a key of KMS, and each import into a data store with one, is held to the policies of key and caller, with
`kms:ViaService`; a log group and a data store with a key are made only if the key's policy lets their service use
it. https://docs.aws.amazon.com/kms/latest/developerguide/services-s3.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

KEY_ELEMENT = re.compile(r"<KMSMasterKeyID>(arn:[^<]+)</KMSMasterKeyID>")
ENCRYPTION_WITH_KEY = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>"
    "<KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)
ACTIONS_OF_S3 = {"s3:PutObject": ("kms:GenerateDataKey",), "s3:GetObject": ("kms:Decrypt",)}
# https://docs.aws.amazon.com/healthimaging/latest/devguide/data-encryption.html
ACTIONS_OF_IMPORT = ("kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo")
IMPORTS = ("medical-imaging:StartDICOMImportJob", "medical-imaging:StoreDICOM")
ACTIONS_OF_DATASTORE = ("kms:GenerateDataKey", "kms:Decrypt")
ACTIONS_OF_LOGS = ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey")

# The key of each data store that has one, by id.
KEY_OF_DATASTORE: dict[str, str] = {}

Enforce = Callable[..., Any]


class KeyRefusedError(ValueError):
    """A resource that cannot be made, because a service may not use its key."""


def install() -> None:
    """Hold requests to Amazon S3 to the bucket's key; ministack's version is pinned."""
    from ministack.core import iam_evaluator

    known: Enforce = iam_evaluator.enforce

    def with_key(access_key: str, action: str, service: str, region: str, *args: Any, **named: Any) -> Any:
        denied = known(access_key, action, service, region, *args, **named)
        if denied or action not in ACTIONS_OF_S3:
            return denied
        key = key_of_bucket(str(named.get("resource_arn", "")))
        context = {"kms:ViaService": f"s3.{region}.amazonaws.com"}
        for asked in ACTIONS_OF_S3[action] if key else ():
            denied = denied or known(access_key, asked, "kms", region, resource_arn=key, service_context=context)
        return denied

    iam_evaluator.enforce = with_key
    _keep_encryption_of_stacks()


def _keep_encryption_of_stacks() -> None:
    """Give a bucket that CloudFormation makes the key that its template names: ministack leaves that property out."""
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    known = handlers["create"]

    def with_encryption(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        name, attributes = known(logical_id, props, stack_name)
        rules = props.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        for default in (rule.get("ServerSideEncryptionByDefault", {}) for rule in rules):
            if default.get("KMSMasterKeyID"):
                s3._bucket_encryption[name] = ENCRYPTION_WITH_KEY.format(key=default["KMSMasterKeyID"])
        return name, attributes

    handlers["create"] = with_encryption


def key_of_bucket(object_arn: str) -> str:
    """The ARN of the KMS key that encrypts an object's bucket by default; empty if it is AWS's own."""
    from ministack.services import s3

    configuration = s3._bucket_encryption.get(object_arn.removeprefix("arn:aws:s3:::").partition("/")[0])
    found = KEY_ELEMENT.search(configuration or "")
    return found[1] if found else ""


def may_import(context: Any, policies: Any, limits: Iterable[Any]) -> bool:
    """Whether a caller who may import into a data store may use its key, too.

    context: ministack's context of the import request. policies, limits: the caller's.
    """
    from dataclasses import replace

    from ministack.core.iam_evaluator import combine_resource_policy, evaluate
    from ministack.services import kms

    key = KEY_OF_DATASTORE.get(context.resource_arn.partition("datastore/")[2].partition("/")[0])
    if key is None or context.action not in IMPORTS:
        return True
    policy, owner = kms.key_policy_for_arn(key) or ("", None)
    via = {"kms:viaservice": f"medical-imaging.{context.region}.amazonaws.com"}
    for action in ACTIONS_OF_IMPORT:
        asked = replace(context, action=action, resource_arn=key, service_context=via)
        identity = evaluate(asked, policies, *limits)
        if combine_resource_policy(identity, asked, policy, owner, required=True).decision != "Allow":
            return False
    return True


def require_service(key: str, service: str, actions: Iterable[str], context: Mapping[str, str]) -> None:
    """Let a service use a key, or not.

    Raises KeyRefusedError: the key's policy does not allow it.
    """
    from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy
    from ministack.core.responses import get_account_id, get_region
    from ministack.services import kms

    policy, _ = kms.key_policy_for_arn(key) or ("", None)
    for action in actions:
        asked = EvalContext(
            principal_arn="",
            principal_type="Service",
            principal_account=get_account_id(),
            action=action,
            resource_arn=key,
            region=get_region(),
            service_context={name.lower(): value for name, value in context.items()},
        )
        if evaluate_resource_policy(policy, asked, service).decision != "Allow":
            raise KeyRefusedError(f"The policy of the key {key} does not let {service} use {action}")
