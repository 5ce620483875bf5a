"""Covers metering.py and product_code.py: what is sent, what is retried, and when the receiver may not run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.validate import validate_parameters

import storescp
from storescp.metering import ATTEMPTS, MEANINGS, MeteringError, register_usage
from storescp.product_code import built_in_product_code

KEYS = {"AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "secret/example", "Token": "session+token=="}


class Marketplace(ThreadingHTTPServer):
    """RegisterUsage, the task's credentials and its metadata on one loopback address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, bytes] | None] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.credential_headers: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Marketplace

    def do_GET(self) -> None:
        if self.path == "/creds":
            self.server.credential_headers.append(self.headers.get("Authorization"))
            self._answer(200, json.dumps(KEYS).encode())
        elif self.path == "/metadata/task":
            self._answer(200, b'{"TaskARN": "arn:aws:ecs:eu-west-2:111122223333:task/c/0123"}')
        else:
            self._answer(404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
        answer = self.server.answers.pop(0) if self.server.answers else (200, b'{"Signature": "jwt"}')
        if answer is None:
            self.close_connection = True
            return
        self._answer(*answer)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _marketplace() -> Iterator[Marketplace]:
    with Marketplace() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def marketplace() -> Iterator[Marketplace]:
    with _marketplace() as server:
        yield server


def _task(server: Marketplace, **more: str) -> dict[str, str]:
    return {
        "AWS_REGION": "eu-west-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/creds",
        "AWS_ENDPOINT_URL_MARKETPLACE_METERING": server.url,
        **more,
    }


def _error(name: str, status: int = 400) -> tuple[int, bytes]:
    return status, json.dumps({"__type": f"com.amazonaws.marketplace#{name}", "message": "…"}).encode()


def test_the_request_is_the_one_of_the_service_model_and_signed_as_botocore_signs_it(marketplace: Marketplace) -> None:
    register_usage("prodcode123", _task(marketplace))
    ((headers, body),) = marketplace.requests
    operation = botocore.session.get_session().get_service_model("meteringmarketplace").operation_model("RegisterUsage")
    sent = json.loads(body)
    validate_parameters(sent, operation.input_shape)
    assert sent["ProductCode"] == "prodcode123"
    assert sent["PublicKeyVersion"] == 1
    model = operation.service_model
    assert headers["x-amz-target"] == f"{model.metadata['targetPrefix']}.RegisterUsage"
    assert headers["content-type"] == f"application/x-amz-json-{model.metadata['jsonVersion']}"
    assert headers["authorization"] == _botocore_authorization(marketplace.url, headers, body, "eu-west-1")


def _botocore_authorization(url: str, headers: dict[str, str], body: bytes, region: str) -> str:
    names = ("content-type", "host", "x-amz-date", "x-amz-target", "x-amz-security-token", "x-amz-content-sha256")
    request = AWSRequest("POST", f"{url}/", {name: headers[name] for name in names if name in headers}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    keys = BotoCredentials(KEYS["AccessKeyId"], KEYS["SecretAccessKey"], headers.get("x-amz-security-token"))
    auth = SigV4Auth(keys, "aws-marketplace", region)
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    signed = auth.signed_headers(auth.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={signed}, Signature={signature}"


def test_credentials_of_the_environment_work_without_a_session_token(marketplace: Marketplace) -> None:
    environment = _task(
        marketplace, AWS_ACCESS_KEY_ID=KEYS["AccessKeyId"], AWS_SECRET_ACCESS_KEY=KEYS["SecretAccessKey"]
    )
    del environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    register_usage("prodcode123", environment)
    ((headers, body),) = marketplace.requests
    assert "x-amz-security-token" not in headers
    assert headers["authorization"] == _botocore_authorization(marketplace.url, headers, body, "eu-west-1")


def test_the_region_is_taken_from_the_task_metadata_when_nothing_sets_it(marketplace: Marketplace) -> None:
    environment = _task(marketplace, ECS_CONTAINER_METADATA_URI_V4=f"{marketplace.url}/metadata")
    del environment["AWS_REGION"]
    register_usage("prodcode123", environment)
    assert "/eu-west-2/aws-marketplace/" in marketplace.requests[0][0]["authorization"]


def test_the_credentials_endpoint_is_asked_with_its_authorization_token(
    marketplace: Marketplace, tmp_path: Path
) -> None:
    register_usage("prodcode123", _task(marketplace, AWS_CONTAINER_AUTHORIZATION_TOKEN="from-environment"))
    (tmp_path / "token").write_text("from-file\n")
    register_usage("c", _task(marketplace, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token")))
    assert marketplace.credential_headers == ["from-environment", "from-file"]


def test_throttling_and_a_lost_connection_are_tried_again_with_growing_waits(marketplace: Marketplace) -> None:
    marketplace.answers = [_error("ThrottlingException"), None, _error("ThrottlingException")]
    waits: list[float] = []
    register_usage("prodcode123", _task(marketplace), sleep=waits.append)
    assert len(marketplace.requests) == 4
    assert len({body for _, body in marketplace.requests}) == 1, "one nonce for one registration"
    assert [0 <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 3


def test_endless_throttling_ends_in_one_sentence(marketplace: Marketplace) -> None:
    marketplace.answers = [_error("ThrottlingException")] * (ATTEMPTS + 1)
    with pytest.raises(MeteringError, match=rf"in {ATTEMPTS} attempts: AWS Marketplace is throttling"):
        register_usage("prodcode123", _task(marketplace), sleep=lambda _: None)
    assert len(marketplace.requests) == ATTEMPTS


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_every_other_error_ends_the_start_at_once_with_its_meaning(marketplace: Marketplace, name: str) -> None:
    marketplace.answers = [_error(name, 500 if name.startswith("Internal") else 400)]
    with pytest.raises(MeteringError) as caught:
        register_usage("prodcode123", _task(marketplace), sleep=lambda _: None)
    assert str(caught.value) == f"Usage could not be registered: {MEANINGS[name]} ({name})."
    assert len(marketplace.requests) == 1


def test_every_error_of_the_service_model_has_a_meaning() -> None:
    model = botocore.session.get_session().get_service_model("meteringmarketplace")
    names = {shape.name for shape in model.operation_model("RegisterUsage").error_shapes}
    assert names - {"ThrottlingException"} <= set(MEANINGS)


def test_an_answer_that_is_not_aws_s_ends_in_one_sentence(marketplace: Marketplace) -> None:
    marketplace.answers = [(403, b"<html>proxy</html>")]
    with pytest.raises(MeteringError, match=r"refused the call \(HTTP 403\)\.$"):
        register_usage("prodcode123", _task(marketplace))


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("AWS_REGION", "The Region is unknown"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "There are no AWS credentials"),
    ],
)
def test_a_task_without_region_or_role_is_told_so(marketplace: Marketplace, missing: str, sentence: str) -> None:
    environment = _task(marketplace)
    del environment[missing]
    with pytest.raises(MeteringError, match=sentence):
        register_usage("prodcode123", environment)
    assert marketplace.requests == []


def test_a_credentials_endpoint_that_is_gone_is_named(marketplace: Marketplace) -> None:
    url = f"{marketplace.url}/nothing"
    with pytest.raises(MeteringError, match=f"{urlsplit(url).path} could not be read"):
        register_usage("prodcode123", _task(marketplace, AWS_CONTAINER_CREDENTIALS_FULL_URI=url))


def test_the_code_is_the_images_and_a_free_image_has_none(tmp_path: Path) -> None:
    code = tmp_path / "product_code.txt"
    assert built_in_product_code(code) == ""
    code.write_text("")
    assert built_in_product_code(code) == ""
    code.write_text("prodcode123\n")
    assert built_in_product_code(code) == "prodcode123"
    assert built_in_product_code() == ""


def test_a_receiver_that_is_not_entitled_exits_with_the_sentence_before_its_port_opens(
    marketplace: Marketplace, tmp_path: Path
) -> None:
    marketplace.answers = [_error("CustomerNotEntitledException")]
    built = tmp_path / "image/storescp"
    shutil.copytree(Path(storescp.__file__).parent, built)
    (built / "product_code.txt").write_text("prodcode123")
    environment = _task(marketplace, PRODUCT_CODE="", STORAGE_DIR=str(tmp_path), SCP_PORT="0", HEALTH_PORT="0")
    environment |= {"PYTHONPATH": str(built.parent)}
    ended = subprocess.run(
        [sys.executable, "-m", "storescp"],
        env=environment | {"BIND_ADDRESS": "127.0.0.1", "HEALTH_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    meaning = MEANINGS["CustomerNotEntitledException"]
    assert (ended.returncode, ended.stdout) == (1, "")
    sentence = f"Usage could not be registered: {meaning} (CustomerNotEntitledException)."
    assert ended.stderr == f"storescp: {sentence}\n"
    assert json.loads(marketplace.requests[0][1])["ProductCode"] == "prodcode123"
