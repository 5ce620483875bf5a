"""The seller's side of AWS on a loopback port: Marketplace Catalog, ECR, S3, CloudFormation and STS.

Requests are recognised by their signature's scope and checked against botocore's service models, answers too, so
that a call that the real service would refuse for its form is refused here as well. S3 is as much of it as a
publication needs. Faults are queued for an operation and spent one at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from botocore.validate import ParamValidator

from tests.testkit.aws_protocols import SERVICES, XML_NAMESPACES, parse_request, xml_answer

REGISTRY = "709825985650.dkr.ecr.us-east-1.amazonaws.com"
ACCOUNT = "111122223333"
PRODUCT = "prod-abcd1234efgh5"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Fault:
    """What an operation answers instead: an error, or (status 0) a closed connection, after doing its work or not."""

    code: str
    status: int = 400
    after_the_work: bool = False


THROTTLED = Fault("ThrottlingException")
LOST = Fault("", status=0)
LOST_ANSWER = Fault("", status=0, after_the_work=True)

# What becomes of a change set: its statuses one after another, its errors, its failure code.
_Outcome = tuple[list[str], list[dict[str, str]], str]


@dataclass
class Bucket:
    region: str = "us-east-1"
    public: bool = True
    objects: dict[str, bytes] = field(default_factory=dict)


@dataclass
class ChangeSet:
    """A change set that goes through `statuses`, one a look, and stays in the last."""

    request: dict[str, Any]
    statuses: list[str]
    errors: list[dict[str, str]] = field(default_factory=list)
    failure_code: str = "CLIENT_ERROR"
    number: int = 0

    @property
    def identifier(self) -> str:
        return f"changeset{self.number}"

    def look(self) -> str:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


class Aws(ThreadingHTTPServer):
    """One seller account. Tests set what is there, then read `calls` and `change_sets`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """An account with an empty bucket, no image and no version."""
        self.buckets: dict[str, Bucket] = {"acme-storescp": Bucket()}
        self.images: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        self.versions: list[str] = []
        self.product: dict[str, Any] = {"Description": {"Visibility": "Limited"}}
        self.change_sets: list[ChangeSet] = []
        self.outcomes: list[_Outcome] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.calls: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """What points boto3 here, with the seller's credentials."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIASELLER",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def push(
        self, repository: str, tag: str, platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64"), **more: Any
    ) -> str:
        """Put an image index there, with a manifest for each platform; returns its digest.

        attestation: adds buildx's attestation entry; layer_attestation: makes each manifest's layer one; single:
        pushes the first platform's manifest without an index.
        missing: a platform whose manifest is named but not there.
        """
        entries = []
        for platform in platforms:
            system, _, architecture = platform.partition("/")
            kind = "application/vnd.in-toto+json" if more.get("layer_attestation") else f"{MANIFEST}.layer"
            manifest = json.dumps(
                {"mediaType": MANIFEST, "config": {"digest": f"sha256:{platform}"}, "layers": [{"mediaType": kind}]}
            )
            digest = _digest(manifest)
            if platform != more.get("missing"):
                self.images[repository][digest] = (digest, manifest)
            entries.append(
                {
                    "mediaType": MANIFEST,
                    "digest": digest,
                    "size": len(manifest),
                    "platform": {"os": system, "architecture": architecture},
                }
            )
        if more.get("attestation"):
            entries.append(
                {
                    "mediaType": MANIFEST,
                    "digest": entries[0]["digest"],
                    "size": 1,
                    "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
                }
            )
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        pushed = next(iter(self.images[repository].values())) if more.get("single") else (_digest(index), index)
        self.images[repository][tag] = self.images[repository][pushed[0]] = pushed
        return pushed[0]

    def will_end(
        self, *statuses: str, errors: tuple[tuple[str, str], ...] = (), failure_code: str = "CLIENT_ERROR"
    ) -> None:
        """What the next change set that is started goes through; without it: PREPARING, APPLYING, SUCCEEDED."""
        details = [{"ErrorCode": code, "ErrorMessage": message} for code, message in errors]
        self.outcomes.append((list(statuses), details, failure_code))

    # The operations, by botocore's names: parameters in, answer out.

    def get_caller_identity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"Account": ACCOUNT, "UserId": "AIDA", "Arn": f"arn:aws:iam::{ACCOUNT}:user/seller"}

    def validate_template(self, given: dict[str, Any]) -> dict[str, Any]:
        match = re.fullmatch(r"https://([^.]+)\.s3\.us-east-1\.amazonaws\.com/(.+)", given["TemplateURL"])
        assert match
        bucket, key = match.groups()
        if key not in self.buckets[bucket].objects:
            raise _Refusal("ValidationError", 400, f"S3 error: The specified key does not exist: {key}")
        return {"Description": "StoreSCP"}

    def batch_get_image(self, given: dict[str, Any]) -> dict[str, Any]:
        repository = given["repositoryName"]
        if given["registryId"] != REGISTRY.partition(".")[0] or repository not in self.images:
            raise _Refusal(
                "RepositoryNotFoundException", 400, f"The repository with name '{repository}' does not exist"
            )
        images, failures = [], []
        for asked in given["imageIds"]:
            name = asked.get("imageDigest") or asked["imageTag"]
            if name in self.images[repository]:
                digest, manifest = self.images[repository][name]
                image_id = {"imageDigest": digest, **({"imageTag": name} if "imageTag" in asked else {})}
                images.append({"repositoryName": repository, "imageId": image_id, "imageManifest": manifest})
            else:
                failures.append({"imageId": asked, "failureCode": "ImageNotFound"})
        return {"images": images, "failures": failures}

    def describe_entity(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["EntityId"] != PRODUCT:
            raise _Refusal("ResourceNotFoundException", 404, "No such entity")
        return {
            "EntityType": "ContainerProduct@1.0",
            "EntityIdentifier": f"{PRODUCT}@7",
            "DetailsDocument": {**self.product, "Versions": [_version(title) for title in self.versions]},
        }

    def list_change_sets(self, given: dict[str, Any]) -> dict[str, Any]:
        (named,) = given["FilterList"]
        found = [one for one in reversed(self.change_sets) if one.request["ChangeSetName"] in named["ValueList"]]
        start = int(given.get("NextToken", 0))
        more = {"NextToken": str(start + 1)} if start + 1 < len(found) else {}
        return {
            "ChangeSetSummaryList": [
                {
                    "ChangeSetId": one.identifier,
                    "ChangeSetName": one.request["ChangeSetName"],
                    "Status": one.statuses[0],
                }
                for one in found[start : start + 1]
            ],
            **more,
        }

    def start_change_set(self, given: dict[str, Any]) -> dict[str, Any]:
        for known in self.change_sets:
            if known.request["ClientRequestToken"] == given["ClientRequestToken"]:
                return {"ChangeSetId": known.identifier}
        if any(one.statuses[0] in ("PREPARING", "APPLYING") for one in self.change_sets):
            raise _Refusal("ResourceInUseException", 423, f"Entity {PRODUCT} is locked by another change set")
        default: _Outcome = (["PREPARING", "APPLYING", "SUCCEEDED"], [], "CLIENT_ERROR")
        statuses, errors, failure_code = self.outcomes.pop(0) if self.outcomes else default
        self.change_sets.append(ChangeSet(given, list(statuses), errors, failure_code, len(self.change_sets) + 1))
        return {"ChangeSetId": self.change_sets[-1].identifier}

    def describe_change_set(self, given: dict[str, Any]) -> dict[str, Any]:
        (found,) = (one for one in self.change_sets if one.identifier == given["ChangeSetId"])
        status = found.look()
        if status == "SUCCEEDED" and found.request["Intent"] == "APPLY":
            added = [each for each in found.request["ChangeSet"] if each["ChangeType"] == "AddDeliveryOptions"]
            titles = [each["DetailsDocument"]["Version"]["VersionTitle"] for each in added]
            self.versions = sorted({*self.versions, *titles})
        failed = {"FailureCode": found.failure_code, "FailureDescription": "The change set failed."}
        return {
            "ChangeSetId": found.identifier,
            "ChangeSetName": found.request["ChangeSetName"],
            "Intent": found.request["Intent"],
            "Status": status,
            **(failed if status == "FAILED" else {}),
            "ChangeSet": [
                {
                    "ChangeType": change["ChangeType"],
                    "Entity": {"Type": change["Entity"]["Type"], "Identifier": f"{PRODUCT}@1"},
                    "ErrorDetailList": found.errors if status == "FAILED" else [],
                }
                for change in found.request["ChangeSet"]
            ],
        }


class _Refusal(Exception):
    """An operation's own error."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Aws

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request", self.headers.get("Authorization", ""))
        with self.server.lock:
            if scope is None or scope[2] == "s3":
                self._s3(body, signed=scope is not None)
            else:
                self._modelled(SERVICES[scope[2]], scope[1], body)

    def _modelled(self, service: str, region: str, body: bytes) -> None:
        operation, given = parse_request(service, self.command, self.path, dict(self.headers.items()), body)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation.name).lower()
        self.server.calls.append(f"{name} {region}" if service == "cloudformation" else name)
        fault = self._fault(name)
        if fault and not fault.after_the_work:
            self._fail(service, fault.code, fault.status, "by the test")
            return
        report = ParamValidator().validate(given, operation.input_shape)
        if report.has_errors():
            self._fail(service, "ValidationException", 400, report.generate_report())
            return
        try:
            answer = getattr(self.server, name)(given)
        except _Refusal as error:
            self._fail(service, error.code, error.status, str(error))
            return
        report = ParamValidator().validate(answer, operation.output_shape)
        assert not report.has_errors(), report.generate_report()
        if fault:
            self._fail(service, fault.code, fault.status, "by the test")
        elif service in XML_NAMESPACES:
            self._answer(200, xml_answer(service, operation, answer), "text/xml")
        else:
            self._answer(200, json.dumps(answer).encode(), "application/json")

    def _s3(self, body: bytes, signed: bool) -> None:
        address = urlsplit(self.path)
        _, name, *key = address.path.split("/", 2)
        what = "location" if address.query == "location" else self.command.lower()
        self.server.calls.append(f"s3 {what}{'' if signed else ' anonymous'}")
        fault = self._fault(f"s3 {what}")
        bucket = self.server.buckets.get(name)
        if fault:
            self._fail("s3", fault.code, fault.status, "by the test")
        elif bucket is None:
            self._fail("s3", "NoSuchBucket", 404, "The specified bucket does not exist")
        elif what == "location":
            inside = "" if bucket.region == "us-east-1" else bucket.region
            text = f'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</LocationConstraint>'
            self._answer(200, text.encode(), "text/xml")
        elif what == "put" and key[0] in bucket.objects and self.headers.get("If-None-Match") == "*":
            self._fail("s3", "PreconditionFailed", 412, "At least one of the preconditions did not hold")
        elif what == "put":
            bucket.objects[key[0]] = body
            self._answer(200, b"", "text/plain")
        elif not signed and not bucket.public:
            self._fail("s3", "AccessDenied", 403, "Access Denied")
        else:
            self._answer(200, bucket.objects[key[0]], "text/yaml")

    def _fault(self, name: str) -> Fault | None:
        waiting = self.server.faults[name]
        return waiting.pop(0) if waiting else None

    def _fail(self, service: str, code: str, status: int, message: str) -> None:
        if status == 0:
            self.close_connection = True
        elif service == "s3":
            self._answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode(), "text/xml")
        elif service in XML_NAMESPACES:
            inside = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            self._answer(status, f"<ErrorResponse>{inside}</ErrorResponse>".encode(), "text/xml")
        else:
            text = json.dumps({"__type": code, "message": message, "Message": message}).encode()
            self._answer(status, text, "application/json", code)

    def _answer(self, status: int, body: bytes, content_type: str, error: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _version(title: str) -> dict[str, Any]:
    """A version with one delivery option, whose id is made of its title."""
    number = hashlib.sha256(title.encode()).hexdigest()
    option = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:32]}"
    options = [{"Id": option, "Visibility": "Public"}]
    return {"VersionTitle": title, "CreationDate": "2026-12-01T00:00:00Z", "DeliveryOptions": options}


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@contextmanager
def running() -> Iterator[Aws]:
    """Serve until the block ends."""
    with Aws() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
