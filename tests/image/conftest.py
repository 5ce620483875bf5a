"""`make image-test`: the built image, run as Fargate runs it. `make test` leaves this folder out: it has no image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from storescp_cfn.local.processes import free_port
from storescp_cfn.local.stack import DeployedStack, LocalStack
from storescp_cfn.template import render
from tests.testkit.containers import Container, Limits

IMAGE = os.environ.get("STORESCP_IMAGE", "")
collect_ignore_glob = [] if IMAGE else ["test_*.py"]


@pytest.fixture(scope="session")
def image() -> str:
    return IMAGE


@dataclass(frozen=True)
class Task:
    """The rendered template's task as the stack made it, and how to start one more of it."""

    stack: LocalStack
    deployed: DeployedStack
    definition: dict[str, Any]
    start: Callable[[int], Container]

    @property
    def limits(self) -> Limits:
        return Limits(int(self.definition["cpu"]), int(self.definition["memory"]))


@pytest.fixture(scope="session")
def task(image: str) -> Iterator[Task]:
    with LocalStack(render().to_json()) as stack, ExitStack() as containers:
        stack.start_aws()
        stack.create_stack()
        deployed = stack.deployed()
        ecs = stack.client("ecs")
        definition = ecs.describe_task_definition(taskDefinition=deployed.task_definition)["taskDefinition"]

        def start(port: int) -> Container:
            environment = stack.receiver_environment(deployed, port)
            token = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
            limits = Limits(int(definition["cpu"]), int(definition["memory"]))
            container = containers.enter_context(Container(image, limits, environment, [f"{token}:{token}:ro"]))
            container.start()
            return container

        yield Task(stack, deployed, definition, start)


@dataclass(frozen=True)
class RunningTask:
    """One container of the task, and the port it listens on."""

    task: Task
    container: Container
    port: int


@pytest.fixture
def running(task: Task) -> Iterator[RunningTask]:
    port = free_port()
    with task.start(port) as container:
        yield RunningTask(task, container, port)
