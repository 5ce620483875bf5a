"""Roles as data: a role is a trusted service and a list of grants, and each grant says why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import awacs.kms
import awacs.sts
from awacs.aws import Action, Allow, PolicyDocument, Principal, Statement, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, If, NoValue, Ref, Sub
from troposphere.iam import ManagedPolicy, Role

from storescp_cfn.template import conditions, findings
from storescp_cfn.template.findings import AWS_SOLUTIONS, AcceptedFinding

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

    @property
    def is_below_a_prefix(self) -> bool:
        """Whether a resource ends in a wildcard below something."""
        return any("/*" in str(resource.to_dict()) for resource in self.resources if hasattr(resource, "to_dict"))

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

    grants: what it may do. key_grants and tls_grants: what it may do besides when the stack has a customer's key, and
    when the receivers have a certificate of their own.
    """

    logical_id: str
    service: str
    purpose: str
    grants: Sequence[Grant]
    key_grants: Sequence[Grant] = ()
    tls_grants: Sequence[Grant] = ()
    trust: PolicyCondition | None = None

    @property
    def policy_id(self) -> str:
        """Logical id of the policy with the grants."""
        return self.logical_id.removesuffix("Role") + "Policy"

    @property
    def key_policy_id(self) -> str:
        """Logical id of the policy with the key grants."""
        return self.logical_id.removesuffix("Role") + "KeyPolicy"

    @property
    def tls_policy_id(self) -> str:
        """Logical id of the policy with the TLS grants."""
        return self.logical_id.removesuffix("Role") + "TlsPolicy"

    @property
    def conditional(self) -> list[tuple[str, str, Sequence[Grant]]]:
        """Condition, logical id and grants of each policy that only some stacks have."""
        policies = [
            (conditions.HAS_KMS_KEY, self.key_policy_id, self.key_grants),
            (conditions.HAS_RECEIVER_TLS, self.tls_policy_id, self.tls_grants),
        ]
        return [policy for policy in policies if policy[2]]

    def resources(self) -> list[AWSObject]:
        """The role and its policies. Nothing has a fixed name: two stacks live in one account and Region.

        The policies are resources of their own, because an inline one offends the rule packs that hospitals use; the
        role names them, so that whoever uses the role finds them attached.
        """
        policies: list[Any] = [Ref(self.policy_id)]
        policies += [If(condition, Ref(policy_id), NoValue) for condition, policy_id, _ in self.conditional]
        trust_condition = {"Condition": self.trust} if self.trust else {}
        trust = Statement(
            Effect=Allow,
            Principal=Principal("Service", self.service),
            Action=[awacs.sts.AssumeRole],
            **trust_condition,
        )
        role = Role(
            self.logical_id,
            Metadata=findings.metadata(self.purpose),
            Description=self.purpose,
            AssumeRolePolicyDocument=PolicyDocument(Version=POLICY_LANGUAGE, Statement=[trust]),
            ManagedPolicyArns=policies,
        )
        only_sometimes = [
            self._policy(policy_id, grants, Condition=condition) for condition, policy_id, grants in self.conditional
        ]
        return [role, self._policy(self.policy_id, self.grants), *only_sometimes]

    def _policy(self, logical_id: str, grants: Sequence[Grant], **attributes: Any) -> ManagedPolicy:
        document = PolicyDocument(Version=POLICY_LANGUAGE, Statement=[grant.statement() for grant in grants])
        accepted = [_BELOW_A_PREFIX] if any(grant.is_below_a_prefix for grant in grants) else []
        accepted += [_ANY_RESOURCE] if any(grant.any_resource_because for grant in grants) else []
        return ManagedPolicy(
            logical_id,
            Metadata=findings.metadata(f"What {self.logical_id} may do, statement by statement", *accepted),
            Description=self.purpose,
            PolicyDocument=document,
            **attributes,
        )


_BELOW_A_PREFIX = AcceptedFinding(
    "Objects and tasks get their names while the stack runs: the wildcard stands for what lies below one prefix of one "
    "bucket of this stack, or for the tasks of its own cluster.",
    nag=[f"{AWS_SOLUTIONS}-IAM5"],
)
_ANY_RESOURCE = AcceptedFinding(
    "The action has no resource type, so IAM accepts no other resource than *.",
    guard=["IAM_POLICYDOCUMENT_NO_WILDCARD_RESOURCE"],
    nag=[f"{AWS_SOLUTIONS}-IAM5"],
)


def arn(service: str, resource: str) -> Sub:
    """An ARN of this stack's partition, Region and account."""
    return Sub(f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}")


def global_arn(service: str, resource: str) -> Sub:
    """An ARN of this stack's partition that names neither Region nor account."""
    return Sub(f"arn:${{AWS::Partition}}:{service}:::{resource}")


def key_grant(why: str, actions: Sequence[Action], *services: str, sid: str = "UseCustomerKey") -> Grant:
    """Use of the customer's key, through the named services only.

    https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
    """
    via = [Sub(f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}") for service in services]
    return Grant(
        sid,
        why,
        actions,
        [Ref("KmsKeyARN")],
        PolicyCondition(StringEquals({"kms:ViaService": via})),
    )


READ_ENCRYPTED = [awacs.kms.Decrypt]
# S3 asks for Decrypt when a large object is put in parts.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
WRITE_ENCRYPTED = [awacs.kms.GenerateDataKey, awacs.kms.Decrypt]
