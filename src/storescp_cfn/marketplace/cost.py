"""What a month costs, from list prices: this product, and beside it one import job per image.

The prices and their date are `prices.json`. The model counts what a hospital's traffic makes: it is an estimate
to compare and to plan with, not a bill. What both ways have in common (the load balancer, NAT, HealthImaging's
storage) is counted alike in both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from storescp_cfn.markdown import table
from storescp_cfn.marketplace.errors import BadInputError

HOURS_PER_MONTH = 730
DAYS_PER_MONTH = HOURS_PER_MONTH / 24
MINUTES_PER_MONTH = HOURS_PER_MONTH * 60
GB = 1000**3
MB = 1000**2


@dataclass(frozen=True)
class Workload:
    """A day's traffic. Studies of a day, images of a study, megabytes (10^6 bytes) of an image."""

    studies_per_day: float
    images_per_study: float
    image_mb: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and 0 < value <= 1_000_000):
                raise BadInputError(f"{name} is {value}; it has to be more than 0 and at most 1,000,000.")

    def words(self) -> str:
        """The traffic as a reader would say it."""
        return f"{self.studies_per_day:g} studies a day of {self.images_per_study:g} images of {self.image_mb:g} MB"

    @property
    def studies(self) -> float:
        """Studies a month."""
        return self.studies_per_day * DAYS_PER_MONTH

    @property
    def images(self) -> float:
        """Images a month."""
        return self.studies * self.images_per_study

    @property
    def gigabytes(self) -> float:
        """Gigabytes (10^9 bytes) received in a month."""
        return self.images * self.image_mb * MB / GB


@dataclass(frozen=True)
class Deployment:
    """What is running all month, as the template's parameters have it."""

    tasks: int
    vcpu: float
    memory_gb: float
    architecture: str
    retention_days: int
    alarms: int
    metrics: int
    importer_gb: float = 0.0


def deployment_of(template: Mapping[str, Any]) -> Deployment:
    """What a rendered template runs when nobody changes a default."""
    parameters, resources = template["Parameters"], template["Resources"].values()

    def default(name: str) -> str:
        return str(parameters[name]["Default"])

    return Deployment(
        tasks=int(default("TaskDesiredCount")),
        vcpu=int(default("TaskCPU")) / 1024,
        memory_gb=int(default("TaskMemoryLimit")) / 1024,
        architecture=default("CpuArchitecture"),
        retention_days=int(default("RetentionDays")),
        alarms=sum(resource["Type"] == "AWS::CloudWatch::Alarm" for resource in resources),
        metrics=CUSTOM_METRICS,
        importer_gb=sum(
            resource["Properties"].get("MemorySize", 128) / 1024
            for resource in resources
            if resource["Type"] == "AWS::Lambda::Function"
        ),
    )


@dataclass(frozen=True)
class Line:
    """One row of the estimate: what is counted, at what price, and the two months' sums in US dollars."""

    service: str
    unit: str
    price_usd: float
    this_product: float
    job_per_image: float

    @property
    def this_product_usd(self) -> float:
        return self.this_product * self.price_usd

    @property
    def job_per_image_usd(self) -> float:
        return self.job_per_image * self.price_usd

    def price_words(self) -> str:
        """The price without an exponent, as a price list has it."""
        return f"{self.price_usd:.10f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Estimate:
    """All rows, and what a reader has to know about the prices."""

    region: str
    as_of: str
    lines: tuple[Line, ...]
    estimated_prices: tuple[str, ...]
    job_per_image_keeps_up: bool

    @property
    def this_product_usd(self) -> float:
        return sum(line.this_product_usd for line in self.lines)

    @property
    def job_per_image_usd(self) -> float:
        return sum(line.job_per_image_usd for line in self.lines)


# The product on sale today, as its documentation has it: one task of 1 vCPU and 2 GB, x86.
JOB_PER_IMAGE = Deployment(1, 1, 2, "X86_64", 0, alarms=0, metrics=0)
# Its state machine (TriggerImport, StartImportJob, WaitForCompletion, CheckStatus, IsComplete, twice round the
# wait): about ten transitions, four function calls of about a second, three writes to its table, three queue calls.
TRANSITIONS_PER_IMAGE, CALLS_PER_IMAGE, WRITES_PER_IMAGE, QUEUE_CALLS_PER_IMAGE = 10, 4, 3, 3
# HealthImaging starts about one import job a second (StartDICOMImportJob's default rate).
JOBS_PER_SECOND = 1
# What a job writes into the results bucket: the manifest and its lists.
RESULT_OBJECTS_PER_JOB = 3
# Our importer: woken each minute, and twice a batch (it closed, its job ended); a second of work for a batch.
WAKE_UPS_PER_BATCH, SECONDS_PER_BATCH, SECONDS_PER_SCHEDULED_CALL = 2, 2.0, 0.1
# Ledger: the batch item some six times, its study items twice, the lease twice a wake-up.
WRITES_PER_BATCH, WRITES_PER_STUDY, WRITES_PER_WAKE_UP, READS_PER_WAKE_UP = 6, 2, 2, 4
# A closed batch: its manifest written, its prefix listed three times.
LIST_CALLS_PER_BATCH = 4
# Names in the namespace StoreSCP that a stack keeps alive, rounded up; each is billed by the hour it is written in.
CUSTOM_METRICS = 25
LOG_GB_PER_STUDY = 4e-6
LOG_GB_PER_TASK_MONTH = 0.1


@cache
def price_list() -> dict[str, Any]:
    """The price file: `as_of`, `source`, `prices` by Region, and which of them are `estimates`."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("prices.json").read_text("utf-8"))
    return data


def estimate(workload: Workload, deployment: Deployment, region: str = "us-east-1") -> Estimate:
    """Count a month and price it.

    Raises:
        BadInputError: there are no prices of that Region.
    """
    data = price_list()
    if region not in data["prices"]:
        raise BadInputError(f"There are no prices of Region {region!r}; allowed are {', '.join(data['prices'])}.")
    counted = _count(workload, deployment)
    prices = data["prices"][region]
    lines = tuple(
        Line(service, unit, prices[key], this_product, job_per_image)
        for service, unit, key, this_product, job_per_image in counted
    )
    used = {key for _, _, key, this_product, job_per_image in counted if this_product or job_per_image}
    return Estimate(
        region,
        data["as_of"],
        lines,
        tuple(sorted(used & set(data["estimates"].get(region, ())))),
        job_per_image_keeps_up=workload.images / DAYS_PER_MONTH <= JOBS_PER_SECOND * 86_400,
    )


_Row = tuple[str, str, str, float, float]


def _count(work: Workload, deployment: Deployment) -> list[_Row]:
    # A batch holds at most 5,000 images or 10 GB and is closed when nothing has come for some seconds: about one
    # a study, more for a large one.
    batches = work.studies * max(1, work.images_per_study / 5000, work.images_per_study * work.image_mb / 10_000)
    return [
        *_running(work, deployment),
        *_storing(work, deployment, batches),
        *_importing(work, deployment, batches),
        *_watching(work, deployment),
    ]


def _running(work: Workload, deployment: Deployment) -> list[_Row]:
    rows: list[_Row] = []
    for architecture in sorted({deployment.architecture, JOB_PER_IMAGE.architecture}):
        key = f"fargate_{architecture.lower()}"
        mine, other = (each if each.architecture == architecture else None for each in (deployment, JOB_PER_IMAGE))
        rows += [
            (
                f"AWS Fargate ({architecture})",
                "vCPU hours",
                f"{key}_vcpu_hour",
                _hours(mine, "vcpu"),
                _hours(other, "vcpu"),
            ),
            (
                f"AWS Fargate ({architecture})",
                "GB hours",
                f"{key}_gb_hour",
                _hours(mine, "memory_gb"),
                _hours(other, "memory_gb"),
            ),
        ]
    hours = float(HOURS_PER_MONTH)
    # A Network Load Balancer's capacity unit is 1 GB an hour; 300 open associations are far from its other bounds.
    return [
        *rows,
        ("Network Load Balancer", "hours", "nlb_hour", hours, hours),
        ("Network Load Balancer", "LCU hours", "nlb_lcu_hour", work.gigabytes, work.gigabytes),
        ("Public IPv4 address", "address hours", "public_ipv4_hour", 2 * hours, 2 * hours),
        ("NAT gateway", "hours", "nat_gateway_hour", hours, hours),
    ]


def _hours(deployment: Deployment | None, size: str) -> float:
    return float(deployment.tasks * getattr(deployment, size) * HOURS_PER_MONTH) if deployment else 0.0


def _storing(work: Workload, deployment: Deployment, batches: float) -> list[_Row]:
    gb_month = work.gigabytes / DAYS_PER_MONTH * deployment.retention_days
    # The product on sale says nothing of deleting what was imported: counted as a month's images on average half
    # a month old, the least that it can be.
    return [
        (
            "Amazon S3",
            "PUT and LIST requests",
            "s3_put_list_request",
            work.images + batches * (LIST_CALLS_PER_BATCH + RESULT_OBJECTS_PER_JOB),
            work.images * (1 + RESULT_OBJECTS_PER_JOB + 1),
        ),
        ("Amazon S3", "GET requests", "s3_get_request", work.images + 3 * batches, 3 * work.images),
        ("Amazon S3", "GB months", "s3_storage_gb_month", gb_month, work.gigabytes / 2),
        (
            "AWS HealthImaging",
            "GB months, first month",
            "healthimaging_frequent_access_gb_month",
            work.gigabytes / 2,
            work.gigabytes / 2,
        ),
    ]


def _importing(work: Workload, deployment: Deployment, batches: float) -> list[_Row]:
    wake_ups = MINUTES_PER_MONTH + WAKE_UPS_PER_BATCH * batches
    busy_seconds = MINUTES_PER_MONTH * SECONDS_PER_SCHEDULED_CALL + WAKE_UPS_PER_BATCH * batches * SECONDS_PER_BATCH
    gb_seconds = deployment.importer_gb * busy_seconds
    their_calls = CALLS_PER_IMAGE * work.images
    writes = WRITES_PER_BATCH * batches + WRITES_PER_STUDY * work.studies + WRITES_PER_WAKE_UP * wake_ups
    return [
        (
            "AWS Step Functions",
            "state transitions",
            "step_functions_state_transition",
            0,
            TRANSITIONS_PER_IMAGE * work.images,
        ),
        ("AWS Lambda", "requests", "lambda_request", wake_ups, their_calls),
        ("AWS Lambda (arm64)", "GB seconds", "lambda_arm64_gb_second", gb_seconds, 0),
        ("AWS Lambda (x86)", "GB seconds", "lambda_x86_64_gb_second", 0, their_calls * 0.125),
        (
            "Amazon DynamoDB",
            "write request units",
            "dynamodb_write_request_unit",
            writes,
            WRITES_PER_IMAGE * work.images,
        ),
        (
            "Amazon DynamoDB",
            "read request units",
            "dynamodb_read_request_unit",
            READS_PER_WAKE_UP * wake_ups,
            WRITES_PER_IMAGE * work.images,
        ),
        # S3 sends EventBridge every event of a bucket or none: an image's creation and its deletion.
        ("Amazon EventBridge", "S3 events", "eventbridge_event", 2 * work.images + batches, 0),
        ("Amazon SQS", "requests", "sqs_request", 0, QUEUE_CALLS_PER_IMAGE * work.images),
    ]


def _watching(work: Workload, deployment: Deployment) -> list[_Row]:
    logs = work.studies * LOG_GB_PER_STUDY + deployment.tasks * LOG_GB_PER_TASK_MONTH
    their_logs = work.images * CALLS_PER_IMAGE * 0.5e-6
    return [
        ("Amazon CloudWatch", "GB of logs", "cloudwatch_logs_ingested_gb", logs, their_logs),
        ("Amazon CloudWatch", "metrics", "cloudwatch_metric_month", deployment.metrics, 0),
        ("Amazon CloudWatch", "alarms", "cloudwatch_alarm_month", deployment.alarms, 0),
        ("Amazon CloudWatch", "dashboards", "cloudwatch_dashboard_month", 1 if deployment.alarms else 0, 0),
    ]


def markdown(found: Estimate) -> str:
    """One Region's estimate as a Markdown table: what costs nothing on either side is left out."""
    rows = [
        [
            line.service,
            line.unit,
            line.price_words(),
            f"{line.this_product:,.0f}",
            f"{line.this_product_usd:,.2f}",
            f"{line.job_per_image:,.0f}",
            f"{line.job_per_image_usd:,.2f}",
        ]
        for line in found.lines
        if line.this_product or line.job_per_image
    ]
    total = ["**Total**", "", "", "", f"**{found.this_product_usd:,.2f}**", "", f"**{found.job_per_image_usd:,.2f}**"]
    head = ["Service", "Unit", "USD per unit", "This product", "USD", "One job per image", "USD"]
    written = table(head, [*rows, total], ["---"] * 2 + ["---:"] * 5)
    return "\n".join([f"## {found.region}\n", written, "", *notes(found)])


def notes(found: Estimate) -> list[str]:
    """What has to be said with the numbers, a sentence each."""
    said = [f"List prices of {found.as_of}, without free tier, discounts or tax."]
    if found.estimated_prices:
        said.append(f"Not seen on a price list of {found.region}, but estimated: {', '.join(found.estimated_prices)}.")
    if not found.job_per_image_keeps_up:
        said.append("One job per image cannot keep up: HealthImaging starts about one import job a second.")
    return said


def page(workload: Workload, deployment: Deployment, tables: list[str]) -> str:
    """The cost estimate of a release: the month that is counted, and a table for each Region."""
    return (
        "# What a month costs\n\n"
        f"{workload.words()}; {deployment.tasks} tasks of {deployment.vcpu:g} vCPU and {deployment.memory_gb:g} GB "
        f"({deployment.architecture}); imported images stay {deployment.retention_days} days in the landing bucket. "
        "HealthImaging's storage is the first month's, half full on average; it grows with every month kept.\n\n"
        "Beside it: one import job per image through AWS Step Functions, the way of the product on sale, with the same "
        "load balancer and NAT gateway.\n\n" + "\n\n".join(tables) + "\n"
    )
