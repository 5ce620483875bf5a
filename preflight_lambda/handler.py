"""Lambda's entry: one request of CloudFormation, one answer, always.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from preflight_lambda.facts import Clients, Facts, NotAllowed, Reader, read_facts
from preflight_lambda.network_checks import check_network, check_security_group
from preflight_lambda.resource_checks import (
    check_certificate,
    check_commitment_devices,
    check_datastore,
    check_key,
    check_secrets,
)

# One physical id for ever: CloudFormation deletes nothing on an update.
PHYSICAL_ID = "preflight"
# An answer may have 4,096 bytes; CloudFormation shows the beginning of a long reason.
REASON_CHARACTERS = 3000
ANSWER_TRIES = 5

# Each check, by the parameter without which there is nothing to check.
CHECKS: Mapping[str, Callable[[Mapping[str, Any], Facts], Iterator[str]]] = {
    "VpcID": check_network,
    "SecurityGroupID": check_security_group,
    "TLSCertificateARN": check_certificate,
    "Secrets": check_secrets,
    "KmsKeyARN": check_key,
    "DatastoreID": check_datastore,
    "CommitmentDevices": check_commitment_devices,
}


def findings(given: Mapping[str, Any], facts: Facts) -> list[str]:
    """Return a sentence for each thing that would make the stack fail; pure."""
    return [
        sentence
        for name, check in CHECKS.items()
        if given.get(name) and name not in facts.unchecked
        for sentence in check(given, facts)
    ]


def examine(event: Mapping[str, Any], clients: Clients, sleep: Callable[[float], None]) -> list[str]:
    """Return what is wrong. Deletions and rollbacks are never stopped: what they go back to was there before."""
    if event["RequestType"] == "Delete" or _is_rolling_back(event, clients):
        return []
    given = {**event["ResourceProperties"], "RequestType": event["RequestType"]}
    # Fn::If leaves out what there is not.
    given["Secrets"] = given.get("Secrets", [])
    facts = read_facts(Reader(clients, sleep), given)
    for name, code in facts.unchecked.items():
        print(json.dumps({"level": "WARNING", "message": "not checked", "parameter": name, "code": code}))
    return findings(given, facts)


def _is_rolling_back(event: Mapping[str, Any], clients: Clients) -> bool:
    if event["RequestType"] != "Update":
        return False
    try:
        answer = Reader(clients, time.sleep, 0).ask("cloudformation", "describe_stacks", StackName=event["StackId"])
    except (BotoCoreError, ClientError, NotAllowed):
        return False
    stacks = (answer or {}).get("Stacks", [])
    return any("ROLLBACK" in stack["StackStatus"] for stack in stacks)


def client(service: str) -> Any:
    """A boto3 client that gives up soon: CloudFormation waits for an answer."""
    return boto3.client(service, config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3}))


def handler(event: Mapping[str, Any], context: Any) -> None:
    """Examine, and answer CloudFormation whatever happens."""
    try:
        wrong = examine(event, client, time.sleep)
    except Exception as error:  # noqa: BLE001 - without an answer CloudFormation would wait for an hour
        print(json.dumps({"level": "ERROR", "message": "the check failed", "error": type(error).__name__}))
        wrong = [f"The check itself failed ({type(error).__name__}): nothing was created. Try again."]
    for sentence in wrong:
        print(json.dumps({"level": "WARNING", "message": sentence}))
    answer(event, wrong)


def answer(event: Mapping[str, Any], wrong: list[str]) -> None:
    """Tell CloudFormation; an answer that does not arrive is sent again.

    Raises OSError: it could not be sent.
    """
    body = {
        "Status": "FAILED" if wrong else "SUCCESS",
        "Reason": " ".join(wrong)[:REASON_CHARACTERS] or "Nothing stands in the way.",
        "PhysicalResourceId": event.get("PhysicalResourceId", PHYSICAL_ID),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    data = json.dumps(body).encode()
    for tries_left in reversed(range(ANSWER_TRIES)):
        # S3 signed the address without a content type.
        request = urllib.request.Request(event["ResponseURL"], data, {"Content-Type": ""}, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except OSError:
            if not tries_left:
                raise
            time.sleep(1)
