"""AWS as the seller's commands use it: clients, errors as one sentence, and change sets followed to their end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from storescp_cfn.marketplace import catalog_errors
from storescp_cfn.marketplace.changeset import CATALOG, Request
from storescp_cfn.marketplace.errors import MarketplaceError
from storescp_cfn.marketplace.limits import require_within_limits
from storescp_cfn.marketplace.links import BUCKET_REGION

CATALOG_REGION = "us-east-1"
OPEN, FINISHED = ("PREPARING", "APPLYING"), ("SUCCEEDED", "FAILED", "CANCELLED")
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 30.0
# Scanning takes minutes to hours (Catalog API, "Add a new version").
PATIENCE_SECONDS = 12 * 3600.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Clients:
    """The AWS services that a publication talks to."""

    sts: Any
    ecr: Any
    s3: Any
    s3_anonymous: Any
    catalog: Any
    cloudformation: Callable[[str], Any]


def connect() -> Clients:
    """Clients that retry what AWS lets one retry: throttling, its own faults, lost connections."""
    with in_plain_words("Reading the AWS configuration"):
        session = boto3.session.Session()
    patient = Config(retries={"mode": "standard", "max_attempts": 6}, connect_timeout=10, read_timeout=60)
    anonymous = patient.merge(Config(signature_version=UNSIGNED))

    def client(service: str, region: str = CATALOG_REGION, config: Config = patient) -> Any:
        return session.client(service, region_name=region, config=config)

    return Clients(
        sts=client("sts"),
        ecr=client("ecr"),
        s3=client("s3", BUCKET_REGION),
        s3_anonymous=client("s3", BUCKET_REGION, anonymous),
        catalog=client("marketplace-catalog"),
        cloudformation=lambda region: client("cloudformation", region),
    )


@contextmanager
def in_plain_words(doing: str) -> Iterator[None]:
    """Turn what boto3 raises into one sentence."""
    try:
        yield
    except ClientError as error:
        code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        words = catalog_errors.CALL_ERRORS.get(code, "AWS refused")
        raise MarketplaceError(f"{doing}: {words} ({code}: {said.strip().rstrip('.')}).") from error
    except NoCredentialsError as error:
        raise MarketplaceError(
            f"{doing}: there are no AWS credentials; set AWS_PROFILE or log in to the seller account."
        ) from error
    except HTTPClientError as error:
        raise MarketplaceError(f"{doing}: the connection to AWS was lost ({error}).") from error
    except BotoCoreError as error:
        raise MarketplaceError(f"{doing}: {str(error).rstrip('.')}.") from error


@dataclass(frozen=True)
class ChangeSets:
    """One request's change sets, by intent: started at most once for each intent, then followed to their end."""

    catalog: Any
    title: str
    digest: str
    request: Request
    report: Report
    sleep: Callable[[float], None] = time.sleep

    def name(self, intent: str) -> str:
        """The change set's name: of one request and one intent."""
        return f"storescp-cfn {self.title} {intent} {self.digest[:12]}"

    def history(self, intent: str) -> list[dict[str, Any]]:
        """Earlier change sets of this very request, newest first."""
        name, found, token = self.name(intent), [], None
        while True:
            with in_plain_words("Listing change sets"):
                page = self.catalog.list_change_sets(
                    Catalog=CATALOG,
                    FilterList=[{"Name": "ChangeSetName", "ValueList": [name]}],
                    Sort={"SortBy": "StartTime", "SortOrder": "DESCENDING"},
                    **({"NextToken": token} if token else {}),
                )
            found += [item for item in page["ChangeSetSummaryList"] if item.get("ChangeSetName") == name]
            token = page.get("NextToken")
            if not token:
                return found

    def latest(self, intent: str) -> dict[str, Any] | None:
        """The newest change set of this name and intent; None if there is none."""
        return next(iter(self.history(intent)), None)

    def run(self, intent: str) -> str:
        """Start the change set, or take up the one that an interrupted run started, and follow it; its id."""
        require_within_limits(self.request)
        before = self.history(intent)
        if before and before[0]["Status"] in OPEN:
            self.report(f"{intent}: change set {before[0]['ChangeSetId']} of an earlier run is still open.")
            return self.follow(before[0]["ChangeSetId"], intent)
        with in_plain_words(f"Starting the change set with intent {intent}"):
            change_set: str = self.catalog.start_change_set(
                **{**self.request, "ChangeSetName": self.name(intent)},
                Intent=intent,
                ClientRequestToken=self.token(intent, len(before)),
            )["ChangeSetId"]
        self.report(f"{intent}: change set {change_set} started.")
        return self.follow(change_set, intent)

    def token(self, intent: str, attempt: int) -> str:
        """A token that is the same for the same request, so that a start whose answer was lost is not repeated."""
        what = json.dumps([self.digest, self.request, intent, attempt], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()

    def follow(self, change_set: str, intent: str) -> str:
        """Wait for the end, with a line for each status."""
        shown, wait, waited = None, FIRST_WAIT_SECONDS, 0.0
        while waited < PATIENCE_SECONDS:
            with in_plain_words(f"Following change set {change_set} (run the same command again to go on)"):
                answer = self.catalog.describe_change_set(Catalog=CATALOG, ChangeSetId=change_set)
            status = answer["Status"]
            if status != shown:
                self.report(f"{intent}: {status}")
                shown = status
            if status == "SUCCEEDED":
                return change_set
            if status in FINISHED:
                raise MarketplaceError(_failure(answer, intent))
            self.sleep(wait)
            waited, wait = waited + wait, min(LONGEST_WAIT_SECONDS, wait * 1.5)
        raise MarketplaceError(
            f"Change set {change_set} is still {shown} after {PATIENCE_SECONDS / 3600:.0f} hours: "
            "run the same command again to go on following it."
        )


def _failure(answer: dict[str, Any], intent: str) -> str:
    """What a change set ended with, a sentence for each error."""
    change_set = answer["ChangeSetId"]
    if answer["Status"] == "CANCELLED":
        return f"{intent}: change set {change_set} was cancelled; run the same command again to start anew."
    errors = [
        catalog_errors.explain(error.get("ErrorCode", "UNKNOWN"), error.get("ErrorMessage", ""))
        for change in answer.get("ChangeSet", ())
        for error in change.get("ErrorDetailList", ())
    ]
    failure = answer.get("FailureCode", "")
    meaning = catalog_errors.FAILURE_CODES.get(failure, "no reason is given")
    if not errors and answer.get("FailureDescription"):
        errors = [f"Marketplace said: {answer['FailureDescription'].rstrip('.')}."]
    return "\n".join([f"{intent}: change set {change_set} failed ({failure or 'no code'}: {meaning}).", *errors])
