"""The receiver as an ECS service on Fargate, and the two roles of its task."""

from __future__ import annotations

import awacs.ecr
import awacs.logs
import awacs.s3
from awacs.aws import ArnLike, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref, Select, Split, Sub
from troposphere.ecs import (
    AwsvpcConfiguration,
    Cluster,
    ContainerDefinition,
    DeploymentCircuitBreaker,
    DeploymentConfiguration,
    Environment,
    LogConfiguration,
    NetworkConfiguration,
    PortMapping,
    Service,
    TaskDefinition,
)
from troposphere.ecs import LoadBalancer as ServiceLoadBalancer
from troposphere.logs import LogGroup

from storescp_cfn.template import iam, network, storage, times
from storescp_cfn.template.iam import Grant, RoleSpec

CLUSTER = "Cluster"
SERVICE = "Service"
TASK_DEFINITION = "TaskDefinition"
RECEIVER_LOG_GROUP = "ReceiverLogGroup"
RECEIVER_ROLE = "ReceiverRole"
EXECUTION_ROLE = "ExecutionRole"
CONTAINER = "storescp"

# docs/adr/0001: metrics carry the stack's name, `STACK_NAME`.
ENVIRONMENT = {
    "STACK_NAME": Ref("AWS::StackName"),
    "DICOM_BUCKET": Ref(storage.LANDING_BUCKET),
    "AE_TITLE": Ref("SCPAETitle"),
    "SCP_PORT": str(network.CONTAINER_PORT),
    "HEALTH_PORT": str(network.HEALTH_PORT),
    "STOP_SECONDS": str(times.RECEIVER_STOP_SECONDS),
}


def _objects_below(*prefixes: str) -> list[Sub]:
    return [Sub(f"${{{storage.LANDING_BUCKET}.Arn}}/{prefix}*") for prefix in prefixes]


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


def receiver_role() -> RoleSpec:
    """What the receiver itself may do: put images and batch manifests, nothing else."""
    return RoleSpec(
        RECEIVER_ROLE,
        "ecs-tasks.amazonaws.com",
        "The receiver: stores images and batch manifests in the landing bucket",
        trust=task_trust(),
        grants=[
            Grant(
                "StoreImages",
                "Store each received image, and the manifest of each closed batch.",
                [awacs.s3.PutObject],
                _objects_below(storage.INCOMING, storage.BATCHES),
            ),
            Grant(
                "AbortUploads",
                "Give up the upload of a large image whose sender has gone.",
                [awacs.s3.AbortMultipartUpload],
                _objects_below(storage.INCOMING),
            ),
        ],
    )


def execution_role() -> RoleSpec:
    """What ECS may do to start the receiver: pull its image and write its log."""
    return RoleSpec(
        EXECUTION_ROLE,
        "ecs-tasks.amazonaws.com",
        "Amazon ECS: pulls the receiver's image and writes its log",
        trust=task_trust(),
        grants=[
            Grant(
                "LogInToRegistry",
                "Log in to Amazon ECR. The action has no resource type, so the resource is *.",
                [awacs.ecr.GetAuthorizationToken],
                ["*"],
            ),
            Grant(
                "PullImage",
                "Pull the image that ContainerImage names, from its repository only.",
                [awacs.ecr.BatchGetImage, awacs.ecr.GetDownloadUrlForLayer],
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


def _container() -> ContainerDefinition:
    return ContainerDefinition(
        Name=CONTAINER,
        Image=Ref("ContainerImage"),
        Essential=True,
        ReadonlyRootFilesystem=True,
        StopTimeout=times.CONTAINER_STOP_SECONDS,
        PortMappings=[
            PortMapping(ContainerPort=network.CONTAINER_PORT, Protocol="tcp"),
            PortMapping(ContainerPort=network.HEALTH_PORT, Protocol="tcp"),
        ],
        Environment=[Environment(Name=name, Value=value) for name, value in ENVIRONMENT.items()],
        LogConfiguration=LogConfiguration(
            LogDriver="awslogs",
            Options={
                "awslogs-group": Ref(RECEIVER_LOG_GROUP),
                "awslogs-region": Ref("AWS::Region"),
                "awslogs-stream-prefix": CONTAINER,
            },
        ),
    )


def _service() -> Service:
    return Service(
        SERVICE,
        DependsOn=[network.LISTENER],
        Cluster=Ref(CLUSTER),
        TaskDefinition=Ref(TASK_DEFINITION),
        LaunchType="FARGATE",
        DesiredCount=2,
        DeploymentConfiguration=DeploymentConfiguration(
            MinimumHealthyPercent=100,
            MaximumPercent=200,
            DeploymentCircuitBreaker=DeploymentCircuitBreaker(Enable=True, Rollback=True),
        ),
        HealthCheckGracePeriodSeconds=times.HEALTH_CHECK_GRACE_SECONDS,
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


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        LogGroup(RECEIVER_LOG_GROUP, DeletionPolicy="Retain", UpdateReplacePolicy="Retain", RetentionInDays=365),
        receiver_role().resource(),
        execution_role().resource(),
        Cluster(CLUSTER),
        TaskDefinition(
            TASK_DEFINITION,
            Cpu="512",
            Memory="1024",
            NetworkMode="awsvpc",
            RequiresCompatibilities=["FARGATE"],
            ExecutionRoleArn=GetAtt(EXECUTION_ROLE, "Arn"),
            TaskRoleArn=GetAtt(RECEIVER_ROLE, "Arn"),
            ContainerDefinitions=[_container()],
        ),
        _service(),
    ]
