"""Signature Version 4 (AWS General Reference, "Signing AWS API requests"). Nothing here does I/O.

The payload of a PUT is not hashed (`UNSIGNED_PAYLOAD`): TLS protects the bytes already, and hashing half a mebibyte
costs as much as everything else that is done for it.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What a request is signed with; those of a role have a session token."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a signature is good."""

    region: str
    service: str


def encode_path(path: str) -> str:
    """Encode a path as it is signed and sent: everything but unreserved characters and slashes."""
    return quote(path, safe="/-_.~")


def encode_query(parameters: Sequence[tuple[str, str]]) -> str:
    """Encode a query as it is signed and sent: sorted, with an `=` after every name."""
    return "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in parameters))


def signed_headers(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    keys: Keys,
    scope: Scope,
    utc_now: datetime,
    payload_hash: str = UNSIGNED_PAYLOAD,
) -> dict[str, str]:
    """Return `headers` and those that sign the request.

    `path` and `query` are encoded; names in `headers` are lower case, `host` is among them, and all are signed.
    `payload_hash` is the body's SHA-256 in hex, or `UNSIGNED_PAYLOAD`.
    """
    stamp = utc_now.strftime("%Y%m%dT%H%M%SZ")
    complete = {**headers, "x-amz-content-sha256": payload_hash, "x-amz-date": stamp}
    if keys.session_token:
        complete["x-amz-security-token"] = keys.session_token
    names = sorted(complete)
    joined = ";".join(names)
    lines = "".join([f"{name}:{complete[name]}\n" for name in names])
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{joined}\n{payload_hash}"
    day = stamp[:8]
    place = f"{day}/{scope.region}/{scope.service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{place}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(keys.secret_access_key, day, scope.region, scope.service)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    complete["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key_id}/{place}, SignedHeaders={joined}, Signature={signature}"
    )
    return complete


@lru_cache(maxsize=4)
def _signing_key(secret_access_key: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_access_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
