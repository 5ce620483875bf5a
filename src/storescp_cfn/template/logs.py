"""Log groups: retained, and encrypted with the customer's key if there is one."""

from __future__ import annotations

from troposphere import Ref
from troposphere.logs import LogGroup

from storescp_cfn.template import conditions, findings
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, PCI, AcceptedFinding

ENCRYPTION = AcceptedFinding(
    "CloudWatch Logs encrypts every log group with a key of its own; with KmsKeyARN it is the customer's.",
    checkov=["CKV_AWS_158"],
    guard=["CLOUDWATCH_LOG_GROUP_ENCRYPTED", "cloudwatch_log_group_encrypted_check"],
    nag=findings.nag("CloudWatchLogGroupEncrypted", HIPAA, NIST_4, NIST_5, PCI),
    others=["AWS-0017"],
)
RETENTION = AcceptedFinding(
    "LogRetentionDays is 365 unless the hospital chooses another number of days, 30 at least; the rule does not look "
    "into parameters.",
    guard=["CW_LOGGROUP_RETENTION_PERIOD_CHECK"],
)


def log_group(logical_id: str, why: str) -> LogGroup:
    """A log group for one component. Its name is made by CloudFormation, so that two stacks do not meet."""
    return LogGroup(
        logical_id,
        Metadata=findings.metadata(why, ENCRYPTION, RETENTION),
        DeletionPolicy="Retain",
        UpdateReplacePolicy="Retain",
        RetentionInDays=Ref("LogRetentionDays"),
        KmsKeyId=conditions.kms_key(),
    )
