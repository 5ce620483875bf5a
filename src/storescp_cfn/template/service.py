"""The receiver as an ECS service on Fargate, and the two roles of its task."""

from __future__ import annotations

from typing import Any

import awacs.aws_marketplace
import awacs.ecr
import awacs.ecs
import awacs.logs
import awacs.s3
import awacs.secretsmanager
from awacs.aws import ArnLike, StringEquals, StringLike
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, If, NoValue, Ref, Select, Split, Sub
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
    Secret,
    Service,
    TaskDefinition,
    Ulimit,
)
from troposphere.ecs import LoadBalancer as ServiceLoadBalancer

from storescp_cfn.template import (
    bucket_policies,
    conditions,
    fargate,
    findings,
    iam,
    logs,
    network,
    scaling,
    storage,
    timeouts,
)
from storescp_cfn.template.findings import AWS_SOLUTIONS, AcceptedFinding
from storescp_cfn.template.iam import Grant, RoleSpec
from storescp_cfn.template.release import Release, receiver_image

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
    "REQUIRE_CERTIFICATE_AE_TITLE": Ref("RequireCertificateAETitle"),
    "COMMITMENT_DEVICES": Ref("CommitmentDevices"),
    "COMMITMENT_TIMEOUT_HOURS": Ref("CommitmentTimeout"),
    "WORKERS": fargate.workers(),
    "STOP_SECONDS": str(timeouts.RECEIVER_STOP_SECONDS),
}

# The receiver's variables that ECS fills from secrets: variable, the parameter with the secret's ARN, and when.
SECRETS = (
    ("TLS_CERTIFICATE", "TLSCertificateSecretARN", conditions.HAS_RECEIVER_TLS),
    ("TLS_PRIVATE_KEY", "TLSKeySecretARN", conditions.HAS_RECEIVER_KEY),
    ("TLS_CLIENT_CA", "TLSClientCASecretARN", conditions.HAS_CLIENT_CA),
)

# As in container/Dockerfile, whose own HEALTHCHECK ECS does not look at. It asks for life, not for readiness: a
# receiver that drains is alive.
HEALTH_COMMAND = ["CMD", "python3", "-S", "-m", "storescp.healthcheck"]


_NO_SECRETS = AcceptedFinding(
    "The environment holds names and limits; certificate and key come from secrets, which ECS injects.",
    nag=[f"{AWS_SOLUTIONS}-ECS2"],
)


def _image_repository_arn() -> Sub:
    """The ECR repository of the receiver's image: account, Region and name are read out of the image's address."""
    address = Select(0, Split("@", Select(0, Split(":", receiver_image()))))
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
    if not release.metered:
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
        "The receiver: stores images, batch manifests and commitment requests in the landing bucket",
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
                "PersistCommitments",
                "Keep each request for storage commitment before it is answered, and who delivers its report.",
                [awacs.s3.PutObject],
                storage.objects(
                    storage.LANDING_BUCKET,
                    storage.COMMITMENT_REQUESTS,
                    storage.COMMITMENT_ATTEMPTS,
                    storage.COMMITMENTS_DELIVERED,
                ),
            ),
            Grant(
                "ReadCommitments",
                "Read requests, their results and the attempts to deliver them.",
                [awacs.s3.GetObject],
                storage.objects(storage.LANDING_BUCKET, storage.COMMITMENTS),
            ),
            Grant(
                "ListCommitments",
                "Find the reports that are not delivered.",
                [awacs.s3.ListBucket],
                [GetAtt(storage.LANDING_BUCKET, "Arn")],
                PolicyCondition(StringLike({"s3:prefix": [f"{storage.COMMITMENTS}*"]})),
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
        tls_grants=[
            Grant(
                "ReadTlsSecrets",
                "Hand the certificate and key of the receivers, and who signs the devices' certificates, to a task.",
                [awacs.secretsmanager.GetSecretValue],
                [
                    # The policy is there only with the first.
                    Ref(SECRETS[0][1]),
                    *(If(condition, Ref(parameter), NoValue) for _, parameter, condition in SECRETS[1:]),
                ],
            )
        ],
        key_grants=[
            iam.key_grant("Read secrets that the customer's key encrypts.", iam.READ_ENCRYPTED, "secretsmanager")
        ],
    )


def roles(release: Release | None = None) -> list[RoleSpec]:
    """The roles of this concern."""
    return [receiver_role(release), execution_role()]


def _secret(variable: str, parameter: str, condition: str) -> If:
    return If(condition, Secret(Name=variable, ValueFrom=Ref(parameter)), NoValue)


def _container() -> ContainerDefinition:
    return ContainerDefinition(
        Name=CONTAINER,
        Image=receiver_image(),
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
        Secrets=[_secret(*secret) for secret in SECRETS],
        Environment=[Environment(Name=name, Value=value) for name, value in ENVIRONMENT.items()],
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
        ContainerDefinitions=[_container()],
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
        DependsOn=[network.LISTENER, bucket_policies.LANDING_BUCKET_POLICY],
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
