"""Somebody holds the receiver's keys: he can neither replace nor hide an acknowledged image, and what he adds is put
aside. Played on the local stack with its bucket policy enforced, against images that a real receiver acknowledged."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from storescp_cfn.local import dcmtk
from storescp_cfn.local.processes import free_port
from storescp_cfn.local.stack import REGION, DeployedStack, LocalStack
from storescp_cfn.local.study import synthetic_ct
from storescp_cfn.template import render

PATIENCE_SECONDS = 60


@dataclass
class Scene:
    """The stack, what it acknowledged, and the attacker's client to Amazon S3."""

    stack: LocalStack
    deployed: DeployedStack
    attacker: Any
    bytes_of: dict[str, bytes]

    @property
    def bucket(self) -> str:
        return self.deployed.landing_bucket

    @property
    def image(self) -> str:
        """The key of an acknowledged image."""
        return next(key for key in self.bytes_of if key.startswith("incoming/"))

    @property
    def batch(self) -> str:
        return self.image.split("/")[1]


def keys_of(stack: LocalStack, deployed: DeployedStack) -> dict[str, str]:
    """The keys that ECS would give the receiver's task."""
    described = stack.client("ecs").describe_task_definition(taskDefinition=deployed.task_definition)
    variables = stack.task_credentials(described["taskDefinition"]["taskRoleArn"])
    request = urllib.request.Request(
        variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        headers={"Authorization": variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        keys: dict[str, str] = json.load(answer)
    return keys


def contents(stack: LocalStack, bucket: str) -> dict[str, bytes]:
    s3 = stack.client("s3")
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {entry["Key"]: s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read() for entry in listed}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with LocalStack(render().to_json()) as stack:
        stack.start_aws()
        stack.create_stack()
        deployed, port = stack.deployed(), free_port()
        # The importer sleeps while the attacker is at work; otherwise there would be nothing left to attack.
        stack.client("lambda").put_function_concurrency(
            FunctionName=deployed.importer_function, ReservedConcurrentExecutions=0
        )
        stack.start_receiver(deployed, port)
        files = synthetic_ct(tmp_path_factory.mktemp("study"), slices=3, rows=16, columns=16)
        sent = dcmtk.store(files, "127.0.0.1", port, "STORESCP", "CT1", stack.folder, lambda _: None)
        assert all(one.acknowledged for one in sent)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(key.startswith("batches/") for key in contents(stack, deployed.landing_bucket)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        keys = keys_of(stack, deployed)
        attacker = boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=stack.endpoint_url,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["Token"],
        )
        yield Scene(stack, deployed, attacker, contents(stack, deployed.landing_bucket))


def _multipart(scene: Scene, **completion: Any) -> None:
    target = {"Bucket": scene.bucket, "Key": scene.image}
    upload = scene.attacker.create_multipart_upload(**target)["UploadId"]
    part = scene.attacker.upload_part(**target, UploadId=upload, PartNumber=1, Body=b"forged")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    scene.attacker.complete_multipart_upload(**target, UploadId=upload, MultipartUpload=parts, **completion)


def _put(scene: Scene, key: str, **headers: Any) -> None:
    scene.attacker.put_object(Bucket=scene.bucket, Key=key, Body=b"forged", **headers)


def _new(scene: Scene) -> str:
    return f"incoming/{scene.batch}/1.2/1.3/1.4.dcm"


ATTACKS: dict[str, tuple[Callable[[Scene], Any], set[str]]] = {
    "replace an image": (lambda s: _put(s, s.image), {"AccessDenied"}),
    "replace it, as the receiver creates": (lambda s: _put(s, s.image, IfNoneMatch="*"), {"PreconditionFailed"}),
    "replace it in parts": (_multipart, {"AccessDenied"}),
    "replace it in parts, as the receiver creates": (
        lambda s: _multipart(s, IfNoneMatch="*"),
        {"PreconditionFailed"},
    ),
    "replace it by a copy": (
        lambda s: s.attacker.copy_object(
            Bucket=s.bucket, Key=s.image, CopySource={"Bucket": s.bucket, "Key": f"batches/{s.batch}.json"}
        ),
        {"AccessDenied"},
    ),
    "delete an image": (lambda s: s.attacker.delete_object(Bucket=s.bucket, Key=s.image), {"AccessDenied"}),
    "delete a version of it": (
        lambda s: s.attacker.delete_object(Bucket=s.bucket, Key=s.image, VersionId="null"),
        {"AccessDenied"},
    ),
    "rewrite the manifest": (lambda s: _put(s, f"batches/{s.batch}.json"), {"AccessDenied"}),
    "delete the manifest": (
        lambda s: s.attacker.delete_object(Bucket=s.bucket, Key=f"batches/{s.batch}.json"),
        {"AccessDenied"},
    ),
    "create without the condition": (lambda s: _put(s, _new(s)), {"AccessDenied"}),
    "create with a key of his own": (
        lambda s: _put(s, _new(s), IfNoneMatch="*", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32),
        {"AccessDenied"},
    ),
    "create with another KMS key": (
        lambda s: _put(
            s,
            _new(s),
            IfNoneMatch="*",
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId="arn:aws:kms:us-east-1:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ),
        {"AccessDenied"},
    ),
    "create in an archive": (lambda s: _put(s, _new(s), IfNoneMatch="*", StorageClass="GLACIER"), {"AccessDenied"}),
    "write where the importer writes": (
        lambda s: _put(s, "split/x/1/1/1.dcm", IfNoneMatch="*"),
        {"AccessDenied"},
    ),
    "write into quarantine": (lambda s: _put(s, "quarantine/x", IfNoneMatch="*"), {"AccessDenied"}),
    "say that all is committed": (lambda s: _put(s, "commitments/results/x.json", IfNoneMatch="*"), {"AccessDenied"}),
    "read an image": (lambda s: s.attacker.get_object(Bucket=s.bucket, Key=s.image), {"AccessDenied"}),
    "list images": (lambda s: s.attacker.list_objects_v2(Bucket=s.bucket, Prefix="incoming/"), {"AccessDenied"}),
    "let images expire": (
        lambda s: s.attacker.put_bucket_lifecycle_configuration(
            Bucket=s.bucket,
            LifecycleConfiguration={
                "Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
            },
        ),
        {"AccessDenied"},
    ),
    "rewrite the policy": (
        lambda s: s.attacker.put_bucket_policy(Bucket=s.bucket, Policy='{"Version":"2012-10-17","Statement":[]}'),
        {"AccessDenied"},
    ),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_he_can_neither_replace_nor_hide_what_was_acknowledged(scene: Scene, what: str) -> None:
    attack, codes = ATTACKS[what]
    with pytest.raises(ClientError) as refused:
        attack(scene)
    assert refused.value.response["Error"]["Code"] in codes
    assert contents(scene.stack, scene.bucket) == scene.bytes_of


def test_nobody_else_writes_what_arrives_and_administrators_neither(scene: Scene) -> None:
    """An account's administrator has every permission; the bucket's policy binds him all the same."""
    iam = scene.stack.client("iam")
    iam.create_user(UserName="administrator")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="administrator", PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName="administrator")["AccessKey"]
    s3 = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=scene.stack.endpoint_url,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    assert s3.get_object(Bucket=scene.bucket, Key=scene.image)["Body"].read() == scene.bytes_of[scene.image]
    for target in (scene.image, _new(scene), f"batches/{scene.batch}.json", "split/x", "quarantine/x"):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket=scene.bucket, Key=target, Body=b"forged", IfNoneMatch="*")
    assert contents(scene.stack, scene.bucket) == scene.bytes_of


def test_what_he_adds_is_quarantined_and_the_images_are_imported(scene: Scene) -> None:
    added = [f"incoming/{scene.batch}/hello.txt", "incoming/nobodys-batch/1/2/3.dcm", "batches/nobodys.json"]
    for key in added:
        _put(scene, key, IfNoneMatch="*")
    functions = scene.stack.client("lambda")
    functions.delete_function_concurrency(FunctionName=scene.deployed.importer_function)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        functions.invoke(FunctionName=scene.deployed.importer_function)
        left = contents(scene.stack, scene.bucket)
        if not any(key.startswith(("incoming/", "batches/", "split/")) for key in left):
            break
        time.sleep(0.3)
    assert {key for key in left if not key.startswith("quarantine/")} == set()
    records = [json.loads(body) for body in left.values() if body != b"forged"]
    forged = [body for key, body in left.items() if body == b"forged"]
    assert len(forged) == len(added)
    assert len(records) == len(added)
    assert Path(scene.image).name not in json.dumps(records)
