"""Covers preflight_lambda/handler.py and facts.py: CloudFormation always gets an answer, and denials are waited out."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from preflight_lambda import handler
from preflight_lambda.facts import NotAllowed, Reader
from tests.preflight_lambda.test_sentences import GIVEN


class Mailbox(HTTPServer):
    """Takes what is PUT to it; answers 503 as often as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.answers: list[dict[str, Any]] = []
        self.content_types: list[str | None] = []
        self.failures = 0


class _Taker(BaseHTTPRequestHandler):
    server: Mailbox

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(503)
            return
        self.server.answers.append(json.loads(body))
        self.server.content_types.append(self.headers["Content-Type"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def event(mailbox: Mailbox, kind: str = "Create") -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": f"http://127.0.0.1:{mailbox.server_port}/answer",
        "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/StoreSCP/1",
        "RequestId": "request-1",
        "LogicalResourceId": "Preflight",
        "ResourceProperties": GIVEN,
    }


def refuse(service: str) -> Any:
    raise AssertionError(f"{service} is asked")


def test_a_deletion_is_never_stopped_and_nobody_is_asked(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "client", refuse)
    handler.handler({**event(mailbox, "Delete"), "PhysicalResourceId": "preflight"}, None)
    (answer,) = mailbox.answers
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "preflight")
    assert {name: answer[name] for name in ("StackId", "RequestId", "LogicalResourceId")} == {
        "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/StoreSCP/1",
        "RequestId": "request-1",
        "LogicalResourceId": "Preflight",
    }
    assert mailbox.content_types == [""]


def test_a_check_that_breaks_is_answered_too(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "client", refuse)
    handler.handler(event(mailbox), None)
    (answer,) = mailbox.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == "The check itself failed (AssertionError): nothing was created. Try again."


def test_an_answer_that_does_not_arrive_is_sent_again(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflight_lambda.handler.time.sleep", lambda _: None)
    mailbox.failures = 2
    handler.handler(event(mailbox, "Delete"), None)
    assert len(mailbox.answers) == 1


def test_many_findings_fit_into_an_answer(mailbox: Mailbox) -> None:
    handler.answer(event(mailbox), ["A sentence of some length about a resource."] * 500)
    (answer,) = mailbox.answers
    assert len(json.dumps(answer).encode()) < 4096
    assert answer["Reason"].startswith("A sentence")


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_a_rollback_is_never_stopped(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    cloudformation = boto3.client("cloudformation", region_name="us-east-1")
    stacks = [{"StackName": "StoreSCP", "CreationTime": "2026-11-24T00:00:00Z", "StackStatus": status}]
    with Stubber(cloudformation) as stubber:
        stubber.add_response("describe_stacks", {"Stacks": stacks})
        monkeypatch.setattr(
            handler, "client", lambda service: cloudformation if service == "cloudformation" else refuse(service)
        )
        handler.handler({**event(mailbox, "Update"), "PhysicalResourceId": "preflight"}, None)
    assert [answer["Status"] for answer in mailbox.answers] == ["SUCCESS"]


def stubbed(*responses: str | dict[str, Any]) -> tuple[Any, Stubber]:
    kms = boto3.client("kms", region_name="us-east-1")
    stubber = Stubber(kms)
    for response in responses:
        if isinstance(response, str):
            stubber.add_client_error("describe_key", response)
        else:
            stubber.add_response("describe_key", response)
    stubber.activate()
    return kms, stubber


def ask(kms: Any, seconds: float = 60) -> Any:
    slept: list[float] = []
    reader = Reader(lambda service: kms, slept.append, seconds)
    return reader.ask("kms", "describe_key", KeyId="k"), slept


def test_a_permission_that_is_not_known_everywhere_yet_is_waited_for() -> None:
    kms, stubber = stubbed("AccessDeniedException", "AccessDeniedException", {"KeyMetadata": {"KeyId": "k"}})
    found, slept = ask(kms)
    assert found["KeyMetadata"]["KeyId"] == "k"
    assert len(slept) == 2
    stubber.assert_no_pending_responses()


def test_a_permission_that_never_comes_leaves_it_unchecked() -> None:
    kms, _ = stubbed("AccessDeniedException")
    with pytest.raises(NotAllowed, match="AccessDeniedException"):
        ask(kms, seconds=-1)


@pytest.mark.parametrize("code", ["NotFoundException", "InvalidArnException", "ValidationException"])
def test_what_does_not_exist_is_no_error(code: str) -> None:
    kms, _ = stubbed(code)
    assert ask(kms)[0] is None


def test_an_outage_is_an_error() -> None:
    kms, _ = stubbed("KMSInternalException")
    with pytest.raises(ClientError):
        ask(kms)


def test_the_whole_source_answers_as_the_package_does(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function carries one composed file; it runs."""
    from storescp_cfn.template.composer import PREFLIGHT_PACKAGE, source_of

    module = types.ModuleType("index")
    monkeypatch.setitem(sys.modules, "index", module)  # where dataclasses look
    exec(compile(source_of(PREFLIGHT_PACKAGE), "index.py", "exec"), module.__dict__)
    composed: Callable[..., None] = module.__dict__["handler"]
    composed(event(mailbox, "Delete"), None)
    assert [answer["Status"] for answer in mailbox.answers] == ["SUCCESS"]
