"""Log groups: retained, and encrypted with the customer's key if there is one."""

from __future__ import annotations

from troposphere import Ref
from troposphere.logs import LogGroup

from storescp_cfn.template import conditions


def log_group(logical_id: str) -> LogGroup:
    """A log group for one component. Its name is made by CloudFormation, so that two stacks do not meet."""
    return LogGroup(
        logical_id,
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        RetentionInDays=Ref("LogRetentionDays"),
        KmsKeyId=conditions.kms_key(),
    )
