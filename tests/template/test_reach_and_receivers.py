"""What a reviewer would look for, by name: who reaches what, the receivers and their deployments.

Covers conditions.py, scaling.py, template/network.py, timeouts.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from audit import modes
from storescp_cfn.template import fargate, timeouts
from tests.testkit.template_values import stack_resources

MODES = modes.modes()


def attributes(resource: dict[str, Any], name: str) -> dict[str, Any]:
    return {entry["Key"]: entry["Value"] for entry in resource["Properties"][name]}


# --- Reach ---------------------------------------------------------------------------------------------------


def ingress(**values: str) -> set[tuple[str, Any, Any]]:
    rules = stack_resources(**values)["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupIngress"]
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
    rules = stack_resources(**values)["LoadBalancerSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert len({rule["CidrIp"] for rule in rules}) == len(rules)


def test_the_load_balancer_reaches_the_receivers_two_ports_and_they_are_reached_from_it_alone() -> None:
    resources = stack_resources()
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
    resources = stack_resources(mode)
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
        scheme: stack_resources(LoadBalancerScheme=scheme)["TargetGroup"]["Properties"]["Port"]
        for scheme in ("internal", "internet-facing")
    }
    assert len(set(ports.values())) == 2


def test_targets_are_checked_over_http_and_see_the_devices_address() -> None:
    group = stack_resources()["TargetGroup"]
    properties, settings = group["Properties"], attributes(group, "TargetGroupAttributes")
    assert (properties["TargetType"], properties["Protocol"]) == ("ip", "TCP")
    assert (properties["HealthCheckProtocol"], properties["HealthCheckPort"]) == ("HTTP", "8080")
    assert properties["HealthCheckPath"] == "/readyz"
    assert settings["preserve_client_ip.enabled"] == "true"
    assert settings["deregistration_delay.timeout_seconds"] == str(timeouts.DEREGISTRATION_DELAY_SECONDS)
    assert settings["target_health_state.unhealthy.connection_termination.enabled"] == "false"


# --- Receivers -----------------------------------------------------------------------------------------------


def test_a_receiver_is_locked_down() -> None:
    task = stack_resources()["TaskDefinition"]["Properties"]
    (container,) = task["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["Privileged"] is False
    assert container["User"] == "65532:65532"
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert container["StopTimeout"] == 120
    assert task["NetworkMode"] == "awsvpc"
    assert not {"Volumes", "PidMode", "IpcMode"} & set(task)
    network = stack_resources()["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert network["SecurityGroups"] == ["sg-0a1b2c3d"]
    assert network["Subnets"] == modes.EXAMPLE_NETWORK["PrivateSubnetIDs"].split(",")


def test_a_deployment_that_cannot_start_rolls_back_and_takes_nothing_away_first() -> None:
    properties = stack_resources()["Service"]["Properties"]
    deployment = properties["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100
    assert properties["AvailabilityZoneRebalancing"] == "ENABLED"


def test_an_update_of_the_stack_does_not_set_the_number_of_receivers_back() -> None:
    resources = stack_resources(TaskDesiredCount="3", AutoscaleMaxCapacity="9")
    assert "DesiredCount" not in resources["Service"]["Properties"]
    target = resources["ScalableTarget"]["Properties"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 9)


@pytest.mark.parametrize("cpu", fargate.CPU_SIZES)
def test_a_receiver_has_a_worker_for_each_whole_processor(cpu: int) -> None:
    """Fargate shows two processors to a quarter of one, and two workers there would only be in each other's way."""
    values = {"TaskCPU": str(cpu), "TaskMemoryLimit": str(fargate.MEMORY_MIB_OF_CPU[cpu][-1])}
    (container,) = stack_resources(**values)["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    environment = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    assert environment["WORKERS"] == str(max(1, cpu // 1024))


def test_scaling_follows_processors_and_associations() -> None:
    policies = {
        name: r["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        for name, r in stack_resources(MaximumAssociations="200").items()
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
    resources = stack_resources()
    task = resources["TaskDefinition"]["Properties"]
    count = resources["ScalableTarget"]["Properties"]["MinCapacity"]
    assert count == 2
    assert (count * int(task["Cpu"]), count * int(task["Memory"])) <= (1024, 2048)
