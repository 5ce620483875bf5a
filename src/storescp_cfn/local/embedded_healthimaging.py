"""The emulator inside the embedded AWS: ministack's IAM, STS, S3 and EventBridge, in ministack's own process.

In the same process because only there the owner of an access key is known, a service can open a session for a
role, and an event may have a source that begins with `aws.`. These are private interfaces of ministack: its version
is pinned, and a test holds this module against it.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import copy_context
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config

from healthimaging_emulator.api import SERVICE_PRINCIPAL, Api
from healthimaging_emulator.errors import NotAuthenticated
from healthimaging_emulator.events import Event
from healthimaging_emulator.jobs import JobFailed
from healthimaging_emulator.object_store import S3ObjectStore
from healthimaging_emulator.scheduler import Clock, Scheduler
from healthimaging_emulator.server import EmulatorServer, Workers
from healthimaging_emulator.service import HealthImaging
from healthimaging_emulator.settings import Settings
from storescp_cfn.local import customer_key
from storescp_cfn.local.service_sessions import TrustDenied, open_session


def iam_authorizer(account: str, region: str) -> Callable[[str, str, str, Mapping[str, str]], bool]:
    """`authorize` by ministack's IAM, boundaries and session policies included. The root key may do everything."""
    from ministack.core.iam_evaluator import AuthError, EvalContext, evaluate, resolve_principal

    def authorize(access_key_id: str, action: str, resource_arn: str, context: Mapping[str, str]) -> bool:
        principal = resolve_principal(access_key_id, account)
        if isinstance(principal, AuthError):
            return False
        if principal.policies is None:
            return True
        evaluated = EvalContext(
            principal_arn=principal.arn,
            principal_type=principal.type,
            principal_account=principal.account,
            action=action,
            resource_arn=resource_arn,
            region=region,
            service_context={name.lower(): value for name, value in context.items()},
            principal_keys=principal.keys,
        )
        if evaluate(evaluated, principal.policies, *principal.limits).decision != "Allow":
            return False
        return customer_key.may_import(evaluated, principal.policies, principal.limits)

    return authorize


def iam_authenticator(account: str) -> Callable[[str, str, Mapping[str, str], bytes], None]:
    """`authenticate` by ministack's own check of signature, token and time; it does not check the root key's."""
    from ministack.core import iam_evaluator
    from ministack.core.router import extract_access_key_id

    def check(method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        url = urlsplit(target)
        raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        query = parse_qs(url.query, keep_blank_values=True)
        iam_evaluator.pin_signed_request(method, url.path, query, raw_headers)
        iam_evaluator.pin_signed_body(body)
        access_key_id = extract_access_key_id({"authorization": headers.get("Authorization", "")}, None)
        outcome = iam_evaluator.authenticate(access_key_id or "", account)
        if isinstance(outcome, iam_evaluator.AuthError):
            raise NotAuthenticated(outcome.code, outcome.message)

    def authenticate(method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        # ministack keeps the request under way in context variables: nothing of it may stay in this thread.
        copy_context().run(check, method, target, headers, body)

    return authenticate


def role_object_store(endpoint_url: str, region: str) -> Callable[[str, str], S3ObjectStore]:
    """`open_object_store` with a session of the data access role, if its trust policy lets HealthImaging have one."""

    session, making_a_client = boto3.session.Session(region_name=region), threading.Lock()
    config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 3})

    def open_object_store(role_arn: str, datastore_arn: str) -> S3ObjectStore:
        try:
            keys = open_session(role_arn, SERVICE_PRINCIPAL, datastore_arn)
        except TrustDenied as error:
            raise JobFailed(f"Access denied: {error}") from error
        with making_a_client:
            client = session.client(
                "s3",
                endpoint_url=endpoint_url,
                config=config,
                aws_access_key_id=keys.AccessKeyId,
                aws_secret_access_key=keys.SecretAccessKey,
                aws_session_token=keys.Token,
            )
        return S3ObjectStore(client)

    return open_object_store


def event_bus(account: str, region: str) -> Callable[[Event], None]:
    """`publish` to the default bus of ministack's EventBridge, which matches the rules and invokes their targets."""
    from ministack.core.responses import request_scope
    from ministack.services import eventbridge

    def publish(event: Event) -> None:
        entry = {**event, "Detail": json.dumps(event["Detail"])}
        with request_scope(account, region):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    return publish


def start(
    endpoint_url: str,
    account: str,
    region: str,
    port: int = 0,
    settings: Settings | None = None,
    clock: Clock | None = None,
) -> EmulatorServer:
    """Start the emulator in a process in which ministack runs, or is about to, at `endpoint_url`."""
    workers = Workers()
    service = HealthImaging(
        Scheduler(clock or time.time),
        role_object_store(endpoint_url, region),
        event_bus(account, region),
        workers.run,
        region,
        account,
        settings,
    )
    return EmulatorServer(Api(service, iam_authorizer(account, region), iam_authenticator(account)), workers, port)


def create_datastore(emulator: EmulatorServer, name: str) -> str:
    """Create a data store as CloudFormation does: no throttle, back when it is ACTIVE, with its id."""
    state = emulator.service.state
    with state.lock:
        created = emulator.service.datastores.create_datastore({"clientToken": uuid.uuid4().hex, "datastoreName": name})
    datastore_id = str(created["datastoreId"])
    while state.datastores[datastore_id].status == "CREATING":
        time.sleep(0.01)
    return datastore_id


def delete_datastore(emulator: EmulatorServer, datastore_id: str) -> None:
    """Delete a data store as CloudFormation does. Raises ServiceError: it holds image sets, or is not there."""
    with emulator.service.state.lock:
        emulator.service.datastores.delete_datastore({"datastoreId": datastore_id})
