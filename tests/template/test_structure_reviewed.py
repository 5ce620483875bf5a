"""What a reviewer would look for, by name: reach, deployments, data, roles, alarms.

Covers alarms.py, audit.py, bucket_policies.py, conditions.py, logs.py, monitoring.py, preflight.py, queries.py,
scaling.py, storage.py, template/ledger.py, template/network.py, timeouts.py, wake_ups.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from audit import modes
from storescp_cfn.template import alarms as alarm_specs
from storescp_cfn.template import evaluation, fargate, importing, monitoring, service, timeouts
from tests.testkit.template_values import FACTS, TEMPLATE

MODES = modes.modes()


def left(mode: modes.Mode | None = None, /, **values: str) -> dict[str, Any]:
    """The resources of a stack in a mode, with other values given."""
    chosen = mode.parameters if mode else {}
    stack = evaluation.resolved(TEMPLATE, {**modes.EXAMPLE_NETWORK, **chosen, **values}, FACTS)
    resources: dict[str, Any] = stack["Resources"]
    return resources


def attributes(resource: dict[str, Any], name: str) -> dict[str, Any]:
    return {entry["Key"]: entry["Value"] for entry in resource["Properties"][name]}


# --- Reach ---------------------------------------------------------------------------------------------------


def ingress(**values: str) -> set[tuple[str, Any, Any]]:
    rules = left(**values)["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert all(rule["IpProtocol"] == "tcp" and rule["Description"] for rule in rules)
    return {(rule["CidrIp"], rule["FromPort"], rule["ToPort"]) for rule in rules}


def test_peers_and_the_vpc_reach_the_listeners_port_and_nobody_else_reaches_anything() -> None:
    assert ingress(SCPPort="104", PeerCIDR2="198.51.100.0/24", PeerCIDR3="192.0.2.0/24") == {
        (cidr, "104", "104") for cidr in ("10.0.0.0/16", "203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24")
    }


@pytest.mark.parametrize(
    "values",
    [
        {"PeerCIDR1": "10.0.0.0/16"},
        {"PeerCIDR2": "203.0.113.0/24", "PeerCIDR3": "203.0.113.0/24"},
        {"PeerCIDR2": "10.0.0.0/16"},
        {"PeerCIDR2": "198.51.100.0/24", "PeerCIDR3": "198.51.100.0/24"},
    ],
)
def test_a_network_that_is_given_twice_makes_one_rule(values: dict[str, str]) -> None:
    """EC2 refuses a group that says the same rule twice."""
    rules = left(**values)["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert len({rule["CidrIp"] for rule in rules}) == len(rules)


def test_the_load_balancer_reaches_the_receivers_two_ports_and_they_are_reached_from_it_alone() -> None:
    resources = left()
    egress = resources["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupEgress"]
    assert {(rule["DestinationSecurityGroupId"], rule["FromPort"], rule["ToPort"]) for rule in egress} == {
        ("sg-0a1b2c3d", port, port) for port in (11112, 8080)
    }
    into = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::EC2::SecurityGroupIngress"]
    assert {(rule["GroupId"], rule["FromPort"], rule["ToPort"]) for rule in into} == {
        ("sg-0a1b2c3d", port, port) for port in (11112, 8080)
    }
    source = {"Fn::GetAtt": ["LoadBalancerSecurityGroup", "GroupId"]}
    assert all(rule["SourceSecurityGroupId"] == source and "CidrIp" not in rule for rule in into)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_load_balancer_of_every_mode(mode: modes.Mode) -> None:
    resources = left(mode)
    balancer, listener = resources["LoadBalancer"]["Properties"], resources["Listener"]["Properties"]
    internal = mode.parameters["LoadBalancerScheme"] == "internal"
    subnets = modes.EXAMPLE_NETWORK["PrivateSubnetIDs" if internal else "PublicSubnetIDs"]
    assert balancer["Subnets"] == subnets.split(",")
    assert balancer["SecurityGroups"] == [{"Fn::GetAtt": ["LoadBalancerSecurityGroup", "GroupId"]}]
    assert (
        attributes(resources["LoadBalancer"], "LoadBalancerAttributes")["load_balancing.cross_zone.enabled"] == "true"
    )
    if "TLSCertificateARN" in mode.parameters:
        assert (listener["Protocol"], listener["SslPolicy"]) == ("TLS", "ELBSecurityPolicy-TLS13-1-2-Res-2021-06")
        assert listener["Certificates"] == [{"CertificateArn": modes.CERTIFICATE}]
        assert "ListenerAttributes" not in listener  # the idle timeout of TLS is AWS's
    else:
        assert listener["Protocol"] == "TCP"
        assert not {"SslPolicy", "Certificates"} & set(listener)
        assert attributes(resources["Listener"], "ListenerAttributes") == {"tcp.idle_timeout.seconds": "350"}
    assert set(json.dumps(resources).split('"')) & {"AWS::NoValue", "Fn::If"} == set()


def test_a_change_of_scheme_replaces_the_target_group_with_its_load_balancer() -> None:
    ports = {
        scheme: left(LoadBalancerScheme=scheme)["TargetGroup"]["Properties"]["Port"]
        for scheme in ("internal", "internet-facing")
    }
    assert len(set(ports.values())) == 2


def test_targets_are_checked_over_http_and_see_the_devices_address() -> None:
    group = left()["TargetGroup"]
    properties, settings = group["Properties"], attributes(group, "TargetGroupAttributes")
    assert (properties["TargetType"], properties["Protocol"]) == ("ip", "TCP")
    assert (properties["HealthCheckProtocol"], properties["HealthCheckPort"]) == ("HTTP", "8080")
    assert properties["HealthCheckPath"] == "/readyz"
    assert settings["preserve_client_ip.enabled"] == "true"
    assert settings["deregistration_delay.timeout_seconds"] == str(timeouts.DEREGISTRATION_DELAY_SECONDS)
    assert settings["target_health_state.unhealthy.connection_termination.enabled"] == "false"


# --- Receivers -----------------------------------------------------------------------------------------------


def test_a_receiver_is_locked_down() -> None:
    task = left()["TaskDefinition"]["Properties"]
    (container,) = task["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["Privileged"] is False
    assert container["User"] == "65532:65532"
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert container["StopTimeout"] == 120
    assert task["NetworkMode"] == "awsvpc"
    assert not {"Volumes", "PidMode", "IpcMode"} & set(task)
    network = left()["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert network["SecurityGroups"] == ["sg-0a1b2c3d"]
    assert network["Subnets"] == modes.EXAMPLE_NETWORK["PrivateSubnetIDs"].split(",")


def test_a_deployment_that_cannot_start_rolls_back_and_takes_nothing_away_first() -> None:
    properties = left()["Service"]["Properties"]
    deployment = properties["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100
    assert properties["AvailabilityZoneRebalancing"] == "ENABLED"


def test_an_update_of_the_stack_does_not_set_the_number_of_receivers_back() -> None:
    resources = left(TaskDesiredCount="3", AutoscaleMaxCapacity="9")
    assert "DesiredCount" not in resources["Service"]["Properties"]
    target = resources["ScalableTarget"]["Properties"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 9)


@pytest.mark.parametrize("cpu", fargate.CPU_SIZES)
def test_a_receiver_has_a_worker_for_each_whole_processor(cpu: int) -> None:
    """Fargate shows two processors to a quarter of one, and two workers there would only be in each other's way."""
    values = {"TaskCPU": str(cpu), "TaskMemoryLimit": str(fargate.MEMORY_MIB_OF_CPU[cpu][-1])}
    (container,) = left(**values)["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    environment = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    assert environment["WORKERS"] == str(max(1, cpu // 1024))


def test_scaling_follows_processors_and_associations() -> None:
    policies = {
        name: r["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        for name, r in left(MaximumAssociations="200").items()
        if r["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy"
    }
    predefined = policies["ProcessorScaling"]["PredefinedMetricSpecification"]
    assert predefined == {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}
    queries = policies["AssociationScaling"]["CustomizedMetricSpecification"]["Metrics"]
    assert [query.get("Expression") for query in queries] == [None, "100 * associations / 200"]
    assert [query["ReturnData"] for query in queries] == [False, True]


def test_the_defaults_cost_no_more_than_one_task_of_the_product_on_sale() -> None:
    """Two small receivers in two zones against one with 1,024 units and 2,048 MiB; Fargate's price is linear in "
    "both."""
    resources = left()
    task = resources["TaskDefinition"]["Properties"]
    count = resources["ScalableTarget"]["Properties"]["MinCapacity"]
    assert count == 2
    assert (count * int(task["Cpu"]), count * int(task["Memory"])) <= (1024, 2048)


# --- Data ----------------------------------------------------------------------------------------------------


BUCKETS = ("LandingBucket", "ResultsBucket", "AccessLogBucket")


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_private_versioned_encrypted_and_speaks_tls_only(name: str) -> None:
    for values in ({}, {"KmsKeyARN": modes.KEY}):
        resources = left(**values)
        properties = resources[name]["Properties"]
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        own = {"SSEAlgorithm": "aws:kms"} | ({"KMSMasterKeyID": modes.KEY} if values else {})
        expected = {"SSEAlgorithm": "AES256"} if name == "AccessLogBucket" else own
        assert rule["ServerSideEncryptionByDefault"] == expected
        (policy,) = [
            r["Properties"]["PolicyDocument"]["Statement"]
            for r in resources.values()
            if r["Type"] == "AWS::S3::BucketPolicy" and r["Properties"]["Bucket"] == {"Ref": name}
        ]
        deny = policy[0]
        assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", ["s3:*"])
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": False}}
        aborts = [r for r in properties["LifecycleConfiguration"]["Rules"] if "AbortIncompleteMultipartUpload" in r]
        assert len(aborts) == 1
        assert "Prefix" not in aborts[0]
        assert ("LoggingConfiguration" in properties) == (name != "AccessLogBucket")


def test_nothing_that_holds_an_image_expires() -> None:
    for name in ("LandingBucket", "ResultsBucket"):
        for rule in left(RetentionDays="7")[name]["Properties"]["LifecycleConfiguration"]["Rules"]:
            keys = set(rule) - {"Id", "Status", "Prefix"}
            if keys == {"AbortIncompleteMultipartUpload"}:
                continue
            assert name == "LandingBucket"
            assert keys == {"ExpiredObjectDeleteMarker", "NoncurrentVersionExpiration"}
            assert rule["Prefix"] in ("incoming/", "batches/", "split/", "commitments/")
            assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": "7"}


def test_the_ledger_can_be_restored_and_not_be_deleted_by_accident() -> None:
    properties = left(KmsKeyARN=modes.KEY)["Ledger"]["Properties"]
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["DeletionProtectionEnabled"] is True
    assert properties["SSESpecification"]["KMSMasterKeyId"] == modes.KEY
    # Nothing but a device's days carries it (docs/adr/0001).
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert {index["IndexName"] for index in properties["GlobalSecondaryIndexes"]} == {"Unsettled", "Open"}


def test_the_customers_key_encrypts_everything_that_can_have_it() -> None:
    resources = left(KmsKeyARN=modes.KEY)
    places = {
        name for name, r in resources.items() if modes.KEY in json.dumps(r["Properties"]) and "Policy" not in r["Type"]
    }
    assert places == {
        "LandingBucket",
        "ResultsBucket",
        "Ledger",
        "Datastore",
        "ReceiverLogGroup",
        "ImporterLogGroup",
        "Importer",
        "AlarmTopic",
        "Preflight",
        "PreflightLogGroup",
    }
    policies = {name for name, r in resources.items() if r["Type"] == "AWS::IAM::ManagedPolicy" and "Key" in name}
    assert policies == {f"{role}KeyPolicy" for role in ("Receiver", "Execution", "Importer", "ImportJob", "Preflight")}


# --- Roles ---------------------------------------------------------------------------------------------------


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in left(KmsKeyARN=modes.KEY).items():
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            yield from ((name, s) for s in resource["Properties"]["PolicyDocument"]["Statement"])


@pytest.mark.parametrize(
    ("policy", "statement"), list(statements()), ids=lambda v: v if isinstance(v, str) else v["Sid"]
)
def test_a_statement_names_actions_and_resources(policy: str, statement: dict[str, Any]) -> None:
    assert statement["Effect"] == "Allow"
    assert all("*" not in action for action in statement["Action"])
    if "*" in statement["Resource"]:
        assert (policy, statement["Sid"]) in {
            ("ExecutionPolicy", "LogInToRegistry"),
            ("PreflightPolicy", "LookAtNetwork"),
        }
        assert all(re.match(r"ecr:GetAuthorizationToken|ec2:Describe", action) for action in statement["Action"])
    s3 = [action for action in statement["Action"] if action.startswith("s3:")]
    if s3:
        resources = json.dumps(statement["Resource"])
        assert "LandingBucket" in resources or "ResultsBucket" in resources
        assert "s3:DeleteObjectVersion" not in s3


def test_every_statement_has_a_sid_of_its_own_and_a_reason() -> None:
    for role in (*service.roles(), *importing.roles()):
        sids = [grant.sid for grant in (*role.grants, *role.key_grants)]
        assert len(set(sids)) == len(sids)
        assert all(len(grant.why) > 15 for grant in (*role.grants, *role.key_grants))
        assert all(grant.any_resource_because for grant in role.grants if "*" in grant.resources)


def trust(role: str) -> dict[str, Any]:
    statement: dict[str, Any]
    (statement,) = left()[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    return statement


def test_services_assume_their_roles_for_this_account_only() -> None:
    job = trust("ImportJobRole")
    assert job["Principal"] == {"Service": "medical-imaging.amazonaws.com"}
    assert job["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnEquals": {
            "aws:SourceArn": {
                "Fn::Sub": [
                    "arn:aws:medical-imaging:us-east-1:123456789012:datastore/${Id}",
                    {"Id": {"Ref": "Datastore"}},
                ]
            }
        },
    }
    for role in ("ReceiverRole", "ExecutionRole"):
        assert trust(role)["Condition"] == {
            "StringEquals": {"aws:SourceAccount": "123456789012"},
            "ArnLike": {"aws:SourceArn": "arn:aws:ecs:us-east-1:123456789012:*"},
        }


def test_pass_role_is_bound_to_one_role_and_one_service() -> None:
    (passing,) = [statement for _, statement in statements() if "iam:PassRole" in statement["Action"]]
    assert passing["Action"] == ["iam:PassRole"]
    assert passing["Resource"] == [{"Fn::GetAtt": ["ImportJobRole", "Arn"]}]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}}


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        (
            "709825985650.dkr.ecr.us-east-1.amazonaws.com/seller/repo:1.0",
            "us-east-1:709825985650:repository/seller/repo",
        ),
        ("123456789012.dkr.ecr.eu-west-2.amazonaws.com/a/b/c:1", "eu-west-2:123456789012:repository/a/b/c"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/a@sha256:" + "0" * 64, "us-west-2:123456789012:repository/a"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/a:1@sha256:" + "0" * 64, "us-west-2:123456789012:repository/a"),
    ],
)
def test_only_the_images_own_repository_is_pulled_from(image: str, repository: str) -> None:
    resources = left(ContainerImage=image)
    document = resources["ExecutionPolicy"]["Properties"]["PolicyDocument"]
    (pull,) = [statement for statement in document["Statement"] if statement["Sid"] == "PullImage"]
    assert pull["Resource"] == [f"arn:aws:ecr:{repository}"]


# --- Importer and alarms -------------------------------------------------------------------------------------


def test_the_importer_reserves_no_concurrency_and_is_woken_by_three_kinds_of_wake_up() -> None:
    resources = left(DatastoreID="0123456789abcdef0123456789abcdef")
    assert "ReservedConcurrentExecutions" not in resources["Importer"]["Properties"]
    rules = {name: r["Properties"] for name, r in resources.items() if r["Type"] == "AWS::Events::Rule"}
    assert rules["EveryMinuteRule"]["ScheduleExpression"] == "rate(1 minute)"
    ended = rules["ImportJobEndedRule"]["EventPattern"]
    assert ended["detail"] == {"datastoreId": ["0123456789abcdef0123456789abcdef"]}
    permissions = [r["Properties"]["SourceArn"] for r in resources.values() if r["Type"] == "AWS::Lambda::Permission"]
    of_rules = [source["Fn::GetAtt"][0] for source in permissions if "Fn::GetAtt" in source]
    assert sorted(of_rules) == sorted(rules)
    assert [source for source in permissions if "Ref" in source] == [{"Ref": "WakeUpTopic"}]
    assert all(
        rule["Targets"] == [{"Arn": {"Fn::GetAtt": ["Importer", "Arn"]}, "Id": "Importer"}] for rule in rules.values()
    )
    told = resources["LandingBucket"]["Properties"]["NotificationConfiguration"]
    assert set(told) == {"TopicConfigurations"}
    prefixes = [entry["Filter"]["S3Key"]["Rules"][0]["Value"] for entry in told["TopicConfigurations"]]
    assert prefixes == ["batches/", "commitments/requests/"]
    assert {json.dumps(entry["Topic"]) for entry in told["TopicConfigurations"]} == {'{"Ref": "WakeUpTopic"}'}
    subscription = resources["WakeUpSubscription"]["Properties"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("lambda", {"Fn::GetAtt": ["Importer", "Arn"]})


def test_every_alarm_goes_to_one_topic_when_it_starts_and_when_it_is_over() -> None:
    pair = {"TLSCertificateSecretARN": modes.SECRET.format("c"), "TLSKeySecretARN": modes.SECRET.format("k")}
    resources = left(TLSCertificateARN=modes.CERTIFICATE, SilenceHours="24", **pair)
    assert "SilenceAlarm" not in left(SilenceHours="0")
    alarms = {name: r["Properties"] for name, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    assert set(alarms) == {alarm.logical_id for alarm in alarm_specs.ALARMS} | {monitoring.FEWER_TASKS_ALARM}
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
        message = alarm["AlarmDescription"]
        text = message if isinstance(message, str) else message["Fn::Sub"]
        assert text.startswith("Stack StoreSCP: ")
        assert " First step: " in text
        assert len(text) < 700  # names that CloudFormation makes come to it; 1,024 are allowed


@pytest.mark.parametrize("email", ["", "pacs-team@hospital.example"])
def test_an_address_is_subscribed_only_if_one_is_given(email: str) -> None:
    resources = left(AlarmEmail=email)
    assert ("AlarmSubscription" in resources) == bool(email)


def test_the_dashboard_is_valid_and_speaks_of_what_an_administrator_asks() -> None:
    text, names = left()["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(names) == {"ServiceName"}
    widgets = json.loads(text)["widgets"]
    assert all(widget["x"] + widget["width"] <= 24 for widget in widgets)
    assert [widget["type"] for widget in widgets[:5]] == ["text", "metric", "metric", "metric", "alarm"]
    assert [widget["type"] for widget in widgets[-3:]] == ["log", "log", "log"]
    taken = {
        (x, y) for w in widgets for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])
    }
    assert len(taken) == sum(widget["width"] * widget["height"] for widget in widgets)  # none covers another
    curves = [w["properties"] for w in widgets if w["properties"].get("view") == "timeSeries"]
    assert all(curve["yAxis"]["left"]["label"] for curve in curves)
    assert [curve["title"] for curve in curves if "SecondsToImageSet" in json.dumps(curve)] == [
        "From the last image to the image set"
    ]
    labels = {line[-1]["label"] for w in widgets for line in w["properties"].get("metrics", [])}
    assert {"received", "acknowledged", "imported", "quarantined", "running", "accepted", "median"} <= labels
    alarms = next(widget["properties"]["alarms"] for widget in widgets if widget["type"] == "alarm")
    always = [alarm.logical_id for alarm in alarm_specs.ALARMS if not alarm.condition]
    assert alarms == [f"${{{name}.Arn}}" for name in (*always, monitoring.FEWER_TASKS_ALARM)]


def test_the_query_for_refused_images_reads_the_receivers_line() -> None:
    from storescp_cfn.template.queries import REFUSED

    (pattern,) = re.findall(r"parse @message /(.*)/", REFUSED.text)
    line = json.dumps({"message": "association ended", "failures": {"0xA700 Object store failed": 3}})
    for written in (line, line.replace(": ", ":")):
        found = re.search(pattern.replace("(?<", "(?P<"), written)
        assert found is not None
        assert found.groupdict() == {"status": "A700", "refused": "3"}
