"""What a trial of the roles sends through the running chain, and how it tells whether all of it worked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from storescp_cfn.local import dcmtk, embedded_aws
from storescp_cfn.local.stack import REGION, DeployedStack, LocalStack
from storescp_cfn.local.study import DicomFile, synthetic_ct

ROUNDS = 20  # of the importer; an intact chain is done after about six
PAUSE_SECONDS = 0.25
SLICES = 3


@dataclass(frozen=True)
class Piece:
    """What is taken away: a whole statement (`part` empty), or one of its actions or resources."""

    policy: str
    sid: str
    part: str = ""

    def without(self, document: dict[str, Any], parts: dict[str, str]) -> dict[str, Any]:
        """The policy document without this piece; `parts` translates resources' logical names to what is in it."""
        statements = []
        for statement in document["Statement"]:
            if statement["Sid"] != self.sid:
                statements.append(statement)
            elif self.part:
                gone = parts.get(self.part, self.part)
                lists = {key: [value for value in statement[key] if value != gone] for key in ("Action", "Resource")}
                left = {**statement, **lists}
                assert left != statement, self
                statements.append(left)
        return {**document, "Statement": statements}


def study_of(file: DicomFile) -> str:
    """The Study Instance UID of a file."""
    return str(pydicom.dcmread(file.path, stop_before_pixels=True).StudyInstanceUID)


@dataclass
class Trials:
    """The running chain, and what a trial does with it."""

    stack: LocalStack
    deployed: DeployedStack
    port: int
    physical: dict[str, str]
    asked: set[str] = field(default_factory=set)  # storage commitment requests
    answered: set[str] = field(default_factory=set)

    @property
    def parts(self) -> dict[str, str]:
        """What a piece's resource is called in the deployed policies."""
        arns = {
            "LandingBucket": f"arn:aws:s3:::{self.physical['LandingBucket']}",
            "ResultsBucket": f"arn:aws:s3:::{self.physical['ResultsBucket']}",
        }
        table = f"arn:aws:dynamodb:{REGION}:{embedded_aws.ACCOUNT}:table/{self.physical['Ledger']}"
        indexes = {f"Ledger/index/{name}": f"{table}/index/{name}" for name in ("Unsettled", "Open")}
        return (
            arns
            | indexes
            | {
                f"{name}/{prefix}/*": f"{arn}/{prefix}/*"
                for name, arn in arns.items()
                for prefix in (
                    "incoming",
                    "batches",
                    "quarantine",
                    "jobs",
                    "split",
                    "commitments",
                    "commitments/results",
                )
            }
        )

    @contextmanager
    def lacking(self, piece: Piece) -> Iterator[None]:
        """Take a piece out of the deployed policy, and put it back."""
        client, arn = self.stack.client("iam"), self.physical[piece.policy]
        version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = client.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        lesser = piece.without(document, self.parts)
        if not lesser["Statement"]:
            lesser["Statement"] = [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
        self.replace(arn, lesser)
        try:
            yield
        finally:
            self.replace(arn, document)

    def replace(self, arn: str, document: dict[str, Any]) -> None:
        """Make a document the policy's only version: it may have five."""
        client = self.stack.client("iam")
        earlier = client.list_policy_versions(PolicyArn=arn)["Versions"]
        client.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
        for version in earlier:
            client.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])

    def study(self, folder: Path) -> list[DicomFile]:
        """Slices of one study, of which HealthImaging refuses the last."""
        files = synthetic_ct(folder, slices=SLICES, rows=16, columns=16)
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(files[-1].path)
            dataset.StudyDescription = "x" * 300
            dataset.save_as(files[-1].path)
        return files

    def runs(self, folder: Path) -> bool:
        """Send both studies and drive the importer; whether all is acknowledged, settled, answered and tidied up."""
        single, files = synthetic_ct(folder / "single", slices=1, rows=16, columns=16), self.study(folder / "split")
        pair = synthetic_ct(folder / "pair", slices=2, rows=16, columns=16)
        for study in (single, pair, files):
            if not self.are_sent(study) or not self.is_batch_closed(study[0]):
                return False
        steps = [
            lambda: self.is_stored(single[0]),
            lambda: self.is_imported(pair[0]),
            lambda: self.is_settled(study_of(files[0])),
            lambda: self.is_committed(single[0]),
        ]
        for _ in range(ROUNDS):
            while steps and steps[0]():
                steps.pop(0)
            if not steps:
                return True
            self.stack.client("lambda").invoke(FunctionName=self.deployed.importer_function)
            time.sleep(PAUSE_SECONDS)
        return False

    def are_sent(self, files: list[DicomFile]) -> bool:
        """Whether the receiver acknowledges all of them, over one association."""
        sent = dcmtk.store(files, "127.0.0.1", self.port, "STORESCP", "CT1", self.stack.folder, lambda _: None)
        return all(outcome.acknowledged for outcome in sent)

    def is_batch_closed(self, file: DicomFile) -> bool:
        """Wait until the batch of an image is closed, so that the next study is not part of it."""
        for _ in range(ROUNDS):
            batches = {key.split("/")[1] for key in self.landing_keys("incoming/") if study_of(file) in key}
            if not batches or any(f"batches/{batch}.json" in self.landing_keys("batches/") for batch in batches):
                return True  # or the importer was faster than we
            time.sleep(PAUSE_SECONDS)
        return False

    def is_stored(self, file: DicomFile) -> bool:
        """The ledger says that the image is imported, and no job was started for it."""
        items = self.items_of_study(study_of(file))
        batches = [self.item(f"BATCH#{item['batch']['S']}", "BATCH") for item in items]
        return (
            sum(int(item["imported"]["N"]) for item in items) == 1
            and all(item["state"]["S"] == "SETTLED" for item in items)
            and [batch["jobs_started"]["N"] for batch in batches] == ["0"]
            and not any(study_of(file) in key for key in self.landing_keys())
        )

    def is_imported(self, file: DicomFile) -> bool:
        """The ledger says that both images of a pair are imported, and their originals are gone."""
        items = self.items_of_study(study_of(file))
        imported = sum(int(item["imported"]["N"]) for item in items)
        return imported == 2 and not any(study_of(file) in key for key in self.landing_keys())

    def is_committed(self, file: DicomFile) -> bool:
        """Ask for storage commitment as the receiver does, take the answer, and see what was asked go."""
        s3, bucket = self.stack.client("s3"), self.deployed.landing_bucket
        dataset = pydicom.dcmread(file.path, stop_before_pixels=True)
        request = f"CT1-{dataset.SOPInstanceUID}"
        keys = {kind: f"commitments/{kind}/{request}.json" for kind in ("requests", "results", "delivered")}
        there = set(self.landing_keys("commitments/"))
        if request in self.asked:
            if keys["results"] in there and keys["delivered"] not in there:
                s3.put_object(Bucket=bucket, Key=keys["delivered"], Body=b'{"delivered_at": "2026-11-24T10:00:00Z"}')
                self.answered.add(request)
            return request in self.answered and not there & set(keys.values())
        self.asked.add(request)
        instances = [[str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)]]
        fields = {"schema": 1, "id": request, "transaction_uid": str(dataset.SOPInstanceUID), "instances": instances}
        fields |= {"calling_ae_title": "CT1", "called_ae_title": "STORESCP"}
        fields |= {"received_at": "2026-11-24T10:00:00.000Z", "timeout_at": "2099-01-01T00:00:00.000Z"}
        s3.put_object(Bucket=bucket, Key=keys["requests"], Body=json.dumps(fields).encode())
        return False

    def landing_keys(self, prefix: str = "") -> list[str]:
        """Keys of the landing bucket's current objects."""
        pages = self.stack.client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.deployed.landing_bucket, Prefix=prefix)
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def items_of_study(self, study: str) -> list[dict[str, Any]]:
        """The ledger's items of a study."""
        items: list[dict[str, Any]] = self.stack.client("dynamodb").query(
            TableName=self.deployed.ledger_table,
            KeyConditionExpression="pk = :study",
            ExpressionAttributeValues={":study": {"S": f"STUDY#{study}"}},
        )["Items"]
        return items

    def item(self, pk: str, sk: str) -> dict[str, Any]:
        """One item of the ledger."""
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        item: dict[str, Any] = self.stack.client("dynamodb").get_item(TableName=self.deployed.ledger_table, Key=key)[
            "Item"
        ]
        return item

    def is_settled(self, study: str) -> bool:
        """The ledger says so of every batch of the study, the refused image is in quarantine, and nothing is left."""
        keys = self.landing_keys()
        own = [key for key in keys if study in key]
        batches = {key.split("/")[1].split(".")[0] for key in own}
        manifests = [key for key in keys if key.startswith("batches/") and key[8:].split(".")[0] in batches]
        items = self.items_of_study(study)
        counts = [{name: int(item[name]["N"]) for name in ("imported", "quarantined")} for item in items]
        return (
            sum(count["imported"] for count in counts) == SLICES - 1
            and sum(count["quarantined"] for count in counts) == 1
            and all(item["state"]["S"] in ("SETTLED", "SPLIT") for item in items)
            and len(own) == 2  # the refused image and its reason
            and all(key.startswith("quarantine/") for key in own)
            and not manifests
        )

    def forget(self) -> None:
        """Remove what a broken trial left, as an operator: it must not be in the way of the next."""
        s3, dynamodb = self.stack.client("s3"), self.stack.client("dynamodb")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.deployed.landing_bucket):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=self.deployed.landing_bucket, Key=entry["Key"])
        for page in dynamodb.get_paginator("scan").paginate(TableName=self.deployed.ledger_table):
            for item in page["Items"]:
                key = {name: item[name] for name in ("pk", "sk")}
                dynamodb.delete_item(TableName=self.deployed.ledger_table, Key=key)

    def restart_receiver(self) -> None:
        """Start the receiver anew, which tries whether it can write its store and abandon an upload."""
        assert self.stack.receiver_child is not None
        self.stack.receiver_child.stop(20)
        self.stack.start_receiver(self.deployed, self.port)
