"""CloudFormation resource types that the embedded AWS lacks, added to it at run time.

ministack keeps its resource handlers in one private table; its version is pinned, and a test holds this module against
it. A type whose effect the chain depends on really takes effect (a security group's rule, a role's policy, a data
store); the others are recorded, so that the template creates, updates and deletes whole.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from storescp_cfn.local import customer_key
from storescp_cfn.local.customer_key import require_service

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]
Create = Callable[[str, Properties, str], Created]
Delete = Callable[[str, Properties], None]

# Types that need no behaviour here: what Ref gives, and what Fn::GetAtt may ask for.
RECORDED_TYPES: dict[str, Callable[[str], dict[str, Any]]] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": lambda physical_id: {"Id": physical_id},
    "AWS::ApplicationAutoScaling::ScalingPolicy": lambda physical_id: {"Arn": physical_id},
    "AWS::ECS::ClusterCapacityProviderAssociations": lambda physical_id: {},
    "AWS::CloudWatch::Alarm": lambda physical_id: {"Arn": physical_id},
    "AWS::Logs::QueryDefinition": lambda physical_id: {"QueryDefinitionId": physical_id},
}


def recorded(resource_type: str) -> dict[str, Callable[..., Any]]:
    """Handlers for a type that is only recorded."""

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        physical_id = f"{stack_name}-{logical_id}-{uuid.uuid4().hex[:12]}"
        return physical_id, RECORDED_TYPES[resource_type](physical_id)

    def delete(physical_id: str, properties: Properties) -> None:
        """Do nothing: `create` made nothing but a name."""

    return {"create": create, "delete": delete}


def security_group_rule(direction: str) -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::EC2::SecurityGroupIngress` (IpPermissions) or `…Egress` (IpPermissionsEgress)."""
    from ministack.services import ec2
    from ministack.services.cloudformation import provisioners

    def permission_of(properties: Properties) -> list[dict[str, Any]]:
        permissions: list[dict[str, Any]] = provisioners._ec2_sg_permissions([properties])
        return permissions

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        group = ec2._security_groups.get(properties.get("GroupId"))
        if group is None:
            raise ValueError(f"The security group '{properties.get('GroupId')}' does not exist")
        group[direction] = [*group.get(direction, []), *permission_of(properties)]
        physical_id = f"sgr-{uuid.uuid4().hex[:17]}"
        return physical_id, {"Id": physical_id}

    def delete(physical_id: str, properties: Properties) -> None:
        group = ec2._security_groups.get(properties.get("GroupId"))
        for permission in permission_of(properties):
            if group is not None and permission in group.get(direction, []):
                group[direction] = [other for other in group[direction] if other != permission]

    return {"create": create, "delete": delete}


def address() -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::EC2::EIP`: an address that ec2 knows."""
    from ministack.services import ec2

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        known = set(ec2._addresses)
        ec2._allocate_address({"Domain": properties.get("Domain", "vpc")})
        [allocation_id] = set(ec2._addresses) - known
        public_ip = ec2._addresses[allocation_id]["PublicIp"]
        return public_ip, {"AllocationId": allocation_id, "PublicIp": public_ip}

    def delete(physical_id: str, properties: Properties) -> None:
        for allocation_id, row in list(ec2._addresses.items()):
            if row["PublicIp"] == physical_id:
                ec2._release_address({"AllocationId": allocation_id})

    return {"create": create, "delete": delete}


def nat_gateway() -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::EC2::NatGateway`: a gateway that is available at once."""
    from ministack.services import ec2

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        known = set(ec2._nat_gateways)
        ec2._create_nat_gateway({"SubnetId": properties["SubnetId"], "AllocationId": properties.get("AllocationId")})
        [gateway_id] = set(ec2._nat_gateways) - known
        return gateway_id, {"NatGatewayId": gateway_id}

    def delete(physical_id: str, properties: Properties) -> None:
        ec2._delete_nat_gateway({"NatGatewayId": physical_id})

    return {"create": create, "delete": delete}


def role_policy() -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::IAM::RolePolicy`: an inline policy of one role, enforced like any other."""
    from ministack.services import iam

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        answer = iam._put_role_policy(
            {
                "RoleName": properties["RoleName"],
                "PolicyName": properties["PolicyName"],
                "PolicyDocument": json.dumps(properties["PolicyDocument"]),
            }
        )
        if answer[0] >= 400:
            raise ValueError(f"{logical_id}: {answer[2]!r}")
        return f"{properties['PolicyName']}|{properties['RoleName']}", {}

    def delete(physical_id: str, properties: Properties) -> None:
        iam._delete_role_policy({"RoleName": properties["RoleName"], "PolicyName": properties["PolicyName"]})

    return {"create": create, "delete": delete}


def datastore(
    create_datastore: Callable[[str], str], delete_datastore: Callable[[str], None]
) -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::HealthImaging::Datastore`.

    `create_datastore` takes a name and returns the data store's id; Ref gives that id, as in the real service.
    """
    from ministack.core.responses import get_account_id, get_region

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        key = properties.get("KmsKeyArn")
        if key:
            require_service(key, "medical-imaging.amazonaws.com", customer_key.ACTIONS_OF_DATASTORE, {})
        datastore_id = create_datastore(properties.get("DatastoreName", f"{stack_name}-{logical_id}"))
        if key:
            customer_key.KEY_OF_DATASTORE[datastore_id] = key
        arn = f"arn:aws:medical-imaging:{get_region()}:{get_account_id()}:datastore/{datastore_id}"
        return datastore_id, {"DatastoreId": datastore_id, "DatastoreArn": arn, "DatastoreStatus": "ACTIVE"}

    def delete(physical_id: str, properties: Properties) -> None:
        delete_datastore(physical_id)

    return {"create": create, "delete": delete}


def alarm() -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::CloudWatch::Alarm`: ministack's own; an alarm on metric math, which it refuses, is recorded."""
    from ministack.services.cloudformation import provisioners

    known = provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"]
    noted = recorded("AWS::CloudWatch::Alarm")

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        handlers = noted if "Metrics" in properties else known
        created: Created = handlers["create"](logical_id, properties, stack_name)
        return created

    def update(physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Created:
        if "Metrics" in new:
            return physical_id, RECORDED_TYPES["AWS::CloudWatch::Alarm"](physical_id)
        updated: Created = known["update"](physical_id, old, new, stack_name, logical_id)
        return updated

    def delete(physical_id: str, properties: Properties) -> None:
        (noted if "Metrics" in properties else known)["delete"](physical_id, properties)

    return {**known, "create": create, "update": update, "delete": delete}


def log_group() -> dict[str, Callable[..., Any]]:
    """Handlers of `AWS::Logs::LogGroup`: ministack's own, once CloudWatch Logs may use the group's key."""
    from ministack.core.responses import get_account_id, get_region
    from ministack.services.cloudformation import provisioners

    known = provisioners._RESOURCE_HANDLERS["AWS::Logs::LogGroup"]

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        if key := properties.get("KmsKeyId"):
            arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{stack_name}-{logical_id}"
            context = {"kms:EncryptionContext:aws:logs:arn": arn}
            require_service(key, f"logs.{get_region()}.amazonaws.com", customer_key.ACTIONS_OF_LOGS, context)
        created: Created = known["create"](logical_id, properties, stack_name)
        return created

    return {**known, "create": create}


def register(create_datastore: Callable[[str], str], delete_datastore: Callable[[str], None]) -> None:
    """Add every missing type to the ministack of this process; one that ministack has learnt since is left to it."""
    from ministack.services.cloudformation import provisioners

    handlers = {
        "AWS::EC2::EIP": address(),
        "AWS::EC2::NatGateway": nat_gateway(),
        "AWS::EC2::SecurityGroupIngress": security_group_rule("IpPermissions"),
        "AWS::EC2::SecurityGroupEgress": security_group_rule("IpPermissionsEgress"),
        "AWS::IAM::RolePolicy": role_policy(),
        "AWS::HealthImaging::Datastore": datastore(create_datastore, delete_datastore),
        **{resource_type: recorded(resource_type) for resource_type in RECORDED_TYPES},
    }
    provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::Alarm"] = alarm()
    provisioners._RESOURCE_HANDLERS["AWS::Logs::LogGroup"] = log_group()
    for resource_type, handler in handlers.items():
        provisioners._RESOURCE_HANDLERS.setdefault(resource_type, handler)
