"""How a person's own programs reach the stack on this machine: the AWS CLI, and the commands of this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from storescp_cfn.account.connection import Connection
from storescp_cfn.local import embedded_aws
from storescp_cfn.local.stack import REGION, LocalStack


def environment(stack: LocalStack) -> dict[str, str]:
    """The variables that point the AWS CLI and `storescp-cfn` at the local stack, with the operator's key."""
    return {
        "AWS_ENDPOINT_URL": stack.endpoint_url,
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": stack.healthimaging_url,
        # Image-set calls carry the host prefix "runtime-"; no name below 127.0.0.1 resolves.
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        "AWS_ACCESS_KEY_ID": embedded_aws.ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": embedded_aws.ROOT_SECRET,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


@contextmanager
def variables(stack: LocalStack) -> Iterator[None]:
    """These variables in our own environment, for as long as commands run in this process."""
    before = {name: os.environ.get(name) for name in environment(stack)}
    os.environ.update(environment(stack))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def connection(stack: LocalStack) -> Connection:
    """The way to the local stack; its keys come from `variables`."""
    return Connection(region_name=REGION, endpoint_url=stack.endpoint_url)


def export_line(stack: LocalStack) -> str:
    """One line for a shell."""
    return "export " + " ".join(f"{name}={value}" for name, value in environment(stack).items())
