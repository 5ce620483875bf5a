"""A stack's whole life in an account, step by step; ends with a table and with what AWS does not document.

The same steps run in full against the local stack (test_rehearsal.py), so that they work the first time somebody has an
account. Whatever fails, the stack is deleted at the end.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storescp_cfn.account import changes, deletion, deploy, dicom_client, ledger, probe_study, verify, whereabouts
from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment, find
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.legs import LegFailed
from storescp_cfn.template import network_stack, render
from tests.live import measuring

SETTLE_SECONDS = 1800


@dataclass(frozen=True)
class Plan:
    """What is tried. peer_cidr: the network that this computer sends from."""

    peer_cidr: str
    certificate: str = ""
    slices: int = 1000
    stack: str = "StoreSCP-live"
    network: str = "StoreSCP-live-network"
    extra: dict[str, str] = field(default_factory=dict)


class Account:
    """The account, and what differs between a real one and the local stack."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def launched(self, deployment: Deployment) -> None:
        """The stack is complete: where tasks do not start by themselves, start one."""

    def kill_receiver(self, deployment: Deployment) -> None:
        """End one receiver without a word."""
        [cluster] = deployment.physical_ids("AWS::ECS::Cluster")
        task = self.connection.call("ecs", "list_tasks", cluster=cluster)["taskArns"][0]
        self.connection.call("ecs", "stop_task", cluster=cluster, task=task, reason="acceptance: kill")


@dataclass
class Result:
    """One step as it went."""

    name: str
    seconds: float
    text: str
    failed: bool = False


class StepFailed(Exception):
    """A step did not do what it promises."""


@dataclass
class Run:
    """What the steps share: studies whose images were acknowledged, and what was measured."""

    account: Account
    plan: Plan
    tell: Callable[[str], None]
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    left: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def connection(self) -> Connection:
        return self.account.connection

    def deployment(self) -> Deployment:
        return find(self.connection, self.plan.stack)

    def send(self, slices: int) -> None:
        """Send a study; note what was acknowledged and what was refused."""
        study = probe_study.make(slices)
        address = verify.address_of(self.deployment(), None, None)
        try:
            dicom_client.store(address, study.instances)
        except LegFailed:
            self.refused += 1  # the sender keeps it: nothing is promised
        else:
            self.acknowledged[study.study_instance_uid] = slices


def launch_network(run: Run) -> str:
    url = deploy.upload(run.connection, network_stack.render().to_json(), None)
    proposed = changes.propose(run.connection, run.plan.network, url, [], creates=True)
    require(changes.execute(proposed, run.tell).exit_status == 0, "the network was not made")
    return "VPC, subnets, NAT, endpoint, security group"


def launch(run: Run) -> str:
    template = render()
    form = template.to_dict()["Parameters"]
    values = deploy.of_network(run.connection, run.plan.network) | {"PeerCIDR1": run.plan.peer_cidr} | run.plan.extra
    if run.plan.certificate:
        values["TLSCertificateARN"] = run.plan.certificate
    elif "AllowUnencryptedInternet" in form:
        values.setdefault("AllowUnencryptedInternet", "true")  # synthetic images only
    url = deploy.upload(run.connection, template.to_json(), None)
    proposed = changes.propose(run.connection, run.plan.stack, url, deploy.given(values), creates=True)
    screen = changes.execute(proposed, run.tell)
    require(screen.exit_status == 0, "; ".join(line.text for line in screen.lines))
    run.facts["launch"] = measuring.launch(run.deployment())
    run.account.launched(run.deployment())
    return f"{len(proposed.changes)} resources"


def verify_it(run: Run) -> str:
    deployment = run.deployment()
    screen = verify.whole_chain(deployment, verify.address_of(deployment, None, None), run.tell)
    require(not screen.facts["not_tried"] and screen.exit_status == 0, screen.headline)
    run.facts["verify_seconds"] = {leg["name"]: leg["seconds"] for leg in screen.facts["legs"]}
    return screen.headline


def large_study(run: Run) -> str:
    run.send(run.plan.slices)
    require(run.refused == 0, "the study was refused")
    settle(run)
    return f"{run.plan.slices} slices imported"


def update(run: Run) -> str:
    deployment, template = run.deployment(), render()
    form = template.to_dict()["Parameters"]
    url = deploy.upload(run.connection, template.to_json(), None)
    parameters = deploy.updated(deployment, {"DIMSETimeout": "61"}, form)
    with_images_flowing(run, lambda: _update(run, url, parameters))
    settle(run)
    return f"{len(run.acknowledged)} studies so far, {run.refused} refused and still with the sender"


def _update(run: Run, url: str, parameters: Sequence[dict[str, Any]]) -> None:
    proposed = changes.propose(run.connection, run.plan.stack, url, parameters, creates=False)
    require(bool(proposed.name), "the update changes nothing")
    require(changes.execute(proposed, run.tell).exit_status == 0, "the update failed")


def kill(run: Run) -> str:
    with_images_flowing(run, lambda: run.account.kill_receiver(run.deployment()))
    settle(run)
    return f"{len(run.acknowledged)} studies so far, {run.refused} refused and still with the sender"


def delete(run: Run) -> str:
    run.facts |= measuring.imports(run.deployment())
    run.facts["store_dicom"] = measuring.store_dicom(run.deployment())
    run.facts["receiver"] = measuring.receiver(run.deployment())
    verify.remove_all(run.deployment())
    run.left = deletion.kept(run.deployment(), deletion.template_of(run.deployment()))
    require(deletion.delete(run.deployment(), run.tell).exit_status == 0, "the stack was not deleted")
    return f"{len(run.left)} resources are kept"


def leftovers(run: Run) -> str:
    require(bool(run.left), "nothing is kept: where are the images?")
    network = find(run.connection, run.plan.network)
    require(deletion.delete(network, run.tell).exit_status == 0, "the network was not deleted")
    return ", ".join(f"{name} {physical_id}" for name, _, physical_id in run.left)


STEPS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("network", launch_network),
    ("launch", launch),
    ("verify", verify_it),
    ("large study", large_study),
    ("update with images flowing", update),
    ("kill with images flowing", kill),
    ("delete", delete),
    ("what is left", leftovers),
)
ALWAYS = frozenset({"delete", "what is left"})


def require(condition: bool, sentence: str) -> None:
    """Raise StepFailed with the sentence, unless the condition holds."""
    if not condition:
        raise StepFailed(sentence)


def with_images_flowing(run: Run, action: Callable[[], None]) -> None:
    """Send small studies one after the other while something happens, and two more afterwards."""
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            run.send(2)

    sender = threading.Thread(target=send, name=f"sender-{uuid.uuid4().hex[:4]}")
    sender.start()
    try:
        action()
    finally:
        over.set()
        sender.join()
    before = len(run.acknowledged)
    for _ in range(60):
        run.send(2)
        if len(run.acknowledged) >= before + 2:
            return
        time.sleep(2)
    raise StepFailed("afterwards no image is taken any more")


def settle(run: Run) -> None:
    """Wait until every acknowledged image is imported. Raises StepFailed: when one is not, or is elsewhere."""
    book, deadline = ledger.of(run.deployment()), time.monotonic() + SETTLE_SECONDS
    open_studies = dict(run.acknowledged)
    while open_studies:
        for study, images in list(open_studies.items()):
            counts = whereabouts.StudyFacts("", parts=list(book.query(f"STUDY#{study}"))).counts
            require(counts["quarantined"] + counts["missing"] == 0, f"{study}: {dict(counts)}")
            if counts["imported"] >= images:
                del open_studies[study]
        require(time.monotonic() < deadline, f"{len(open_studies)} studies are not imported")
        time.sleep(1 if open_studies else 0)


def run(account: Account, plan: Plan, tell: Callable[[str], None], facts_file: Path) -> list[Result]:
    """All steps; after one that failed only the deletion. Writes the facts file, whatever happened."""
    current = Run(account, plan, tell)
    results: list[Result] = []
    for name, step in STEPS:
        if any(result.failed for result in results) and name not in ALWAYS:
            results.append(Result(name, 0.0, "not tried"))
            continue
        tell(f"== {name}")
        began = time.monotonic()
        try:
            text, failed = step(current), False
        except (StepFailed, AccountError, LegFailed) as error:
            text, failed = str(error), True
        results.append(Result(name, time.monotonic() - began, text, failed))
    document = measuring.behaviour(current.facts) | {"steps": [vars(result) for result in results]}
    facts_file.write_text(json.dumps(document, indent=2, default=str) + "\n")
    return results


def table(results: Sequence[Result]) -> str:
    """The steps and how they went."""
    rows = [f"{'FAILED' if r.failed else 'ok':<7} {r.seconds:8.1f} s  {r.name}: {r.text}" for r in results]
    return "\n".join(rows)
