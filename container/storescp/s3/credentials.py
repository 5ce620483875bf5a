"""The keys that requests are signed with, found the way AWS's SDKs find them, and renewed before they expire.

In order: the environment, the task's credentials endpoint (Amazon ECS Developer Guide, "Task IAM role"), the instance's
metadata, version 2 (Amazon EC2 User Guide, "Retrieve security credentials from instance metadata").
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from storescp.s3.connection import ExchangeFailed
from storescp.s3.fetch import fetch
from storescp.s3.signing import Keys

_CONTAINER_HOST: Final = "http://169.254.170.2"
_METADATA_HOST: Final = "http://169.254.169.254"
_ROLE_PATH: Final = "/latest/meta-data/iam/security-credentials/"
# Plain HTTP is for addresses that never leave the machine ("Container credential provider" of AWS's SDKs).
_PLAIN_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
_AHEAD_SECONDS: Final = 5 * 60.0  # before they expire, new ones are fetched while the old ones serve
_PATIENT_SECONDS: Final = 10.0  # between fetches that nobody waits for, or that bring the same keys again
_IMPATIENT_SECONDS: Final = 1.0  # between others


class CredentialsUnavailable(Exception):
    """There are no keys. `code` says why, in a word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """Keys, and when they expire (None: never)."""

    keys: Keys
    expires_at: datetime | None


Source = Callable[[], Awaitable[FetchedKeys]]


class Credentials:
    """The keys in force, shared by all callers: however many ask at once, they are fetched once."""

    def __init__(
        self,
        source: Source,
        loop: asyncio.AbstractEventLoop,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self._loop = loop
        self._utc_now = utc_now
        self._found: FetchedKeys | None = None
        self._refused: Keys | None = None  # the store does not take them any more
        self._fetching: asyncio.Task[None] | None = None
        self._last_fetch = float("-inf")
        self._brought_nothing_new = False

    async def current(self) -> Keys:
        """Return the keys in force; fetch them first if there are none that serve. Raises `CredentialsUnavailable`."""
        found = self._found
        if found is not None and found.keys != self._refused and self._seconds_left(found) > 0:
            if self._seconds_left(found) < _AHEAD_SECONDS and self._seconds_since_fetch() >= _PATIENT_SECONDS:
                self._fetch()  # and nobody waits for it
            return found.keys
        patience = _PATIENT_SECONDS if self._brought_nothing_new else _IMPATIENT_SECONDS
        if found is None or self._fetching is not None or self._seconds_since_fetch() >= patience:
            await asyncio.shield(self._fetch())
        if self._found is None or self._seconds_left(self._found) <= 0:
            raise CredentialsUnavailable("CredentialsExpired")
        return self._found.keys

    def refused(self, keys: Keys) -> None:
        """The store does not take `keys` any more: whoever asks next waits for others."""
        self._refused = keys

    def _seconds_since_fetch(self) -> float:
        return self._loop.time() - self._last_fetch

    def _seconds_left(self, found: FetchedKeys) -> float:
        return float("inf") if found.expires_at is None else (found.expires_at - self._utc_now()).total_seconds()

    def _fetch(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = self._loop.create_task(self._renew())
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # whoever waits for the keys hears of it; with old ones that serve, nobody needs to

    async def _renew(self) -> None:
        before = self._found
        self._last_fetch = self._loop.time()
        try:
            self._found = await self._source()
        except ExchangeFailed as error:
            raise CredentialsUnavailable(f"Credentials{error.code}") from None
        except ValueError:  # an address or a token that cannot be one
            raise CredentialsUnavailable("CredentialsMalformed") from None
        self._brought_nothing_new = before is not None and before.keys == self._found.keys


def find_source(environment: Mapping[str, str], loop: asyncio.AbstractEventLoop) -> Source:
    """Choose where keys come from; nothing is contacted."""
    key, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    if key and secret:
        return _Fixed(FetchedKeys(Keys(key, secret, environment.get("AWS_SESSION_TOKEN", "")), None))
    relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
    full = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    if relative or full:
        return _Container(f"{_CONTAINER_HOST}{relative}" if relative else full, environment, loop)
    return _Instance(environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "") or _METADATA_HOST, environment, loop)


class _Fixed:
    def __init__(self, found: FetchedKeys) -> None:
        self._found = found

    async def __call__(self) -> FetchedKeys:
        return self._found


class _Container:
    """The endpoint of a task, with the authorization that its environment names."""

    def __init__(self, url: str, environment: Mapping[str, str], loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        self._token = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        self._token_file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        self._loop = loop

    async def __call__(self) -> FetchedKeys:
        address = urlsplit(self._url)
        if address.scheme != "https" and address.hostname not in _PLAIN_HOSTS:
            raise CredentialsUnavailable("CredentialsEndpointNotAllowed")
        token = self._token
        if self._token_file:  # read every time: it is renewed
            try:
                token = Path(self._token_file).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise CredentialsUnavailable("CredentialsTokenFileUnreadable") from None
        headers = {"authorization": token} if token else {}
        return _read(await fetch(self._loop, "GET", self._url, headers))


class _Instance:
    """The metadata of an EC2 instance, version 2: a token first."""

    def __init__(self, host: str, environment: Mapping[str, str], loop: asyncio.AbstractEventLoop) -> None:
        self._host = host.rstrip("/")
        self._is_disabled = environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        self._loop = loop

    async def __call__(self) -> FetchedKeys:
        if self._is_disabled:
            raise CredentialsUnavailable("CredentialsNotFound")
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": "300"}
        token = await fetch(self._loop, "PUT", f"{self._host}/latest/api/token", ttl)
        headers = {"x-aws-ec2-metadata-token": token.decode("latin-1").strip()}
        role = (await fetch(self._loop, "GET", f"{self._host}{_ROLE_PATH}", headers)).decode("latin-1").split("\n")[0]
        return _read(await fetch(self._loop, "GET", f"{self._host}{_ROLE_PATH}{role.strip()}", headers))


def _read(document: bytes) -> FetchedKeys:
    """Read what the endpoints answer. Raises `CredentialsUnavailable`."""
    try:
        fields: dict[str, Any] = json.loads(document)
        keys = Keys(str(fields["AccessKeyId"]), str(fields["SecretAccessKey"]), str(fields.get("Token") or ""))
        expiration = fields.get("Expiration")
        expires_at = datetime.fromisoformat(str(expiration).replace("Z", "+00:00")) if expiration else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CredentialsUnavailable("CredentialsMalformed") from None
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=UTC)
    return FetchedKeys(keys, expires_at)
