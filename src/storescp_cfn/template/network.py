"""The network load balancer, the security groups on both of its sides, and the endpoint for Amazon S3."""

from __future__ import annotations

from typing import Any

from troposphere import AWSObject, GetAtt, If, NoValue, Ref, Split, Sub
from troposphere.ec2 import SecurityGroup, SecurityGroupIngress, SecurityGroupRule, VPCEndpoint
from troposphere.elasticloadbalancingv2 import (
    Action,
    Certificate,
    Listener,
    ListenerAttribute,
    LoadBalancer,
    LoadBalancerAttributes,
    Matcher,
    TargetGroup,
    TargetGroupAttribute,
)

from storescp_cfn.template import conditions, findings, storage, timeouts
from storescp_cfn.template.findings import HIPAA, NIST_4, NIST_5, PCI, AcceptedFinding

LOAD_BALANCER = "LoadBalancer"
LOAD_BALANCER_GROUP = "LoadBalancerSecurityGroup"
LISTENER = "Listener"
TARGET_GROUP = "TargetGroup"
S3_ENDPOINT = "S3Endpoint"

CONTAINER_PORT = 11112
HEALTH_PORT = 8080
# TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only, as PS3.15 B.12 asks for.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/network/describe-ssl-policies.html
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"


_SITE_NETWORKS = AcceptedFinding(
    "Hospitals send from networks, not from single addresses; everybody (0.0.0.0/0) is refused by the parameter.",
    guard=["SECURITY_GROUP_INGRESS_CIDR_NON_32_RULE"],
)
_DESCRIBED = AcceptedFinding(
    "Every rule has a description; these rules do not look inside Fn::If.",
    checkov=["CKV_AWS_23"],
    guard=["SECURITY_GROUP_DESCRIPTION_RULE"],
    others=["AWS-0124"],
)
_DELETABLE = AcceptedFinding(
    "It holds no data, and deleting the stack must be able to remove it.",
    guard=["ELB_DELETION_PROTECTION_ENABLED", "elbv2_deletion_protection_enabled_check"],
    nag=findings.nag("ELBDeletionProtectionEnabled", HIPAA, NIST_4, NIST_5),
)
_REACHABLE = AcceptedFinding(
    "Hospitals without VPN or Direct Connect send over the internet, from the networks of PeerCIDR1 to 3 only; "
    "LoadBalancerScheme internal keeps it private.",
    others=["AWS-0053", "PublicELBCheckerRule"],
)
_TLS_BY_CHOICE = AcceptedFinding(
    "Many devices cannot speak TLS, and a VPN or Direct Connect encrypts for them; with TLSCertificateARN the listener "
    "takes TLS 1.2 and 1.3 only.",
    checkov=["CKV_AWS_2", "CKV_AWS_103"],
    guard=["ELBV2_LISTENER_SSL_POLICY_RULE"],
    nag=findings.nag("ELBv2ACMCertificateRequired", HIPAA, NIST_5, PCI),
)


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
    peers: list[Any] = [
        If(f"Has{name}", _peer_rule(name, f"sender network {number}"), NoValue)
        for number, name in enumerate(("PeerCIDR1", "PeerCIDR2", "PeerCIDR3"), 1)
    ]
    return SecurityGroup(
        LOAD_BALANCER_GROUP,
        Metadata=findings.metadata(
            "Lets the allowed networks reach the DICOM port, and the load balancer reach the receivers",
            _SITE_NETWORKS,
            _DESCRIBED,
        ),
        GroupDescription="Who reaches the DICOM port; the load balancer itself reaches the receivers and nothing else",
        VpcId=Ref("VpcID"),
        SecurityGroupIngress=[_peer_rule("VpcCIDR", "the VPC"), *peers],
        SecurityGroupEgress=[
            _to_receivers(CONTAINER_PORT, "DICOM to the receivers"),
            _to_receivers(HEALTH_PORT, "Health checks of the receivers"),
        ],
    )


def _from_load_balancer(logical_id: str, port: int, what: str) -> SecurityGroupIngress:
    return SecurityGroupIngress(
        logical_id,
        Metadata=findings.metadata(f"{what}, and from nowhere else"),
        GroupId=Ref("SecurityGroupID"),
        IpProtocol="tcp",
        FromPort=port,
        ToPort=port,
        SourceSecurityGroupId=GetAtt(LOAD_BALANCER_GROUP, "GroupId"),
        Description=what,
    )


def _load_balancer() -> LoadBalancer:
    attributes: dict[str, Any] = {
        "load_balancing.cross_zone.enabled": "true",
        # AWS writes them for TLS connections only.
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": Ref(storage.ACCESS_LOG_BUCKET),
        "access_logs.s3.prefix": storage.LOAD_BALANCER_LOGS,
    }
    return LoadBalancer(
        LOAD_BALANCER,
        Metadata=findings.metadata(
            "Gives devices one address, and spreads their associations over the receivers", _DELETABLE, _REACHABLE
        ),
        DependsOn=[storage.ACCESS_LOG_BUCKET_POLICY],
        Type="network",
        Scheme=Ref("LoadBalancerScheme"),
        Subnets=If(conditions.IS_INTERNAL, Ref("PrivateSubnetIDs"), Ref("PublicSubnetIDs")),
        # A load balancer that is made without one can never get one.
        SecurityGroups=[GetAtt(LOAD_BALANCER_GROUP, "GroupId")],
        LoadBalancerAttributes=[LoadBalancerAttributes(Key=key, Value=value) for key, value in attributes.items()],
    )


def _target_group() -> TargetGroup:
    attributes = {
        "deregistration_delay.timeout_seconds": str(timeouts.DEREGISTRATION_DELAY_SECONDS),
        # The receiver sees the device's own address, for its log and for the hospital's audit.
        "preserve_client_ip.enabled": "true",
        # A receiver that is too busy for a health check still finishes what it has begun.
        "target_health_state.unhealthy.connection_termination.enabled": "false",
    }
    return TargetGroup(
        TARGET_GROUP,
        Metadata=findings.metadata("Knows which receivers are ready; how long it waits is part of the chain of limits"),
        VpcId=Ref("VpcID"),
        TargetType="ip",
        Protocol="TCP",
        # ECS registers each receiver with its own port, so this one is never used. It differs between the schemes
        # because a change of scheme replaces the load balancer, and a target group can serve one at a time only: with
        # another port CloudFormation replaces the target group too.
        Port=If(conditions.IS_INTERNAL, CONTAINER_PORT + 1, CONTAINER_PORT),
        HealthCheckEnabled=True,
        HealthCheckProtocol="HTTP",
        HealthCheckPort=str(HEALTH_PORT),
        HealthCheckPath="/readyz",
        HealthCheckIntervalSeconds=timeouts.HEALTH_CHECK_INTERVAL_SECONDS,
        HealthCheckTimeoutSeconds=timeouts.HEALTH_CHECK_TIMEOUT_SECONDS,
        HealthyThresholdCount=timeouts.HEALTHY_AFTER_CHECKS,
        UnhealthyThresholdCount=timeouts.UNHEALTHY_AFTER_CHECKS,
        Matcher=Matcher(HttpCode="200"),
        TargetGroupAttributes=[TargetGroupAttribute(Key=key, Value=value) for key, value in attributes.items()],
    )


def _listener() -> Listener:
    idle = ListenerAttribute(Key="tcp.idle_timeout.seconds", Value=str(timeouts.LOAD_BALANCER_IDLE_SECONDS))
    return Listener(
        LISTENER,
        Metadata=findings.metadata(
            "Takes DICOM associations on SCPPort, with TLS if there is a certificate", _TLS_BY_CHOICE
        ),
        LoadBalancerArn=Ref(LOAD_BALANCER),
        Port=Ref("SCPPort"),
        Protocol=If(conditions.HAS_TLS, "TLS", "TCP"),
        SslPolicy=If(conditions.HAS_TLS, TLS_POLICY, NoValue),
        Certificates=If(conditions.HAS_TLS, [Certificate(CertificateArn=Ref("TLSCertificateARN"))], NoValue),
        ListenerAttributes=If(conditions.HAS_TLS, NoValue, [idle]),
        DefaultActions=[Action(Type="forward", TargetGroupArn=Ref(TARGET_GROUP))],
    )


def _s3_endpoint() -> VPCEndpoint:
    """It has AWS's default policy: other programs of these subnets use it too, and roles and buckets have their own."""
    return VPCEndpoint(
        S3_ENDPOINT,
        Metadata=findings.metadata("Takes image data to Amazon S3 without the NAT gateway and its price"),
        Condition=conditions.HAS_ROUTE_TABLES,
        VpcEndpointType="Gateway",
        VpcId=Ref("VpcID"),
        ServiceName=Sub("com.amazonaws.${AWS::Region}.s3"),
        RouteTableIds=Split(",", Ref("PrivateRouteTableIDs")),
    )


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        _load_balancer_group(),
        _from_load_balancer("DICOMFromLoadBalancer", CONTAINER_PORT, "DICOM from the load balancer"),
        _from_load_balancer("HealthFromLoadBalancer", HEALTH_PORT, "Health checks of the load balancer"),
        _load_balancer(),
        _target_group(),
        _listener(),
        _s3_endpoint(),
    ]
