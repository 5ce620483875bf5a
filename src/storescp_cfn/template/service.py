"""The receiver as an ECS service on Fargate, and the two roles of its task."""

from __future__ import annotations

from typing import Any

import awacs.aws_marketplace
import awacs.ecr
import awacs.ecs
import awacs.logs
import awacs.s3
from awacs.aws import ArnLike, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref, Select, Split, Sub
from troposphere.ecs import (
    AwsvpcConfiguration,
    Cluster,
    ClusterSetting,
    ContainerDefinition,
    DeploymentCircuitBreaker,
    DeploymentConfiguration,
    Environment,
    HealthCheck,
    KernelCapabilities,
    LinuxParameters,
    LogConfiguration,
    NetworkConfiguration,
    PortMapping,
    RuntimePlatform,
    Service,
    TaskDefinition,
    Ulimit,
)
from troposphere.ecs import LoadBalancer as ServiceLoadBalancer

from storescp_cfn.template import findings, iam, logs, network, scaling, storage, timeouts
from storescp_cfn.template.findings import AWS_SOLUTIONS, AcceptedFinding
from storescp_cfn.template.iam import Grant, RoleSpec
from storescp_cfn.template.release import Release

CLUSTER = "Cluster"
SERVICE = "Service"
TASK_DEFINITION = "TaskDefinition"
RECEIVER_LOG_GROUP = "ReceiverLogGroup"
RECEIVER_ROLE = "ReceiverRole"
EXECUTION_ROLE = "ExecutionRole"
CONTAINER = "storescp"
CONTAINER_USER = "65532:65532"  # container/Dockerfile
OPEN_FILES = 65535

# The receiver's variables (container/storescp/settings.py) that a stack decides; the others keep their defaults.
ENVIRONMENT: dict[str, Any] = {
    "STACK_NAME": Ref("AWS::StackName"),
    "DICOM_BUCKET": Ref(storage.LANDING_BUCKET),
    "SCP_PORT": str(network.CONTAINER_PORT),
    "HEALTH_PORT": str(network.HEALTH_PORT),
    "AE_TITLE": Ref("SCPAETitle"),
    "REQUIRE_CALLED_AE_TITLE": Ref("RequireCalledAETitle"),
    "REQUIRE_CALLING_AE_TITLE": Ref("RequireCallingAETitle"),
    "SUPPORTED_SOP_CLASS_UIDS": Ref("SupportedSOPClassUIDs"),
    "MAXIMUM_ASSOCIATIONS": Ref("MaximumAssociations"),
    "DIMSE_TIMEOUT": Ref("DIMSETimeout"),
    "NETWORK_TIMEOUT": Ref("NetworkTimeout"),
    "STOP_SECONDS": str(timeouts.RECEIVER_STOP_SECONDS),
}

# As in container/Dockerfile, whose own HEALTHCHECK ECS does not look at. It asks for life, not for readiness: a
# receiver that drains is alive.
HEALTH_COMMAND = ["CMD", "python3", "-S", "-m", "storescp.healthcheck"]


_NO_SECRETS = AcceptedFinding(
    "The environment holds names and limits, no secrets: the receiver has none.", nag=[f"{AWS_SOLUTIONS}-ECS2"]
)


def _image_repository_arn() -> Sub:
    """The ECR repository of ContainerImage: account, Region and name are read out of the image's address."""
    address = Select(0, Split("@", Select(0, Split(":", Ref("ContainerImage")))))
    return Sub(
        "arn:${AWS::Partition}:ecr:${Region}:${Account}:repository/${Name}",
        Account=Select(0, Split(".", address)),
        Region=Select(3, Split(".", address)),
        Name=Select(1, Split(".amazonaws.com/", address)),
    )


def task_trust() -> PolicyCondition:
    """Only tasks of this account and Region assume the roles, not another customer's by ECS's hand.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    return PolicyCondition(
        [
            StringEquals({"aws:SourceAccount": Ref("AWS::AccountId")}),
            ArnLike({"aws:SourceArn": iam.arn("ecs", "*")}),
        ]
    )


def _metering_grants(release: Release) -> list[Grant]:
    """https://docs.aws.amazon.com/marketplace/latest/userguide/iam-permissions-for-containers.html"""
    if not release.product_code:
        return []
    return [
        Grant(
            "RegisterUsage",
            "Register the usage of this paid product when a receiver starts.",
            [awacs.aws_marketplace.RegisterUsage],
            ["*"],
            any_resource_because="the action has no resource type",
        )
    ]


def receiver_role(release: Release | None = None) -> RoleSpec:
    """What the receiver itself may do: put images and batch manifests, and little else."""
    return RoleSpec(
        RECEIVER_ROLE,
        "ecs-tasks.amazonaws.com",
        "The receiver: stores images and batch manifests in the landing bucket",
        trust=task_trust(),
        grants=[
            Grant(
                "StoreImages",
                "Store each received image before it is acknowledged.",
                [awacs.s3.PutObject],
                storage.objects(storage.LANDING_BUCKET, storage.INCOMING),
            ),
            Grant(
                "CloseBatches",
                "Write the manifest of each batch when it is closed.",
                [awacs.s3.PutObject],
                storage.objects(storage.LANDING_BUCKET, storage.BATCHES),
            ),
            Grant(
                "AbortUploads",
                "Give up the upload of a large image whose sender has gone.",
                [awacs.s3.AbortMultipartUpload],
                storage.objects(storage.LANDING_BUCKET, storage.INCOMING),
            ),
            Grant(
                "ProtectBusyTasks",
                "Keep the receiver's own task from being scaled in while it has open associations.",
                [awacs.ecs.UpdateTaskProtection],
                [Sub(f"arn:${{AWS::Partition}}:ecs:${{AWS::Region}}:${{AWS::AccountId}}:task/${{{CLUSTER}}}/*")],
            ),
            *_metering_grants(release or Release()),
        ],
        key_grants=[iam.key_grant("Encrypt images and manifests with the customer's key.", iam.WRITE_ENCRYPTED, "s3")],
    )


def execution_role() -> RoleSpec:
    """What ECS may do to start the receiver: pull its image and write its log."""
    return RoleSpec(
        EXECUTION_ROLE,
        "ecs-tasks.amazonaws.com",
        "Amazon ECS: pulls the image of the receiver and writes its log",
        trust=task_trust(),
        grants=[
            Grant(
                "LogInToRegistry",
                "Log in to Amazon ECR.",
                [awacs.ecr.GetAuthorizationToken],
                ["*"],
                any_resource_because="the action has no resource type",
            ),
            Grant(
                "PullImage",
                "Pull the image that ContainerImage names, from its repository only.",
                [
                    awacs.ecr.BatchGetImage,
                    awacs.ecr.GetDownloadUrlForLayer,
                    # AWS's own policy for this role has it; whether Fargate's agent asks for it is not documented.
                    awacs.ecr.BatchCheckLayerAvailability,
                ],
                [_image_repository_arn()],
            ),
            Grant(
                "WriteLog",
                "Write the receiver's log to its own log group.",
                [awacs.logs.CreateLogStream, awacs.logs.PutLogEvents],
                [GetAtt(RECEIVER_LOG_GROUP, "Arn")],
            ),
        ],
    )


def roles(release: Release | None = None) -> list[RoleSpec]:
    """The roles of this concern."""
    return [receiver_role(release), execution_role()]


def _container(release: Release) -> ContainerDefinition:
    metering = {"PRODUCT_CODE": release.product_code} if release.product_code else {}
    return ContainerDefinition(
        Name=CONTAINER,
        Image=Ref("ContainerImage"),
        Essential=True,
        User=CONTAINER_USER,
        Memory=Ref("TaskMemoryLimit"),
        Privileged=False,
        ReadonlyRootFilesystem=True,
        LinuxParameters=LinuxParameters(Capabilities=KernelCapabilities(Drop=["ALL"])),
        Ulimits=[Ulimit(Name="nofile", SoftLimit=OPEN_FILES, HardLimit=OPEN_FILES)],
        StopTimeout=timeouts.CONTAINER_STOP_SECONDS,
        HealthCheck=HealthCheck(Command=HEALTH_COMMAND, Interval=30, Timeout=5, Retries=3, StartPeriod=60),
        PortMappings=[
            PortMapping(ContainerPort=port, Protocol="tcp") for port in (network.CONTAINER_PORT, network.HEALTH_PORT)
        ],
        Environment=[Environment(Name=name, Value=value) for name, value in {**ENVIRONMENT, **metering}.items()],
        LogConfiguration=LogConfiguration(
            LogDriver="awslogs",
            Options={
                "awslogs-group": Ref(RECEIVER_LOG_GROUP),
                "awslogs-region": Ref("AWS::Region"),
                "awslogs-stream-prefix": CONTAINER,
                # A log that cannot be written must not hold up images.
                "mode": "non-blocking",
                "max-buffer-size": "25m",
            },
        ),
    )


def _task_definition(release: Release) -> TaskDefinition:
    return TaskDefinition(
        TASK_DEFINITION,
        Metadata=findings.metadata(
            "The receiver: one container, unprivileged, with a read-only file system", _NO_SECRETS
        ),
        Cpu=Ref("TaskCPU"),
        Memory=Ref("TaskMemoryLimit"),
        NetworkMode="awsvpc",
        RequiresCompatibilities=["FARGATE"],
        RuntimePlatform=RuntimePlatform(CpuArchitecture=Ref("CpuArchitecture"), OperatingSystemFamily="LINUX"),
        ExecutionRoleArn=GetAtt(EXECUTION_ROLE, "Arn"),
        TaskRoleArn=GetAtt(RECEIVER_ROLE, "Arn"),
        ContainerDefinitions=[_container(release)],
    )


def _service() -> Service:
    """DesiredCount is left to auto scaling, whose minimum is TaskDesiredCount.

    With a DesiredCount here, each update of the stack in a busy hour would set the number of receivers back.
    """
    return Service(
        SERVICE,
        Metadata=findings.metadata(
            "Keeps receivers running in all zones, and takes back a deployment that cannot start"
        ),
        DependsOn=[network.LISTENER],
        Cluster=Ref(CLUSTER),
        TaskDefinition=Ref(TASK_DEFINITION),
        LaunchType="FARGATE",
        PlatformVersion="LATEST",
        AvailabilityZoneRebalancing="ENABLED",
        EnableECSManagedTags=True,
        EnableExecuteCommand=False,
        PropagateTags="SERVICE",
        DeploymentConfiguration=DeploymentConfiguration(
            MinimumHealthyPercent=100,
            MaximumPercent=200,
            DeploymentCircuitBreaker=DeploymentCircuitBreaker(Enable=True, Rollback=True),
        ),
        HealthCheckGracePeriodSeconds=timeouts.HEALTH_CHECK_GRACE_SECONDS,
        LoadBalancers=[
            ServiceLoadBalancer(
                ContainerName=CONTAINER,
                ContainerPort=network.CONTAINER_PORT,
                TargetGroupArn=Ref(network.TARGET_GROUP),
            )
        ],
        NetworkConfiguration=NetworkConfiguration(
            AwsvpcConfiguration=AwsvpcConfiguration(
                AssignPublicIp="DISABLED",
                SecurityGroups=[Ref("SecurityGroupID")],
                Subnets=Ref("PrivateSubnetIDs"),
            )
        ),
    )


def resources(release: Release) -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        logs.log_group(RECEIVER_LOG_GROUP, "Log and metrics of the receivers; it names devices, never patients"),
        *receiver_role(release).resources(),
        *execution_role().resources(),  # Container Insights counts running and desired tasks, which an alarm compares.
        Cluster(
            CLUSTER,
            Metadata=findings.metadata("Counts the receivers of this stack and no others"),
            ClusterSettings=[ClusterSetting(Name="containerInsights", Value="enabled")],
        ),
        _task_definition(release),
        _service(),
        *scaling.resources(CLUSTER, SERVICE),
    ]
