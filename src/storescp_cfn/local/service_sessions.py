"""Sessions that an AWS service opens for a role: after asking its trust policy, short-lived keys are issued.

Runs inside the embedded AWS's own process; ministack's STS answers callers, not services.
"""

from __future__ import annotations

import datetime
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

LIFETIME_SECONDS = 12 * 3600


class TrustDenied(Exception):
    """The role's trust policy does not let this service assume it."""


@dataclass(frozen=True)
class SessionKeys:
    """Temporary credentials, named as the ECS credentials endpoint names them."""

    AccessKeyId: str
    SecretAccessKey: str
    Token: str
    Expiration: str
    RoleArn: str


def statements_for(service: str, document: str | dict[str, Any]) -> dict[str, Any]:
    """The trust policy with only those statements whose `Principal.Service` names `service`."""
    policy: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", [])

    def names_service(statement: dict[str, Any]) -> bool:
        services = statement.get("Principal", {}).get("Service", [])
        return service in ([services] if isinstance(services, str) else services)

    return {**policy, "Statement": [s for s in statements if names_service(s)]}


def open_session(role_arn: str, service: str, source_arn: str) -> SessionKeys:
    """Issue keys of `role_arn` to `service` (for example `ecs-tasks.amazonaws.com`) acting for `source_arn`.

    Raises TrustDenied when the role does not exist or its trust policy, conditions included, says no.
    """
    from ministack.services import sts

    account, role_name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    if not _is_trusted(role_arn, service, source_arn):
        raise TrustDenied(f"{service}, for {source_arn}, may not assume {role_arn}: its trust policy does not allow it")
    keys = _new_keys(role_arn)
    session_name = service.partition(".")[0]
    sts.register_session(
        keys.AccessKeyId,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role_name}/{session_name}",
            "UserId": f"{role_name}:{session_name}",
            "SecretAccessKey": keys.SecretAccessKey,
            "SessionToken": keys.Token,
            "Expiration": time.time() + LIFETIME_SECONDS,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return keys


def _is_trusted(role_arn: str, service: str, source_arn: str) -> bool:
    """Whether the role exists and its trust policy lets the service assume it for that source."""
    from ministack.core.iam_evaluator import EvalContext, evaluate_trust_policy
    from ministack.services import iam

    account, role_name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    role = iam._roles.get_scoped(account, None, role_name)
    context = EvalContext(
        # ministack lets a service principal match the account's root, with conditions evaluated as usual.
        principal_arn=f"arn:aws:iam::{account}:root",
        principal_type="Root",
        principal_account=account,
        action="sts:AssumeRole",
        resource_arn=role_arn,
        region=source_arn.split(":")[3],
        service_context={"aws:sourcearn": source_arn, "aws:sourceaccount": account},
    )
    document = statements_for(service, role.get("AssumeRolePolicyDocument", "{}") if role else "{}")
    return bool(evaluate_trust_policy(document, context.principal_arn, context))


def _new_keys(role_arn: str) -> SessionKeys:
    expires = datetime.datetime.fromtimestamp(time.time() + LIFETIME_SECONDS, datetime.UTC)
    return SessionKeys(
        AccessKeyId=f"ASIA{secrets.token_hex(8).upper()}",
        SecretAccessKey=secrets.token_hex(20),
        Token=secrets.token_hex(32),
        Expiration=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        RoleArn=role_arn,
    )
