"""One local stack for the tests of this folder: it is the product's own chain, and starting it takes seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from storescp_cfn.local import accounting, dcmtk
from storescp_cfn.local.processes import free_port
from storescp_cfn.local.stack import DeployedStack, LocalStack
from storescp_cfn.local.study import DicomFile
from storescp_cfn.template import render

PATIENCE_SECONDS = 90


@dataclass(frozen=True)
class RunningStack:
    stack: LocalStack
    deployed: DeployedStack
    port: int

    def send(self, files: Sequence[DicomFile], calling: str = "CT1") -> list[dcmtk.Sent]:
        title = self.deployed.outputs["DICOMAETitle"]
        return dcmtk.store(files, "127.0.0.1", self.port, title, calling, self.stack.folder, lambda sent: None)

    def settled(self, acknowledged: Sequence[str]) -> accounting.Account:
        """Wait until the chain is at rest and has all of `acknowledged`; return the account either way."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            account = accounting.read(self.stack, self.deployed)
            done = account.at_rest and not accounting.differences(acknowledged, account)
            if done or time.monotonic() > deadline:
                return account
            time.sleep(0.5)


@pytest.fixture(scope="package")
def running() -> Iterator[RunningStack]:
    with LocalStack(render().to_json()) as stack:
        stack.start_aws()
        stack.create_stack()
        deployed, port = stack.deployed(), free_port()
        stack.start_receiver(deployed, port)
        yield RunningStack(stack, deployed, port)
