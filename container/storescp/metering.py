"""Register a paid subscriber's usage with AWS Marketplace, once, when the receiver starts.

Only a listing that charges by the task hour is built with a product code (`product_code.py`); without one
nothing here runs. AWS Marketplace's rules ("Configuring hourly metering with AWS Marketplace Metering Service"):
call RegisterUsage once at the start, signed by the ECS task role; on ThrottlingException try again, on anything
else the software has to exit. The Region is the task's own, never a fixed one.

One small request does not earn a dependency: it is signed as those to S3 are (`s3/signing.py`).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener, urlopen

from storescp.s3.signing import Keys, Scope, signed_headers

PUBLIC_KEY_VERSION = 1
ATTEMPTS = 8
LONGEST_WAIT_SECONDS = 30.0
REQUEST_TIMEOUT_SECONDS = 10.0
# Amazon ECS Developer Guide, "Task IAM role": the credentials' address is a path on this host.
ECS_CREDENTIALS_HOST = "http://169.254.170.2"

# AWS Marketplace Metering Service API Reference, RegisterUsage, "Errors".
MEANINGS = {
    "CustomerNotEntitledException": "this AWS account has no subscription to the product; subscribe on AWS "
    "Marketplace, then start the service again",
    "InvalidProductCodeException": "AWS Marketplace does not know the image's product code; the vendor has to publish "
    "a version with the right one",
    "InvalidPublicKeyVersionException": "AWS Marketplace does not know the vendor's public key version",
    "InvalidRegionException": "the call has to be made in the Region in which the task runs",
    "PlatformNotSupportedException": "usage can be registered on Amazon ECS, EKS and Fargate only, by a task role",
    "DisabledApiException": "AWS Marketplace has switched RegisterUsage off for this product",
    "InternalServiceErrorException": "AWS Marketplace has an internal error; the service will be started again",
    "AccessDeniedException": "the task role lacks aws-marketplace:RegisterUsage; it has to be the stack's own",
}


class MeteringError(Exception):
    """The receiver may not run. The message is one sentence that says why."""


class _TryAgainError(Exception):
    """Throttled, or no answer: the only two cases in which AWS lets us call again."""


def register_usage(
    product_code: str, environment: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Register this task's usage, or say why the receiver may not run.

    Args:
        product_code: from the listing, at most 255 characters.
        environment: the process's, as Amazon ECS sets it (credentials, Region, metadata address).
        sleep: what waits between attempts, seconds.

    Raises:
        MeteringError: not entitled, refused, or no answer within ATTEMPTS tries.
    """
    region = task_region(environment)
    endpoint = environment.get("AWS_ENDPOINT_URL_MARKETPLACE_METERING", "").rstrip("/")
    endpoint = endpoint or f"https://metering.marketplace.{region}.amazonaws.com"
    body = json.dumps(
        {"ProductCode": product_code, "PublicKeyVersion": PUBLIC_KEY_VERSION, "Nonce": str(uuid.uuid4())}
    ).encode()
    for attempt in range(ATTEMPTS):
        try:
            _post(sign(endpoint, body, region, credentials(environment), datetime.now(UTC)))
            return
        except _TryAgainError as reason:
            if attempt == ATTEMPTS - 1:
                raise MeteringError(
                    f"Usage could not be registered with AWS Marketplace in {ATTEMPTS} attempts: {reason}."
                ) from reason
        # Full jitter: tasks of one service start together and would be throttled together again.
        sleep(random.uniform(0, min(LONGEST_WAIT_SECONDS, 2.0**attempt)))


def task_region(environment: Mapping[str, str]) -> str:
    """The Region that the task runs in: what Fargate sets, else what the task's ARN says.

    Raises:
        MeteringError: neither is there.
    """
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region:
        return region
    metadata = environment.get("ECS_CONTAINER_METADATA_URI_V4")
    if metadata:
        arn = str(_get_json(f"{metadata}/task", {}).get("TaskARN", "")).split(":")
        if len(arn) > 3 and arn[3]:
            return arn[3]
    raise MeteringError("The Region is unknown: neither AWS_REGION nor the ECS task metadata names it.")


def credentials(environment: Mapping[str, str]) -> Keys:
    """The task role's credentials (Amazon ECS Developer Guide, "Task IAM role"), else those of the environment.

    Raises:
        MeteringError: there are none.
    """
    relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = ECS_CREDENTIALS_HOST + relative if relative else environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if url:
        found = _get_json(url, _authorization(environment))
        names = ("AccessKeyId", "SecretAccessKey", "Token")
    else:
        found, names = dict(environment), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    key, secret, token = (found.get(name) for name in names)
    if not key or not secret:
        raise MeteringError("There are no AWS credentials: the task needs its task role to register usage.")
    return Keys(key, secret, token or "")


def sign(endpoint: str, body: bytes, region: str, keys: Keys, utc_now: datetime) -> Request:
    """A RegisterUsage request with its Signature Version 4.

    Args:
        endpoint: URL without a path.
        body: the request in JSON 1.1.
        utc_now: when it is signed; a signature is good for five minutes.
    """
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": urlsplit(endpoint).netloc,
        "x-amz-target": "AWSMPMeteringService.RegisterUsage",
    }
    digest = hashlib.sha256(body).hexdigest()
    signed = signed_headers("POST", "/", "", headers, keys, Scope(region, "aws-marketplace"), utc_now, digest)
    return Request(f"{endpoint}/", data=body, headers=signed, method="POST")


def _post(request: Request) -> None:
    try:
        with urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:
            response.read()
    except HTTPError as answer:
        code = _error_code(answer)
        if code == "ThrottlingException":
            raise _TryAgainError("AWS Marketplace is throttling (ThrottlingException)") from answer
        meaning = MEANINGS.get(code, "AWS Marketplace refused the call")
        raise MeteringError(f"Usage could not be registered: {meaning} ({code}).") from answer
    except (URLError, HTTPException, OSError) as error:
        raise _TryAgainError(f"no answer from {request.host} ({_reason(error)})") from error


def _error_code(answer: HTTPError) -> str:
    """The exception's name in a JSON 1.1 error, which may carry a namespace: `com.amazon…#Name`."""
    try:
        name = json.loads(answer.read())["__type"]
    except (ValueError, KeyError, TypeError, HTTPException, OSError):
        return f"HTTP {answer.code}"
    return str(name).rsplit("#", 1)[-1].split(":", 1)[0]


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _authorization(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    token_file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if token_file:
        token = Path(token_file).read_text("utf-8").strip()
    return {"Authorization": token} if token else {}


def _get_json(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask the task's own metadata address, never through a proxy."""
    try:
        with build_opener(ProxyHandler({})).open(
            Request(url, headers=headers), timeout=REQUEST_TIMEOUT_SECONDS
        ) as response:
            found: dict[str, Any] = json.load(response)
            return found
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise MeteringError(f"The task's metadata at {url} could not be read: {_reason(error)}.") from error
