"""Roles as data: a role is a trusted service and a list of grants, and each grant says why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import awacs.kms
import awacs.sts
from awacs.aws import Action, Allow, PolicyDocument, Principal, Statement, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import Ref, Sub
from troposphere.iam import Policy, Role

from storescp_cfn.template import conditions

POLICY_LANGUAGE = "2012-10-17"


@dataclass(frozen=True)
class Grant:
    """One statement of a role's policy.

    sid: its name. why: the reason a reviewer reads. actions and resources: what it allows. condition: when it applies.
    any_resource_because: the reason where a resource is `*`.
    """

    sid: str
    why: str
    actions: Sequence[Action]
    resources: Sequence[Any]
    condition: PolicyCondition | None = None
    any_resource_because: str = ""

    def statement(self) -> Statement:
        """The awacs statement of this grant."""
        condition = {"Condition": self.condition} if self.condition else {}
        return Statement(
            Sid=self.sid,
            Effect=Allow,
            Action=list(self.actions),
            Resource=list(self.resources),
            **condition,
        )


@dataclass(frozen=True)
class RoleSpec:
    """One role: `service` may assume it, under `trust`, for `purpose`.

    grants: what it may do. key_grants: what it may do besides when the stack has a customer's key.
    """

    logical_id: str
    service: str
    purpose: str
    grants: Sequence[Grant]
    key_grants: Sequence[Grant] = ()
    trust: PolicyCondition | None = None

    def resource(self, **attributes: Any) -> Role:
        """The role with its policies inline. It has no fixed name: two stacks live in one account and Region."""
        condition = {"Condition": self.trust} if self.trust else {}
        trust = Statement(
            Effect=Allow, Principal=Principal("Service", self.service), Action=[awacs.sts.AssumeRole], **condition
        )
        policies: list[Any] = [_policy("Duties", self.grants)]
        if self.key_grants:
            policies.append(conditions.with_key(_policy("CustomerKey", self.key_grants)))
        return Role(
            self.logical_id,
            Description=self.purpose,
            AssumeRolePolicyDocument=PolicyDocument(Version=POLICY_LANGUAGE, Statement=[trust]),
            Policies=policies,
            **attributes,
        )


def _policy(name: str, grants: Sequence[Grant]) -> Policy:
    document = PolicyDocument(Version=POLICY_LANGUAGE, Statement=[grant.statement() for grant in grants])
    return Policy(PolicyName=name, PolicyDocument=document)


def arn(service: str, resource: str) -> Sub:
    """An ARN of this stack's partition, Region and account."""
    return Sub(f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}")


def key_grant(why: str, actions: Sequence[Action], *services: str) -> Grant:
    """Use of the customer's key, through the named services only.

    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
    """
    via = [Sub(f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}") for service in services]
    return Grant(
        "UseCustomerKey",
        why,
        actions,
        [Ref("KmsKeyARN")],
        PolicyCondition(StringEquals({"kms:ViaService": via})),
    )


READ_ENCRYPTED = [awacs.kms.Decrypt]
# S3 asks for Decrypt when a large object is put in parts.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
WRITE_ENCRYPTED = [awacs.kms.GenerateDataKey, awacs.kms.Decrypt]
