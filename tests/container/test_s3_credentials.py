"""Covers credentials.py: keys that end early are fetched anew at once, and however many ask, once."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop

from storescp.s3.bucket import Bucket, open_bucket
from storescp.s3.credentials import Credentials, CredentialsUnavailable, FetchedKeys, find_source
from storescp.s3.signing import Keys
from storescp.store import StoreError
from tests.testkit.s3_sink import S3Sink

T = TypeVar("T")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Endpoint(ThreadingHTTPServer):
    """Answers what `pages` has for a method and path, in turn; the last one for ever."""

    daemon_threads = True

    def __init__(self, pages: dict[str, list[tuple[int, str]]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages = pages
        self.asked: list[tuple[str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        name = f"{self.command} {self.path}"
        self.server.asked.append((name, {key.lower(): value for key, value in self.headers.items()}))
        pages = self.server.pages.get(name, [(404, "")])
        status, text = pages.pop(0) if len(pages) > 1 else pages[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self) -> None:
        self.do_GET()


@contextlib.contextmanager
def endpoint(pages: dict[str, list[tuple[int, str]]]) -> Iterator[Endpoint]:
    server = Endpoint(pages)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def page(name: str, seconds: float = 3600) -> tuple[int, str]:
    expiration = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return 200, json.dumps(
        {"AccessKeyId": name, "SecretAccessKey": "a-secret", "Token": "a-token", "Expiration": expiration}
    )


def found(environment: dict[str, str]) -> FetchedKeys:
    async def main() -> FetchedKeys:
        return await find_source(environment, asyncio.get_running_loop())()

    return uvloop.run(main())


def test_the_environment_comes_first_then_the_container_then_the_instance(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    role = "/latest/meta-data/iam/security-credentials/"
    pages = {
        "GET /task?x=y": [page("TASK")],
        "PUT /latest/api/token": [(200, "a-metadata-token")],
        f"GET {role}": [(200, "the-role")],
        f"GET {role}the-role": [page("INSTANCE")],
    }
    with endpoint(pages) as server:
        instance = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url}
        container = {
            **instance,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/task?x=y",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "from-the-environment",
        }
        fixed = {**container, "AWS_ACCESS_KEY_ID": "FIXED", "AWS_SECRET_ACCESS_KEY": "a-secret"}
        assert found(fixed) == FetchedKeys(Keys("FIXED", "a-secret"), None)
        task = found(container)
        assert task.keys == Keys("TASK", "a-secret", "a-token")
        assert task.expires_at is not None
        assert server.asked[-1][1]["authorization"] == "from-the-environment"
        found({**container, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token")})
        assert server.asked[-1][1]["authorization"] == "from-a-file"
        assert found(instance).keys.access_key_id == "INSTANCE"
        assert server.asked[-1][1]["x-aws-ec2-metadata-token"] == "a-metadata-token"


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"AWS_EC2_METADATA_DISABLED": "true"}, "CredentialsNotFound"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://elsewhere.example/"}, "CredentialsEndpointNotAllowed"),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/none",
            },
            "CredentialsTokenFileUnreadable",
        ),
    ],
)
def test_what_is_in_the_way_is_a_word(environment: dict[str, str], code: str) -> None:
    with pytest.raises(CredentialsUnavailable, match=code):
        found(environment)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"AccessKeyId": "x"}', '{"AccessKeyId": "x", "SecretAccessKey": "y", "Expiration": "z"}']
)
def test_a_malformed_answer_is_refused_and_not_quoted(text: str) -> None:
    with (
        endpoint({"GET /": [(200, text)]}) as server,
        pytest.raises(CredentialsUnavailable, match="CredentialsMalformed"),
    ):
        found({"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/"})


class Script:
    """A source that says when it is asked, and a clock."""

    def __init__(self, *results: FetchedKeys | str) -> None:
        self.results = list(results)
        self.fetches = 0
        self.now = NOW

    async def __call__(self) -> FetchedKeys:
        self.fetches += 1
        await asyncio.sleep(0.01)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, str):
            raise CredentialsUnavailable(result)
        return result


def good(name: str, seconds: float = 3600) -> FetchedKeys:
    return FetchedKeys(Keys(name, "a-secret"), NOW + timedelta(seconds=seconds))


def drive(script: Script, work: Callable[[Credentials], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work(Credentials(script, asyncio.get_running_loop(), lambda: script.now))

    return uvloop.run(main())


def test_many_who_ask_at_once_are_served_by_one_fetch() -> None:
    async def work(credentials: Credentials) -> set[str]:
        names = await asyncio.gather(*(credentials.current() for _ in range(100)))
        credentials.refused(names[0])
        names += await asyncio.gather(*(credentials.current() for _ in range(100)))
        return {keys.access_key_id for keys in names}

    script = Script(good("A"), good("B"))
    # the second fetch is not sooner than a moment after the first
    assert drive(script, work) in ({"A"}, {"A", "B"})
    assert script.fetches <= 2


def test_refused_keys_are_replaced_at_once() -> None:
    async def work(credentials: Credentials) -> list[str]:
        first = await credentials.current()
        await asyncio.sleep(1.1)
        credentials.refused(first)
        return [first.access_key_id, (await credentials.current()).access_key_id]

    assert drive(Script(good("A"), good("B")), work) == ["A", "B"]


def test_one_who_gives_up_takes_the_keys_from_nobody() -> None:
    async def work(credentials: Credentials) -> str:
        impatient = asyncio.ensure_future(credentials.current())
        patient = asyncio.ensure_future(credentials.current())
        await asyncio.sleep(0)
        impatient.cancel()
        return (await patient).access_key_id

    script = Script(good("A"))
    assert drive(script, work) == "A"
    assert script.fetches == 1


def test_keys_are_renewed_ahead_of_their_end_and_serve_meanwhile() -> None:
    script = Script(good("A", 3600), "CredentialsHTTP500", good("B", 7200))

    async def work(credentials: Credentials) -> list[str]:
        names = [(await credentials.current()).access_key_id]
        credentials._last_fetch = float("-inf")  # long ago
        script.now = NOW + timedelta(seconds=3600 - 200)
        names.append((await credentials.current()).access_key_id)  # the endpoint fails, and nobody is hurt
        await asyncio.sleep(0.05)
        names.append((await credentials.current()).access_key_id)
        credentials._last_fetch = float("-inf")
        await credentials.current()
        await asyncio.sleep(0.05)
        names.append((await credentials.current()).access_key_id)
        return names

    assert drive(script, work) == ["A", "A", "A", "B"]
    assert script.fetches == 3


def test_keys_that_have_expired_are_not_used() -> None:
    script = Script(good("A", -1))

    async def work(credentials: Credentials) -> None:
        await credentials.current()

    with pytest.raises(CredentialsUnavailable, match="CredentialsExpired"):
        drive(script, work)


def stored_with(sink: S3Sink, server: Endpoint, number: int) -> list[str]:
    """Store objects all at once and return the codes of those that failed."""

    async def one(bucket: Bucket, key: str) -> str:
        try:
            await bucket.put(key, (memoryview(b"data"),))
        except StoreError as error:
            return error.code
        return ""

    async def main() -> list[str]:
        environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/task"}
        bucket = open_bucket("landing", sink.url, environment, 10, 4)
        codes = [await one(bucket, "first")]
        sink.accepted_keys = {"SECOND"}  # revoked, hours before their end
        await asyncio.sleep(1.1)
        codes += await asyncio.gather(*(one(bucket, f"key{index}") for index in range(number)))
        await bucket.close()
        return codes

    return uvloop.run(main())


def test_revoked_keys_cost_no_object() -> None:
    with S3Sink() as sink, endpoint({"GET /task": [page("FIRST", 6 * 3600), page("SECOND")]}) as server:
        assert stored_with(sink, server, 20) == [""] * 21
        assert len(sink.objects) == 21
        assert len(server.asked) == 2


def test_an_endpoint_without_other_keys_is_not_stormed() -> None:
    with S3Sink() as sink, endpoint({"GET /task": [page("FIRST", 6 * 3600)]}) as server:
        codes = stored_with(sink, server, 20)
        assert codes == ["", *["ExpiredToken"] * 20]
        assert len(server.asked) <= 3
