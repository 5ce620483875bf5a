"""The preflight check: a custom resource that fails in seconds, with a sentence, before anything that is retained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import awacs.acm
import awacs.cloudformation
import awacs.ec2
import awacs.kms
import awacs.logs
import awacs.medical_imaging
import awacs.secretsmanager
from troposphere import AWSObject, GetAtt, If, NoValue, Ref
from troposphere.awslambda import Code, Function, LoggingConfig
from troposphere.cloudformation import CustomResource
from troposphere.logs import LogGroup

from storescp_cfn.template import findings, iam, importing, logs
from storescp_cfn.template.composer import PREFLIGHT_PACKAGE, source_of
from storescp_cfn.template.iam import Grant, RoleSpec
from storescp_cfn.template.release import receiver_image, receiver_version
from storescp_cfn.template.service import RECEIVER_LOG_GROUP, SECRETS

PREFLIGHT = "Preflight"
FUNCTION = "PreflightFunction"
ROLE = "PreflightRole"
LOG_GROUP = "PreflightLogGroup"
TIMEOUT_SECONDS = 120
# CloudFormation waits an hour for an answer that does not come, unless it is told otherwise.
ANSWER_SECONDS = 180
_ENCRYPTION = replace(
    logs.ENCRYPTION,
    reason="CloudWatch Logs encrypts every log group with a key of its own. The customer's key is what the check looks "
    "at, so its log must not need it; it names resources, never patients.",
)
# What the function is told: parameters as they are.
PARAMETERS = (
    "VpcID",
    "VpcCIDR",
    "PublicSubnetIDs",
    "PrivateSubnetIDs",
    "SecurityGroupID",
    "PrivateRouteTableIDs",
    "OnlyThroughVPCEndpoint",
    "LoadBalancerScheme",
    "TLSCertificateARN",
    "KmsKeyARN",
    "DatastoreID",
    "AutoscaleMaxCapacity",
    "CpuArchitecture",
    "CommitmentDevices",
)


def _look_grants() -> list[Grant]:
    """What the check may look at in every mode: resources that the parameters name."""
    return [
        Grant(
            "LookAtNetwork",
            "Look at the VPC, its subnets, ways out and endpoints, and the receivers' security group.",
            [
                awacs.ec2.DescribeVpcs,
                awacs.ec2.DescribeSubnets,
                awacs.ec2.DescribeRouteTables,
                awacs.ec2.DescribeVpcEndpoints,
                awacs.ec2.DescribeSecurityGroups,
            ],
            ["*"],
            any_resource_because="descriptions have no resource type",
        ),
        Grant(
            "LookAtCertificate",
            "Look whether the certificate is issued.",
            [awacs.acm.DescribeCertificate],
            [iam.arn("acm", "certificate/*")],
        ),
        Grant(
            "LookAtDatastore",
            "Look whether the data store is active.",
            [awacs.medical_imaging.GetDatastore],
            [iam.arn("medical-imaging", "datastore/*")],
        ),
        Grant(
            "LookAtStack",
            "See a rollback, which must never be stopped.",
            [awacs.cloudformation.DescribeStacks],
            [Ref("AWS::StackId")],
        ),
    ]


def role() -> RoleSpec:
    """What the check may look at. It may change nothing."""
    return RoleSpec(
        ROLE,
        "lambda.amazonaws.com",
        "The preflight check: looks at what the parameters name, and changes nothing",
        grants=[
            *_look_grants(),
            Grant(
                "WriteLog",
                "Write the check's log to its own log group.",
                [awacs.logs.CreateLogStream, awacs.logs.PutLogEvents],
                [GetAtt(LOG_GROUP, "Arn")],
            ),
        ],
        key_grants=[
            Grant("LookAtKey", "Look whether the key can encrypt.", [awacs.kms.DescribeKey], [Ref("KmsKeyARN")])
        ],
        tls_grants=[
            Grant(
                "LookAtSecrets",
                "Look whether the receivers' secrets are there, without reading them.",
                [awacs.secretsmanager.DescribeSecret],
                [Ref(SECRETS[0][1]), *_secrets()[1:]],
            )
        ],
    )


def _secrets() -> list[If]:
    return [If(condition, Ref(parameter), NoValue) for _, parameter, condition in SECRETS]


def _function() -> Function:
    return Function(
        FUNCTION,
        Metadata=findings.metadata("Looks whether the stack can work", *importing.SMALL_FUNCTION),
        Description="Looks whether the stack can work, before it is created or updated",
        Runtime=importing.RUNTIME,
        Architectures=["arm64"],
        Handler="index.handler",
        Code=Code(ZipFile=source_of(PREFLIGHT_PACKAGE)),
        Role=GetAtt(ROLE, "Arn"),
        MemorySize=256,
        Timeout=TIMEOUT_SECONDS,
        LoggingConfig=LoggingConfig(LogGroup=Ref(LOG_GROUP)),
    )


def _check() -> CustomResource:
    """It is made anew never, and asked again whenever one of its properties changes: with each version, too."""
    properties: dict[str, Any] = {name: Ref(name) for name in PARAMETERS}
    properties |= {
        "Region": Ref("AWS::Region"),
        "ContainerImage": receiver_image(),
        "Version": receiver_version(),
        "Secrets": _secrets(),
        "ServiceTimeout": ANSWER_SECONDS,
    }
    return _Preflight(
        PREFLIGHT,
        Metadata=findings.metadata("Fails in seconds, with a sentence, where the stack could not work"),
        ServiceToken=GetAtt(FUNCTION, "Arn"),
        **properties,
    )


class _Preflight(CustomResource):  # type: ignore[misc]
    resource_type = "Custom::Preflight"
    props: dict[str, Any] = {
        "ServiceToken": (str, True),
        "ServiceTimeout": (int, False),
        "Secrets": (list, False),
        **dict.fromkeys((*PARAMETERS, "Region", "ContainerImage", "Version"), (object, True)),
    }


def _log_group() -> LogGroup:
    """Not retained: a failed launch leaves nothing behind, and the reason stands in the stack's events.

    Function and role refer to it, so it is deleted after them; and they may not create it, so no late line of the
    last invocation brings it back. Without the customer's key: with a wrong one it would fail before the check
    could say what is wrong with it.
    """
    return LogGroup(
        LOG_GROUP,
        Metadata=findings.metadata("Log of the preflight check; it names resources", _ENCRYPTION, logs.RETENTION),
        DeletionPolicy="Delete",
        UpdateReplacePolicy="Delete",
        RetentionInDays=Ref("LogRetentionDays"),
    )


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [_log_group(), *role().resources(), _function(), _check()]


def before(resources_of_stack: Iterable[AWSObject]) -> list[AWSObject]:
    """Make the resources that outlive the stack wait for the check; return all of them, in their order.

    All but it wait for the receivers' log group, too: it is the first that cannot be made where the policy of the
    customer's key has no word for CloudWatch Logs, and the check may not read policies.
    """
    ordered = list(resources_of_stack)
    for resource in ordered:
        if resource.resource.get("DeletionPolicy") == "Retain":
            first = [PREFLIGHT] if resource.title == RECEIVER_LOG_GROUP else [PREFLIGHT, RECEIVER_LOG_GROUP]
            resource.DependsOn = [*first, *resource.resource.get("DependsOn", [])]
    return ordered
