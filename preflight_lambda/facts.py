"""What an account says about the resources that the parameters name: read with `Describe` and `Get` calls only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

Json = dict[str, Any]
Clients = Callable[[str], Any]

# A role is made just before it is used, and its policy takes some seconds to be known everywhere.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
PATIENCE_SECONDS = 45.0
PAUSE_SECONDS = 3.0
DENIALS = ("AccessDenied", "UnauthorizedOperation", "AuthFailure", "NotAuthorized")
ABSENCES = ("NotFound", "InvalidParameterValue", "ValidationException", "InvalidArn")


class NotAllowed(Exception):
    """The function may not look at something; the text is AWS's error code."""


@dataclass
class Facts:
    """What was found. A resource that does not exist is None; what could not be looked at is in `unchecked`.

    subnets, route_tables, endpoints: as EC2 describes them. secrets: by ARN.
    """

    vpc: Json | None = None
    subnets: list[Json] = field(default_factory=list)
    route_tables: list[Json] = field(default_factory=list)
    endpoints: list[Json] = field(default_factory=list)
    security_group: Json | None = None
    certificate: Json | None = None
    key: Json | None = None
    datastore: Json | None = None
    secrets: dict[str, Json | None] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)


class Reader:
    """Asks AWS, and is patient with a role that is not known everywhere yet."""

    def __init__(self, clients: Clients, sleep: Callable[[float], None], seconds: float = PATIENCE_SECONDS) -> None:
        """`clients` gives a boto3 client by its service's name."""
        self.clients = clients
        self.sleep = sleep
        self.deadline = time.monotonic() + seconds

    def ask(self, service: str, operation: str, **arguments: Any) -> Json | None:
        """Return the answer, or None if what it is about does not exist.

        Raises NotAllowed: the permission is still missing when patience ends. Raises ClientError: any other refusal.
        """
        while True:
            try:
                answer: Json = getattr(self.clients(service), operation)(**arguments)
                return answer
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if any(word in code for word in ABSENCES):
                    return None
                if not any(word in code for word in DENIALS):
                    raise
                if time.monotonic() > self.deadline:
                    raise NotAllowed(code) from error
            self.sleep(PAUSE_SECONDS)


def read_facts(reader: Reader, given: Mapping[str, Any]) -> Facts:
    """Look at all that the parameters name. `given` are the custom resource's properties.

    Raises ClientError, BotoCoreError: AWS does not answer.
    """
    facts = Facts()
    steps: dict[str, Callable[[Reader, Mapping[str, Any], Facts], None]] = {
        "VpcID": _read_network,
        "SecurityGroupID": _read_security_group,
        "TLSCertificateARN": _read_certificate,
        "KmsKeyARN": _read_key,
        "DatastoreID": _read_datastore,
        "Secrets": _read_secrets,
    }
    for name, step in steps.items():
        if given.get(name):
            try:
                step(reader, given, facts)
            except NotAllowed as refusal:
                facts.unchecked[name] = str(refusal)
    return facts


def _read_network(reader: Reader, given: Mapping[str, Any], facts: Facts) -> None:
    of_vpc = [{"Name": "vpc-id", "Values": [given["VpcID"]]}]
    vpcs = reader.ask("ec2", "describe_vpcs", VpcIds=[given["VpcID"]])
    facts.vpc = next(iter((vpcs or {}).get("Vpcs", [])), None)
    facts.subnets = (reader.ask("ec2", "describe_subnets", Filters=of_vpc) or {}).get("Subnets", [])
    facts.route_tables = (reader.ask("ec2", "describe_route_tables", Filters=of_vpc) or {}).get("RouteTables", [])
    endpoints = reader.ask("ec2", "describe_vpc_endpoints", Filters=of_vpc) or {}
    # Filtered again here: what belongs to another VPC must not count.
    facts.endpoints = [e for e in endpoints.get("VpcEndpoints", []) if e.get("VpcId") == given["VpcID"]]


def _read_security_group(reader: Reader, given: Mapping[str, Any], facts: Facts) -> None:
    groups = reader.ask("ec2", "describe_security_groups", GroupIds=[given["SecurityGroupID"]])
    facts.security_group = next(iter((groups or {}).get("SecurityGroups", [])), None)


def region_of(arn: str) -> str:
    """The Region in an ARN."""
    return arn.split(":")[3]


def _read_certificate(reader: Reader, given: Mapping[str, Any], facts: Facts) -> None:
    if region_of(given["TLSCertificateARN"]) != given["Region"]:  # nobody here knows it
        return
    answer = reader.ask("acm", "describe_certificate", CertificateArn=given["TLSCertificateARN"])
    facts.certificate = (answer or {}).get("Certificate")


def _read_key(reader: Reader, given: Mapping[str, Any], facts: Facts) -> None:
    if region_of(given["KmsKeyARN"]) == given["Region"]:
        facts.key = (reader.ask("kms", "describe_key", KeyId=given["KmsKeyARN"]) or {}).get("KeyMetadata")


def _read_datastore(reader: Reader, given: Mapping[str, Any], facts: Facts) -> None:
    answer = reader.ask("medical-imaging", "get_datastore", datastoreId=given["DatastoreID"])
    facts.datastore = (answer or {}).get("datastoreProperties")


def _read_secrets(reader: Reader, given: Mapping[str, Any], facts: Facts) -> None:
    for arn in given["Secrets"]:
        is_here = region_of(arn) == given["Region"]
        facts.secrets[arn] = reader.ask("secretsmanager", "describe_secret", SecretId=arn) if is_here else None
