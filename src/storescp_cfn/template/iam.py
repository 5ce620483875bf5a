"""Roles as data: a role is a trusted service and a list of grants, and each grant says why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import awacs.sts
from awacs.aws import Action, Allow, PolicyDocument, Principal, Statement
from awacs.aws import Condition as PolicyCondition
from troposphere import Sub
from troposphere.iam import Policy, Role


@dataclass(frozen=True)
class Grant:
    """One statement of a role's policy.

    sid: its name. why: the reason a reviewer reads. actions and resources: what it allows. condition: when it applies.
    """

    sid: str
    why: str
    actions: Sequence[Action]
    resources: Sequence[Any]
    condition: PolicyCondition | None = None

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
    """One role: `service` may assume it, under `trust`, for `purpose`."""

    logical_id: str
    service: str
    purpose: str
    grants: Sequence[Grant]
    trust: PolicyCondition | None = None

    def resource(self) -> Role:
        """The role with its policy inline. It has no fixed name: two stacks live in one account and Region."""
        condition = {"Condition": self.trust} if self.trust else {}
        trust = Statement(
            Effect=Allow,
            Principal=Principal("Service", self.service),
            Action=[awacs.sts.AssumeRole],
            **condition,
        )
        policy = PolicyDocument(Version="2012-10-17", Statement=[grant.statement() for grant in self.grants])
        return Role(
            self.logical_id,
            Description=self.purpose,
            AssumeRolePolicyDocument=PolicyDocument(Version="2012-10-17", Statement=[trust]),
            Policies=[Policy(PolicyName=self.logical_id, PolicyDocument=policy)],
        )


def arn(service: str, resource: str) -> Sub:
    """An ARN of this stack's partition, Region and account."""
    return Sub(f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}")
