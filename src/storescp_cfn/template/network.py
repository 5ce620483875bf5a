"""The network load balancer and the security groups on both of its sides."""

from __future__ import annotations

from typing import Any

from troposphere import AWSObject, GetAtt, If, NoValue, Ref
from troposphere.ec2 import SecurityGroup, SecurityGroupIngress, SecurityGroupRule
from troposphere.elasticloadbalancingv2 import (
    Action,
    Listener,
    LoadBalancer,
    LoadBalancerAttributes,
    Matcher,
    TargetGroup,
    TargetGroupAttribute,
)

from storescp_cfn.template import times

LOAD_BALANCER = "LoadBalancer"
LOAD_BALANCER_GROUP = "LoadBalancerSecurityGroup"
LISTENER = "Listener"
TARGET_GROUP = "TargetGroup"

CONTAINER_PORT = 11112
HEALTH_PORT = 8080


def _peer_rule(cidr: str, what: str) -> SecurityGroupRule:
    return SecurityGroupRule(
        IpProtocol="tcp",
        FromPort=Ref("SCPPort"),
        ToPort=Ref("SCPPort"),
        CidrIp=Ref(cidr),
        Description=f"DICOM from {what}",
    )


def _to_receivers(port: int, what: str) -> SecurityGroupRule:
    return SecurityGroupRule(
        IpProtocol="tcp",
        FromPort=port,
        ToPort=port,
        DestinationSecurityGroupId=Ref("SecurityGroupID"),
        Description=what,
    )


def _load_balancer_group() -> SecurityGroup:
    optional_peers: list[Any] = [
        If(f"Has{name}", _peer_rule(name, f"sender network {number}"), NoValue)
        for number, name in enumerate(("PeerCIDR1", "PeerCIDR2", "PeerCIDR3"), 1)
    ]
    return SecurityGroup(
        LOAD_BALANCER_GROUP,
        GroupDescription="Who may reach the DICOM port, and that the load balancer reaches nothing but the receivers",
        VpcId=Ref("VpcID"),
        SecurityGroupIngress=[_peer_rule("VpcCIDR", "the VPC"), *optional_peers],
        SecurityGroupEgress=[
            _to_receivers(CONTAINER_PORT, "DICOM to the receivers"),
            _to_receivers(HEALTH_PORT, "Health checks of the receivers"),
        ],
    )


def _from_load_balancer(logical_id: str, port: int, what: str) -> SecurityGroupIngress:
    return SecurityGroupIngress(
        logical_id,
        GroupId=Ref("SecurityGroupID"),
        IpProtocol="tcp",
        FromPort=port,
        ToPort=port,
        SourceSecurityGroupId=GetAtt(LOAD_BALANCER_GROUP, "GroupId"),
        Description=what,
    )


def _target_group() -> TargetGroup:
    attributes = {
        "deregistration_delay.timeout_seconds": str(times.DEREGISTRATION_DELAY_SECONDS),
        # The receiver sees the device's own address, for its log and for the hospital's audit.
        "preserve_client_ip.enabled": "true",
    }
    return TargetGroup(
        TARGET_GROUP,
        VpcId=Ref("VpcID"),
        TargetType="ip",
        Protocol="TCP",
        Port=CONTAINER_PORT,
        HealthCheckProtocol="HTTP",
        HealthCheckPort=str(HEALTH_PORT),
        HealthCheckPath="/readyz",
        HealthCheckIntervalSeconds=times.HEALTH_CHECK_INTERVAL_SECONDS,
        HealthCheckTimeoutSeconds=times.HEALTH_CHECK_TIMEOUT_SECONDS,
        HealthyThresholdCount=times.HEALTHY_AFTER_CHECKS,
        UnhealthyThresholdCount=times.UNHEALTHY_AFTER_CHECKS,
        Matcher=Matcher(HttpCode="200"),
        TargetGroupAttributes=[TargetGroupAttribute(Key=k, Value=v) for k, v in attributes.items()],
    )


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        _load_balancer_group(),
        _from_load_balancer("DICOMFromLoadBalancer", CONTAINER_PORT, "DICOM from the load balancer"),
        _from_load_balancer("HealthFromLoadBalancer", HEALTH_PORT, "Health checks of the load balancer"),
        LoadBalancer(
            LOAD_BALANCER,
            Type="network",
            Scheme="internet-facing",
            Subnets=Ref("PublicSubnetIDs"),
            SecurityGroups=[GetAtt(LOAD_BALANCER_GROUP, "GroupId")],
            LoadBalancerAttributes=[LoadBalancerAttributes(Key="load_balancing.cross_zone.enabled", Value="true")],
        ),
        _target_group(),
        Listener(
            LISTENER,
            LoadBalancerArn=Ref(LOAD_BALANCER),
            Port=Ref("SCPPort"),
            Protocol="TCP",
            DefaultActions=[Action(Type="forward", TargetGroupArn=Ref(TARGET_GROUP))],
        ),
    ]
