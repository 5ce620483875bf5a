"""A stack made from the rendered template by CloudFormation on the embedded AWS; its receiver runs as its task says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storescp_cfn.local import LocalError, embedded_aws
from storescp_cfn.local.log_driver import LogDriver
from storescp_cfn.local.network import create_network
from storescp_cfn.local.processes import Child, free_port

REGION = "us-east-1"
STACK_NAME = "StoreSCP"
START_SECONDS = 60
STACK_SECONDS = 120
RECEIVER_STOP_SECONDS = 20

Environment = dict[str, str]


class LocalStackError(LocalError):
    """One sentence on what could not be started or created, and where its log is."""


@dataclass(frozen=True)
class DeployedStack:
    """The names of what the stack created, as the stack itself tells them."""

    outputs: Mapping[str, str]
    landing_bucket: str
    results_bucket: str
    ledger_table: str
    datastore_id: str
    importer_function: str
    task_definition: str


class LocalStack:
    """Context manager: the embedded AWS, the stack and the receiver; all of it is gone when it closes.

    `parameters` override the values given to the stack.
    """

    def __init__(self, template_body: str, parameters: Mapping[str, str] | None = None) -> None:
        self.template_body = template_body
        self.parameters = dict(parameters or {})
        self.folder = Path(tempfile.mkdtemp(prefix="storescp-"))
        self.aws_port = free_port()
        self.healthimaging_port = free_port()
        self.children: list[Child] = []
        self.receiver_child: Child | None = None
        self.log_driver: LogDriver | None = None
        self.health_port = 0

    def __enter__(self) -> LocalStack:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop everything; what was written is kept only where an error's sentence points to it."""
        impatience = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        if self.receiver_child is not None:
            self.receiver_child.stop(RECEIVER_STOP_SECONDS)
        if self.log_driver is not None:
            self.log_driver.stop()
        for child in reversed(self.children):
            child.stop(5)
        if kind is None or kind is KeyboardInterrupt:
            shutil.rmtree(self.folder, ignore_errors=True)
        signal.signal(signal.SIGINT, impatience)

    # -- the embedded AWS

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def healthimaging_url(self) -> str:
        return f"http://127.0.0.1:{self.healthimaging_port}"

    def client(self, service: str) -> Any:
        """A boto3 client with the operator's key; never handed to the code under test."""
        import boto3
        from botocore.config import Config

        url = self.healthimaging_url if service == "medical-imaging" else self.endpoint_url
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=url,
            aws_access_key_id=embedded_aws.ROOT_KEY,
            aws_secret_access_key=embedded_aws.ROOT_SECRET,
            config=Config(inject_host_prefix=False, retries={"mode": "standard"}),
        )

    def start_aws(self) -> None:
        """Start the embedded AWS and wait until it answers."""
        ready = self.folder / "ready.json"
        command = [sys.executable, "-m", "storescp_cfn.local.embedded_aws"]
        command += [str(self.aws_port), str(self.healthimaging_port), REGION, str(ready)]
        (self.folder / "tmp").mkdir()
        environment = self.environment() | {"TMPDIR": str(self.folder / "tmp")}
        child = Child(command, environment, self.folder / "embedded-aws.log")
        self.children.append(child)
        self.wait(START_SECONDS, child, "the embedded AWS", ready.exists)
        self.credentials_port = int(json.loads(ready.read_text())["credentials_port"])

    def wait(self, seconds: float, child: Child, what: str, done: Callable[[], bool]) -> None:
        """Wait until `done`, at most `seconds`; raise LocalStackError with the end of the log if it ends or is late."""
        deadline = time.monotonic() + seconds
        while not done():
            if not child.running or time.monotonic() > deadline:
                problem = "ended" if not child.running else f"was not ready within {seconds:.0f} s"
                raise LocalStackError(f"{what} {problem}; the end of {child.log}:\n{child.last_lines()}")
            time.sleep(0.05)

    @staticmethod
    def environment() -> Environment:
        """Our own environment without anything that could point a child at a real AWS account."""
        return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    # -- the stack

    def network_parameters(self) -> dict[str, str]:
        """Make a network as the guide asks; return the template's parameters that name it."""
        return create_network(self.client("ec2"), REGION).parameters()

    def create_stack(self, on_event: Callable[[Mapping[str, Any]], None] = lambda event: None) -> None:
        """Create the stack from the template through CloudFormation, telling each stack event as it comes."""
        s3, cloudformation = self.client("s3"), self.client("cloudformation")
        s3.create_bucket(Bucket="storescp-templates")
        s3.put_object(Bucket="storescp-templates", Key="template", Body=self.template_body.encode())
        values = self.network_parameters() | self.parameters
        cloudformation.create_stack(
            StackName=STACK_NAME,
            TemplateURL=f"{self.endpoint_url}/storescp-templates/template",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        status = self.follow(cloudformation, on_event)
        if status != "CREATE_COMPLETE":
            raise LocalStackError(f"The stack ended in {status}: {self.reasons(cloudformation)}")

    def follow(self, cloudformation: Any, on_event: Callable[[Mapping[str, Any]], None]) -> str:
        """Tell new stack events until the stack is at rest; return its status."""
        told: set[str] = set()
        deadline = time.monotonic() + STACK_SECONDS
        while True:
            status = str(cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]["StackStatus"])
            for event in self.events(cloudformation):
                if event["EventId"] not in told:
                    told.add(event["EventId"])
                    on_event(event)
            if not status.endswith("_IN_PROGRESS"):
                return status
            if time.monotonic() > deadline:
                raise LocalStackError(f"The stack was still {status} after {STACK_SECONDS} s")
            time.sleep(0.1)

    @staticmethod
    def events(cloudformation: Any) -> list[dict[str, Any]]:
        """All events of the stack, oldest first."""
        pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=STACK_NAME)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def reasons(self, cloudformation: Any) -> str:
        """Why resources failed, one sentence after the other."""
        failed = [event for event in self.events(cloudformation) if event["ResourceStatus"].endswith("FAILED")]
        return "; ".join(
            f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', 'no reason given')}" for e in failed
        )

    def physical_ids(self, resource_type: str) -> list[str]:
        """Physical ids of the stack's resources of one type."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK_NAME)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        return [r["PhysicalResourceId"] for r in resources if r["ResourceType"] == resource_type]

    def deployed(self) -> DeployedStack:
        """Ask the stack for the names of what it made."""
        stack = self.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        functions = self.client("lambda")
        for name in self.physical_ids("AWS::Lambda::Function"):
            variables = (
                functions.get_function_configuration(FunctionName=name).get("Environment", {}).get("Variables", {})
            )
            if "LEDGER_TABLE" in variables:
                return DeployedStack(
                    outputs={output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]},
                    landing_bucket=variables["LANDING_BUCKET"],
                    results_bucket=variables["RESULTS_BUCKET"],
                    ledger_table=variables["LEDGER_TABLE"],
                    datastore_id=variables["DATASTORE_ID"],
                    importer_function=name,
                    task_definition=self.physical_ids("AWS::ECS::TaskDefinition")[0],
                )
        raise LocalStackError("The stack has no function with a ledger")

    # -- the receiver

    def task_credentials(self, role_arn: str) -> Environment:
        """The variables by which ECS tells a task where to get the keys of its role."""
        task_arn = f"arn:aws:ecs:{REGION}:{embedded_aws.ACCOUNT}:task/{STACK_NAME}/local"
        endpoint = f"http://127.0.0.1:{self.credentials_port}"
        request = urllib.request.Request(
            f"{endpoint}/tasks", json.dumps({"role_arn": role_arn, "task_arn": task_arn}).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            token = json.load(answer)["token"]
        token_file = self.folder / "task-token"
        token_file.write_text(token)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{endpoint}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file),
        }

    def receiver_environment(self, deployed: DeployedStack, port: int) -> Environment:
        """What the task definition gives its container, but for the two ports, the address and the endpoints.

        A task has a network interface of its own; here all share loopback.
        """
        described = self.client("ecs").describe_task_definition(taskDefinition=deployed.task_definition)[
            "taskDefinition"
        ]
        self.health_port = free_port()
        container = described["containerDefinitions"][0]
        environment = {entry["name"]: str(entry["value"]) for entry in container["environment"]}
        environment |= self.task_credentials(described["taskRoleArn"])
        return environment | {
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "SCP_PORT": str(port),
            "HEALTH_PORT": str(self.health_port),
            "BIND_ADDRESS": "127.0.0.1",
        }

    def start_receiver(self, deployed: DeployedStack, port: int) -> None:
        """Run the receiver as the task definition says, as a process of this machine."""
        environment = self.environment() | self.receiver_environment(deployed, port)
        log = self.folder / "receiver.log"
        earlier_bytes = log.stat().st_size if log.exists() else 0
        child = Child([sys.executable, "-m", "storescp"], environment, log)
        self.receiver_child = child
        self.wait(START_SECONDS, child, "The receiver", self.receiver_ready)
        self.log_driver = LogDriver(self.client("logs"), deployed.outputs["ReceiverLogGroupName"], log, earlier_bytes)
        for target_group in self.physical_ids("AWS::ElasticLoadBalancingV2::TargetGroup"):
            targets = [{"Id": "127.0.0.1", "Port": port}]
            self.client("elbv2").register_targets(TargetGroupArn=target_group, Targets=targets)

    def require_running(self) -> None:
        """Raise LocalStackError when a process of the chain has ended by itself."""
        for child in [*self.children, *([self.receiver_child] if self.receiver_child else [])]:
            if not child.running:
                raise LocalStackError(f"A process ended by itself; the end of {child.log}:\n{child.last_lines()}")

    def receiver_ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2) as answer,
        ):
            return bool(answer.status == 200)
        return False
