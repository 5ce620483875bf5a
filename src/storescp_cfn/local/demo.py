"""`make demo` and `make up`: a real DICOM study through the whole chain, and an account of every image at the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from storescp_cfn.account import deployment as deployments
from storescp_cfn.account import quarantine, status
from storescp_cfn.account.screen import show
from storescp_cfn.account.words import counted
from storescp_cfn.local import LocalError, accounting, dcmtk, operator
from storescp_cfn.local.processes import require_free
from storescp_cfn.local.stack import STACK_NAME, DeployedStack, LocalStack, LocalStackError
from storescp_cfn.local.study import (
    DicomFile,
    files_of,
    pydicom_test_files,
    refused_and_warned,
    synthetic_ct,
    total_bytes,
)

CALLING_AE_TITLE, TROUBLED_AE_TITLE, TYPING_ERROR_AE_TITLE = "CT1", "MR1", "US3"
CT_SLICES = 60
# One task runs here, and devices with a typing error are turned away.
ONE_RECEIVER = {"TaskDesiredCount": "1", "RequireCalledAETitle": "true"}
SETTLE_SECONDS = 180
LISTED = 10
TOLD_STATES = frozenset({"IMPORTING", "SETTLED", "SPLIT", "INCOMPLETE", "COMPLETED", "FAILED"})
INTERRUPTED = 130  # as shells count a program that SIGINT ended


class NothingToSend(LocalError):
    """The folder holds no DICOM file that can be sent."""


class Interruption:
    """Ctrl-C as a signal handler that remembers.

    Python drops a KeyboardInterrupt that is raised inside a finaliser or a callback; `check` raises it again.
    """

    def __init__(self) -> None:
        self.happened = False

    def __call__(self, number: int, frame: object) -> None:
        self.happened = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if it has happened."""
        if self.happened:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class DemoRequest:
    """What was asked for: the DICOM port, a folder to send instead of the test study, whether to stay, every event."""

    port: int
    folder: Path | None = None
    stay: bool = False
    verbose: bool = False


class Demonstration:
    """One run: `run()` does it all once; `stay()` goes on telling what arrives until it is interrupted."""

    def __init__(self, template_body: str, request: DemoRequest, console: Console, interruption: Interruption) -> None:
        self.template_body = template_body
        self.port = request.port
        self.folder = request.folder
        self.verbose = request.verbose
        self.stays = request.stay
        self.console = console
        self.interruption = interruption

    # -- the whole, step by step

    def run(self) -> bool:
        """Return whether all that was acknowledged is imported or quarantined; where it stays, go on until Ctrl-C."""
        chosen = self.check()
        with LocalStack(self.template_body, {"SCPPort": str(self.port), **ONE_RECEIVER}) as stack:
            deployed = self.create(stack)
            files = chosen or self.default_study(stack.folder / "ct")
            self.echo(deployed)
            sent = self.send(stack, deployed, files, CALLING_AE_TITLE)
            if not chosen:
                sent += self.send_trouble(stack, deployed)
            agreed = self.account(stack, deployed, sent)
            self.show_commands(stack)
            if self.stays:
                self.stay(stack, deployed)
        return agreed

    def check(self) -> list[DicomFile]:
        """Refuse what can be refused before anything is started; return the files of the folder, if one was given."""
        dcmtk.program("echoscu")
        dcmtk.program("storescu")
        require_free(self.port, "end the program that uses it, or choose another port: make demo PORT=11113")
        if self.folder is None:
            return []
        with self.waiting(f"Reading {self.folder}"):
            files = files_of(self.folder)
        if not files:
            raise NothingToSend(f"There is no DICOM file below {self.folder}: name a folder with DICOM Part 10 files")
        return files

    def create(self, stack: LocalStack) -> DeployedStack:
        with self.waiting("Starting the embedded AWS"):
            stack.start_aws()
        with self.progress("Creating the stack from the rendered template, through CloudFormation") as tell:
            created = self.create_resources(stack, tell)
        self.print(f"  {created} resources created")
        deployed = stack.deployed()
        with self.waiting("Starting the receiver"):
            stack.start_receiver(deployed, self.port)
        self.step("Outputs")
        for name in ("NetworkLoadBalancerDNS", "DICOMPort", "DICOMAETitle"):
            self.print(f"  {name}: {deployed.outputs[name]}")
        self.print(f"  (on this machine the load balancer is 127.0.0.1, port {self.port})")
        return deployed

    def create_resources(self, stack: LocalStack, tell: Callable[[str], None]) -> int:
        """Create the stack; return how many resources that were. Verbose, every event is a line."""
        complete: set[str] = set()

        def on_event(event: Mapping[str, Any]) -> None:
            if self.verbose:
                self.tell_event(event)
            if event["ResourceStatus"] == "CREATE_COMPLETE" and event["LogicalResourceId"] != event["StackName"]:
                complete.add(event["LogicalResourceId"])
                tell(f"Creating the stack: {len(complete)} resources created")

        stack.create_stack(on_event)
        return len(complete)

    def default_study(self, folder: Path) -> list[DicomFile]:
        with self.waiting(f"Drawing a CT of {CT_SLICES} slices"):
            distinct = {file.sop_instance_uid: file for file in pydicom_test_files()}
            return [*distinct.values(), *synthetic_ct(folder, CT_SLICES)]

    def echo(self, deployed: DeployedStack) -> None:
        trouble = dcmtk.echo("127.0.0.1", self.port, deployed.outputs["DICOMAETitle"], CALLING_AE_TITLE)
        if trouble:
            raise LocalStackError(f"C-ECHO failed: {trouble}")
        self.step("C-ECHO with dcmtk's echoscu: success")

    def send_trouble(self, stack: LocalStack, deployed: DeployedStack) -> list[dcmtk.Sent]:
        """What every archive meets: an image that is refused, one with a warning, a device with a typing error."""
        wrong_title = deployed.outputs["DICOMAETitle"].replace("E", "", 1)
        self.step(f"And what goes wrong: a refused image, one with a warning, a device that calls {wrong_title}")
        dcmtk.echo("127.0.0.1", self.port, wrong_title, TYPING_ERROR_AE_TITLE)
        return self.send(stack, deployed, refused_and_warned(stack.folder / "trouble"), TROUBLED_AE_TITLE)

    def show_commands(self, stack: LocalStack) -> None:
        """What a person who looks after it sees: the two commands, on this stack."""
        connection = operator.connection(stack)
        with operator.variables(stack):
            deployment = deployments.find(connection, STACK_NAME)
            for command, screen in (
                ("storescp-cfn status", status.overview(deployment)),
                ("storescp-cfn quarantine list", quarantine.show_list(deployment, quarantine.Selection())),
                ("storescp-cfn warnings list", quarantine.show_warnings(deployment, quarantine.Selection())),
            ):
                self.print("")
                self.step(f"$ {command}")
                show(screen, json_wanted=False, stream=self.console.file)

    def send(
        self, stack: LocalStack, deployed: DeployedStack, files: Sequence[DicomFile], calling: str
    ) -> list[dcmtk.Sent]:
        title, done = deployed.outputs["DICOMAETitle"], 0
        text = (
            f"{calling} sends {counted(len(files), 'file')} ({total_bytes(files) / 1e6:.0f} MB) with dcmtk's storescu"
        )
        with self.progress(text) as tell:

            def on_sent(_: dcmtk.Sent) -> None:
                nonlocal done
                done += 1
                tell(f"Sending: {done} of {len(files)}")

            return dcmtk.store(files, "127.0.0.1", self.port, title, calling, stack.folder, on_sent)

    def account(self, stack: LocalStack, deployed: DeployedStack, sent: Sequence[dcmtk.Sent]) -> bool:
        """Follow the batches until all is settled, then print the table; return whether it all agrees."""
        acknowledged = accounting.promised(sent)
        account = self.follow(stack, deployed, acknowledged)
        self.tell_account(sent, account)
        sentences = accounting.differences(acknowledged, account)
        if unsettled := sum(not outcome.unreadable and not outcome.acknowledged for outcome in sent):
            sentences.append(f"{unsettled} instances were not acknowledged")
        if not account.at_rest:
            sentences.append(f"Not at rest, and nothing moved for {SETTLE_SECONDS} s: {account.progress}")
        for sentence in sentences:
            self.console.print(f"  {sentence}", highlight=False, markup=False, soft_wrap=True)
        self.step("Not everything agrees" if sentences else "Every acknowledged instance is imported or quarantined")
        return not sentences

    def follow(self, stack: LocalStack, deployed: DeployedStack, acknowledged: Sequence[str]) -> accounting.Account:
        """Wait until every acknowledged instance is settled and all is at rest; tell each step of batches and jobs."""
        told: dict[str, str] = {}
        progress = accounting.Progress()
        deadline = time.monotonic() + SETTLE_SECONDS
        with self.waiting("Waiting for the batch to close and its import job to complete"):
            while True:
                before, progress = progress, accounting.read_progress(stack, deployed)
                self.tell_changes(told, progress)
                if progress != before:
                    deadline = time.monotonic() + SETTLE_SECONDS
                late = time.monotonic() > deadline
                if progress.at_rest or late:
                    account = accounting.read(stack, deployed)
                    if late or (account.at_rest and not accounting.differences(acknowledged, account)):
                        return account
                stack.require_running()
                self.interruption.check()
                time.sleep(1)

    def stay(self, stack: LocalStack, deployed: DeployedStack) -> None:
        """Tell what arrives until Ctrl-C."""
        title = deployed.outputs["DICOMAETitle"]
        self.step(f"Ready for any DICOM program: 127.0.0.1, port {self.port}, Called AE Title {title}. Ctrl-C ends it.")
        self.print("The AWS CLI and storescp-cfn reach this stack from another terminal after this line:")
        self.print(operator.export_line(stack))
        seen = accounting.read_progress(stack, deployed)
        told = dict(seen.batches) | seen.jobs
        while True:
            time.sleep(1)
            self.interruption.check()
            stack.require_running()
            progress = accounting.read_progress(stack, deployed)
            self.tell_changes(told, progress)
            if progress.at_rest and progress != seen:
                self.tell_account([], accounting.read(stack, deployed))
                seen = progress

    # -- how it is told

    def step(self, text: str) -> None:
        self.interruption.check()
        self.console.print(f"[bold]{text}[/bold]", highlight=False, soft_wrap=True)

    def print(self, text: str) -> None:
        """One plain line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """A step whose one line moves on a terminal, and stands still elsewhere; gives what changes it."""
        self.step(text)
        if not self.console.is_terminal:
            yield lambda text: None
            return
        with self.console.status(text) as status:
            yield status.update

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner on a terminal; one plain line elsewhere."""
        if self.console.is_terminal:
            with self.console.status(text):
                yield
        else:
            self.console.print(f"{text} ...", highlight=False, soft_wrap=True)
            yield

    def tell_event(self, event: Mapping[str, Any]) -> None:
        line = f"  {event['ResourceStatus']:<20} {event['LogicalResourceId']} ({event['ResourceType']})"
        if self.console.is_terminal:  # one line an event, however narrow
            self.console.print(line, highlight=False, no_wrap=True, overflow="ellipsis", crop=True)
        else:
            self.console.print(line, highlight=False, soft_wrap=True)

    def tell_account(self, sent: Sequence[dcmtk.Sent], account: accounting.Account) -> None:
        self.step("Where every image is")
        self.console.print(summary(sent, account))
        for line in remarks(sent, account):
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def tell_changes(self, told: dict[str, str], progress: accounting.Progress) -> None:
        """Print every batch and job that is not in the state told last; what lasts a moment only is passed over."""
        for kind, states in (("batch", progress.batches), ("job", progress.jobs)):
            for name, state in states.items():
                if told.get(name) != state and state in TOLD_STATES:
                    told[name] = state
                    self.console.print(f"  {kind} {name}: {state}", highlight=False, soft_wrap=True)


def summary(sent: Sequence[dcmtk.Sent], account: accounting.Account) -> Table:
    """The one table at the end."""
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    if sent:
        table.add_row("files", str(len(sent)))
        table.add_row("not readable by dcmtk", str(sum(outcome.unreadable for outcome in sent)))
        table.add_row("sent", str(sum(not outcome.unreadable for outcome in sent)))
        table.add_row("acknowledged", str(sum(outcome.acknowledged for outcome in sent)))
    table.add_row("stored", str(len(account.stored)))
    table.add_row("imported", str(len(account.imported)))
    table.add_row("of them with a warning", str(len(account.warned)))
    table.add_row("quarantined", str(len(account.quarantined)))
    table.add_row("image sets", str(account.image_sets))
    table.add_row("import jobs", str(len(account.progress.jobs)))
    return table


def remarks(sent: Sequence[dcmtk.Sent], account: accounting.Account) -> list[str]:
    """What was not acknowledged and what was quarantined, each with its reason; long lists are counted."""
    unread = [
        f"{outcome.file.path.name}: {outcome.status.removeprefix(dcmtk.NOT_SENT + ': ')}"
        for outcome in sent
        if outcome.unreadable
    ]
    refused = [
        f"{outcome.file.path.name}: {outcome.status}"
        for outcome in sent
        if not outcome.unreadable and not outcome.acknowledged
    ]
    reasons = Counter(account.quarantined.values())
    lines = shortened("Not sent, because dcmtk cannot read the file:", unread)
    lines += shortened("Not acknowledged, and still with the sender:", refused)
    lines += shortened("Quarantined:", [f"{count} × {reason}" for reason, count in reasons.most_common()])
    warnings = Counter(account.warned.values())
    lines += shortened("Imported, original kept:", [f"{count} × {reason}" for reason, count in warnings.most_common()])
    return lines


def shortened(title: str, lines: Sequence[str]) -> list[str]:
    """The title and at most LISTED lines; nothing when there are none."""
    if not lines:
        return []
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [title, *(f"  {line}" for line in lines[:LISTED]), *more]


def demonstrate(template_body: str, request: DemoRequest) -> int:
    """Run the demonstration; return the exit status: 0 all agreed, 1 not.

    Interrupted, it ends the process itself: with 130, or with 0 where it was to stay.
    """
    console = Console()
    interruption = Interruption()
    signal.signal(signal.SIGINT, interruption)
    signal.signal(signal.SIGTERM, interruption)
    try:
        return 0 if Demonstration(template_body, request, console, interruption).run() else 1
    except KeyboardInterrupt:
        console.print("Ended; nothing is left running.")
        leave(0 if request.stay else INTERRUPTED)


def leave(status: int) -> NoReturn:
    """End the process now, without Python's own tidying.

    An exception out of a signal handler can leave a library's lock held (a queue of urllib3's, for one), and the
    finaliser that wants it waits for ever. Once a KeyboardInterrupt has passed through `exec` of a string, as
    `namedtuple` calls it, `python -m` ends itself with SIGINT, even if it was handled.
    """
    sys.stdout.flush()
    os._exit(status)
