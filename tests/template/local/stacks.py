"""Stacks on the local AWS, for the tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storescp_cfn.local.stack import LocalStack

PATIENCE_SECONDS = 120
RETAINED_TYPES = {"AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::HealthImaging::Datastore", "AWS::Logs::LogGroup"}


@dataclass(frozen=True)
class Stacks:
    """Stacks in the account of the local AWS; `network` are parameters that all of them are given."""

    local: LocalStack
    network: Mapping[str, str]

    def upload(self, body: str) -> None:
        """Put a template where `run` finds it."""
        s3 = self.local.client("s3")
        s3.create_bucket(Bucket="templates")
        s3.put_object(Bucket="templates", Key="template", Body=body.encode())

    def events(self, name: str) -> list[dict[str, Any]]:
        pages = self.local.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=name)
        return [event for page in pages for event in page["StackEvents"]]

    def failures(self, name: str) -> list[str]:
        """What CloudFormation says of each resource that failed."""
        failed = [event for event in self.events(name) if event["ResourceStatus"].endswith("_FAILED")]
        return [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}" for event in failed]

    def run(self, action: str, name: str, parameters: Mapping[str, str]) -> str:
        """Create or update a stack and wait; return its status."""
        cloudformation = self.local.client("cloudformation")
        getattr(cloudformation, f"{action}_stack")(
            StackName=name,
            TemplateURL=f"{self.local.endpoint_url}/templates/template",
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in {**self.network, **parameters}.items()
            ],
            Capabilities=["CAPABILITY_IAM"],
        )
        return self.wait(name)

    def wait(self, name: str) -> str:
        cloudformation = self.local.client("cloudformation")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            status = str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
            if not status.endswith("_IN_PROGRESS"):
                return status
            time.sleep(0.2)
        raise AssertionError(f"{name} was not at rest after {PATIENCE_SECONDS} s")

    def resources(self, name: str) -> dict[str, tuple[str, str]]:
        """Type and physical id of each resource of a stack, by logical id."""
        pages = self.local.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
        return {
            resource["LogicalResourceId"]: (resource["ResourceType"], resource["PhysicalResourceId"])
            for page in pages
            for resource in page["StackResourceSummaries"]
        }

    def outputs(self, name: str) -> dict[str, str]:
        stack = self.local.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def delete(self, name: str) -> str:
        """Delete a stack and wait; return its last status."""
        cloudformation = self.local.client("cloudformation")
        stack_id = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        cloudformation.delete_stack(StackName=name)
        return self.wait(stack_id)

    def exists(self, kind: str, physical_id: str) -> bool:
        """Whether a retained resource is still there; raises the service's error where it is not."""
        if kind == "AWS::S3::Bucket":
            self.local.client("s3").head_bucket(Bucket=physical_id)
        elif kind == "AWS::DynamoDB::Table":
            self.local.client("dynamodb").describe_table(TableName=physical_id)
        elif kind == "AWS::HealthImaging::Datastore":
            self.local.client("medical-imaging").get_datastore(datastoreId=physical_id)
        else:
            groups = self.local.client("logs").describe_log_groups(logGroupNamePrefix=physical_id)["logGroups"]
            return physical_id in {group["logGroupName"] for group in groups}
        return True
