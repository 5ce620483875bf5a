"""One way to an account: profile, Region and endpoint as the AWS CLI has them, and errors as sentences."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from storescp_cfn.account.errors import AccountError, error_of

CONNECT_SECONDS, READ_SECONDS = 5, 30
HEALTHIMAGING = "medical-imaging"


@dataclass
class Connection:
    """Clients of one account and Region; nothing is imported or asked before the first call.

    profile, region: None takes the AWS CLI's own default. endpoint_url: of every service, for a stack on this machine.
    """

    profile: str | None = None
    region_name: str | None = None
    endpoint_url: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _session: Any = None

    @property
    def session(self) -> Any:
        """The boto3 session. Raises AccountError: for an unknown profile."""
        with self._lock:
            if self._session is None:
                self._session = _new_session(self.profile, self.region_name)
            return self._session

    @property
    def region(self) -> str:
        """The Region. Raises AccountError: when none is chosen."""
        if not self.session.region_name:
            raise AccountError("No Region is chosen: add --region, for example --region us-east-1.")
        return str(self.session.region_name)

    @property
    def partition(self) -> str:
        """The partition of the Region, `aws` for all that HealthImaging is in."""
        return str(self.session.get_partition_for_region(self.region))

    def call(self, service: str, operation: str, **arguments: Any) -> Mapping[str, Any]:
        """Call `operation` (boto3's name, `describe_stacks`). Raises AccountError: with one sentence."""
        with self.errors(service):
            answer: Mapping[str, Any] = getattr(self.client(service), operation)(**arguments)
        return answer

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """Every entry below `key` of all pages of `operation`. Raises AccountError: with one sentence."""
        with self.errors(service):
            for page in self.client(service).get_paginator(operation).paginate(**arguments):
                yield from page.get(key, [])

    @contextmanager
    def errors(self, service: str) -> Iterator[None]:
        """Turn botocore's exceptions into ours, here and nowhere else."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise error_of(error, service, self.region_name or "") from error

    def client(self, service: str) -> Any:
        """The boto3 client of `service`; one is made for each."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._new_client(service)
            return self._clients[service]

    def _new_client(self, service: str) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 3},
            user_agent_extra="storescp-cfn",
            # HealthImaging's calls on image sets carry the host prefix "runtime-", which no local endpoint has.
            **({"inject_host_prefix": False} if self.is_local else {}),
        )
        return self.session.client(
            service, region_name=self.region, endpoint_url=self._endpoint(service), config=config
        )

    @property
    def is_local(self) -> bool:
        """Whether the calls go to another endpoint than AWS's own, as to a stack on this machine."""
        return bool(self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL"))

    def _endpoint(self, service: str) -> str | None:
        own = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}")
        return own or self.endpoint_url

    @property
    def dicomweb_url(self) -> str:
        """Where HealthImaging's DICOMweb services are (devguide, "Endpoints and quotas")."""
        return self._endpoint(HEALTHIMAGING) or f"https://dicom-medical-imaging.{self.region}.amazonaws.com"


def _new_session(profile: str | None, region_name: str | None) -> Any:
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.session.Session(profile_name=profile, region_name=region_name)
    except BotoCoreError as error:
        raise error_of(error) from error
