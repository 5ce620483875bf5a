"""What a month uses, counted: this product, and beside it one import job per image.

The model counts what a hospital's traffic makes: it is an estimate to compare and to plan with, not a bill. What both
ways have in common (the load balancer, NAT, HealthImaging) is counted alike in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.template import metrics

HOURS_PER_MONTH = 730
DAYS_PER_MONTH = HOURS_PER_MONTH / 24
MINUTES_PER_MONTH = HOURS_PER_MONTH * 60
GB, MB, GIB = 1000**3, 1000**2, 1024**3


@dataclass(frozen=True)
class Workload:
    """A day's traffic.

    Attributes:
        studies_per_day: studies received in a day.
        images_per_study: images (instances) of a study.
        image_mb: megabytes (10^6 bytes) of an image.
        series_per_study: series of a study: HealthImaging makes an image set of each.
    """

    studies_per_day: float
    images_per_study: float
    image_mb: float
    series_per_study: float = 2.0

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

    @property
    def billed_gib(self) -> float:
        """Binary gigabytes that a month adds to HealthImaging, where an image set counts as 5 MB at least.

        AWS HealthImaging pricing: "Each image set is billed at a minimum size of 5 MB"; 1 GB is 2^30 bytes.
        """
        image_sets = self.studies * self.series_per_study
        return max(self.gigabytes * GB, image_sets * SMALLEST_IMAGE_SET_BYTES) / GIB


@dataclass(frozen=True)
class Deployment:
    """What is running all month, as the template's parameters have it.

    Attributes:
        tasks, vcpu, memory_gb, architecture: of the receiver's service.
        retention_days: how long an imported image stays in the landing bucket.
        alarms, metrics: alarms, and metrics that are billed as custom ones.
        importer_gb: memory of the importer.
        s3_endpoint: whether images reach S3 past the NAT gateway.
    """

    tasks: int
    vcpu: float
    memory_gb: float
    architecture: str
    retention_days: int
    alarms: int
    metrics: int
    importer_gb: float = 0.0
    s3_endpoint: bool = False


def deployment_of(template: Mapping[str, Any]) -> Deployment:
    """What a rendered template runs when nobody changes a default."""
    parameters, resources = template["Parameters"], template["Resources"]

    def default(name: str) -> str:
        return str(parameters[name].get("Default", ""))

    return Deployment(
        tasks=int(default("TaskDesiredCount")),
        vcpu=int(default("TaskCPU")) / 1024,
        memory_gb=int(default("TaskMemoryLimit")) / 1024,
        architecture=default("CpuArchitecture"),
        retention_days=int(default("RetentionDays")),
        alarms=sum(resource["Type"] == "AWS::CloudWatch::Alarm" for resource in resources.values()),
        metrics=len({*metrics.OF_RECEIVER, *metrics.OF_IMPORTER}) + CONTAINER_INSIGHTS_METRICS,
        importer_gb=resources["Importer"]["Properties"].get("MemorySize", 128) / 1024,
        s3_endpoint=bool(default("PrivateRouteTableIDs")),
    )


SMALLEST_IMAGE_SET_BYTES = 5_000_000
# Amazon CloudWatch pricing, Container Insights for ECS: of cluster, service and task definition; an estimate.
CONTAINER_INSIGHTS_METRICS = 25
# The product on sale today, as its documentation has it: one task of 1 vCPU and 2 GB, x86.
JOB_PER_IMAGE = Deployment(1, 1, 2, "X86_64", 0, alarms=0, metrics=0)
# Its state machine (TriggerImport, StartImportJob, WaitForCompletion, CheckStatus, IsComplete, twice round the
# wait): about ten transitions, four function calls of about a second, three writes to its table, three queue calls.
TRANSITIONS_PER_IMAGE, CALLS_PER_IMAGE, WRITES_PER_IMAGE, QUEUE_CALLS_PER_IMAGE = 10, 4, 3, 3
# HealthImaging starts about one import job a second (StartDICOMImportJob's default rate).
JOBS_PER_SECOND = 1
# What a job writes into the results bucket: the manifest and its lists; and what is asked of HealthImaging for it.
RESULT_OBJECTS_PER_JOB, HEALTHIMAGING_CALLS_PER_JOB = 3, 4
# Our importer: woken each minute, and twice a batch (it closed, its job ended); a second of work for a batch.
WAKE_UPS_PER_BATCH, SECONDS_PER_BATCH, SECONDS_PER_SCHEDULED_CALL = 2, 2.0, 0.1
# Ledger (ADR 1): an item for each instance; the batch item some six times, its study items twice; the lease, twice for
# each wake-up.
WRITES_PER_INSTANCE, WRITES_PER_BATCH, WRITES_PER_STUDY, WRITES_PER_WAKE_UP, READS_PER_WAKE_UP = 1, 6, 2, 2, 4
LEDGER_BYTES_PER_INSTANCE = 700
# A closed batch: its manifest written, its prefix listed three times.
LIST_CALLS_PER_BATCH = 4
LOG_GB_PER_STUDY = 4e-6
LOG_GB_PER_TASK_MONTH = 0.1


@dataclass(frozen=True)
class Count:
    """One thing that is paid for: in a month of this product, and in the first month of one job per image.

    Attributes:
        service, unit: as AWS's price lists call them.
        key: of the price in `prices.json`.
        this_product: how many in the month of that number, 1 being the first.
        job_per_image: how many in the first month.
    """

    service: str
    unit: str
    key: str
    this_product: Callable[[int], float]
    job_per_image: float


def _always(number: float) -> Callable[[int], float]:
    return lambda _: number


def frequent_gib(month: int, added: float) -> float:
    """Average binary gigabytes in the Frequent Access tier if nothing is read again after 30 days."""
    return added / 2 if month == 1 else added


def archive_gib(month: int, added: float) -> float:
    """Average binary gigabytes in the Archive Instant Access tier: all that was not read for 30 days."""
    return max(0.0, (month - 1.5) * added) if month > 1 else 0.0


def count(work: Workload, deployment: Deployment) -> list[Count]:
    """Everything that is paid for."""
    # A batch holds at most 5,000 images or 10 GB and is closed when nothing has come for some seconds: about one
    # a study, more for a large one.
    batches = work.studies * max(1, work.images_per_study / 5000, work.images_per_study * work.image_mb / 10_000)
    return [
        *_running(work, deployment),
        *_storing(work, deployment, batches),
        *_importing(work, deployment, batches),
        *_watching(work, deployment),
    ]


def _running(work: Workload, deployment: Deployment) -> list[Count]:
    rows = []
    for architecture in sorted({deployment.architecture, JOB_PER_IMAGE.architecture}):
        for size, unit in (("vcpu", "vCPU hours"), ("memory_gb", "GB hours")):
            mine, other = (
                each.tasks * getattr(each, size) * HOURS_PER_MONTH if each.architecture == architecture else 0.0
                for each in (deployment, JOB_PER_IMAGE)
            )
            key = f"fargate_{architecture.lower()}_{unit.split()[0].lower()}_hour"
            rows.append(Count(f"AWS Fargate ({architecture})", unit, key, _always(mine), other))
    hours = float(HOURS_PER_MONTH)
    through_nat = 0.0 if deployment.s3_endpoint else work.gigabytes
    # A Network Load Balancer's capacity unit is 1 GB an hour; 300 open associations are far from its other bounds.
    return [
        *rows,
        Count("Network Load Balancer", "hours", "nlb_hour", _always(hours), hours),
        Count("Network Load Balancer", "LCU hours", "nlb_lcu_hour", _always(work.gigabytes), work.gigabytes),
        Count("Public IPv4 addresses", "address hours", "public_ipv4_hour", _always(2 * hours), 2 * hours),
        Count("NAT gateway", "hours", "nat_gateway_hour", _always(hours), hours),
        Count("NAT gateway", "GB, none with the S3 endpoint", "nat_gateway_gb", _always(through_nat), work.gigabytes),
    ]


def _storing(work: Workload, deployment: Deployment, batches: float) -> list[Count]:
    kept = work.gigabytes / DAYS_PER_MONTH * deployment.retention_days
    added = work.billed_gib
    # The product on sale says nothing of deleting what was imported: counted as a month's images on average half
    # a month old, the least that it can be.
    return [
        Count(
            "Amazon S3",
            "PUT and LIST requests",
            "s3_put_list_request",
            _always(work.images + batches * (LIST_CALLS_PER_BATCH + RESULT_OBJECTS_PER_JOB)),
            work.images * (1 + RESULT_OBJECTS_PER_JOB + 1),
        ),
        Count("Amazon S3", "GET requests", "s3_get_request", _always(work.images + 3 * batches), 3 * work.images),
        Count("Amazon S3", "GB months", "s3_storage_gb_month", _always(kept), work.gigabytes / 2),
        Count(
            "AWS HealthImaging",
            "GB months, frequent access",
            "healthimaging_frequent_access_gb_month",
            lambda month: frequent_gib(month, added),
            added / 2,
        ),
        Count(
            "AWS HealthImaging",
            "GB months, archive",
            "healthimaging_archive_instant_access_gb_month",
            lambda month: archive_gib(month, added),
            0.0,
        ),
        Count(
            "AWS HealthImaging",
            "API calls",
            "healthimaging_api_call",
            _always(HEALTHIMAGING_CALLS_PER_JOB * batches),
            HEALTHIMAGING_CALLS_PER_JOB * work.images,
        ),
    ]


def _importing(work: Workload, deployment: Deployment, batches: float) -> list[Count]:
    wake_ups = MINUTES_PER_MONTH + WAKE_UPS_PER_BATCH * batches
    busy_seconds = MINUTES_PER_MONTH * SECONDS_PER_SCHEDULED_CALL + WAKE_UPS_PER_BATCH * batches * SECONDS_PER_BATCH
    calls = CALLS_PER_IMAGE * work.images
    ledger = WRITES_PER_BATCH * batches + WRITES_PER_STUDY * work.studies + WRITES_PER_WAKE_UP * wake_ups
    ledger_gb = work.images * LEDGER_BYTES_PER_INSTANCE / GB
    write, read = "dynamodb_write_request_unit", "dynamodb_read_request_unit"
    return [
        Count(
            "AWS Step Functions",
            "state transitions",
            "step_functions_state_transition",
            _always(0.0),
            TRANSITIONS_PER_IMAGE * work.images,
        ),
        Count("AWS Lambda", "requests", "lambda_request", _always(wake_ups), calls),
        Count(
            "AWS Lambda", "GB s (arm64)", "lambda_arm64_gb_second", _always(deployment.importer_gb * busy_seconds), 0.0
        ),
        Count("AWS Lambda", "GB s (x86)", "lambda_x86_64_gb_second", _always(0.0), calls * 0.125),
        Count("Amazon DynamoDB", "writes, one per image", write, _always(WRITES_PER_INSTANCE * work.images), 0.0),
        Count("Amazon DynamoDB", "further writes", write, _always(ledger), WRITES_PER_IMAGE * work.images),
        Count("Amazon DynamoDB", "reads", read, _always(READS_PER_WAKE_UP * wake_ups), WRITES_PER_IMAGE * work.images),
        Count(
            "Amazon DynamoDB",
            "GB months",
            "dynamodb_storage_gb_month",
            lambda month: (month - 0.5) * ledger_gb,
            ledger_gb / 2,
        ),
        Count("Amazon SQS", "requests", "sqs_request", _always(0.0), QUEUE_CALLS_PER_IMAGE * work.images),
    ]


def _watching(work: Workload, deployment: Deployment) -> list[Count]:
    logs = work.studies * LOG_GB_PER_STUDY + deployment.tasks * LOG_GB_PER_TASK_MONTH
    other_logs = work.images * CALLS_PER_IMAGE * 0.5e-6
    dashboards = 1.0 if deployment.alarms else 0.0
    return [
        Count("Amazon CloudWatch", "GB of logs", "cloudwatch_logs_ingested_gb", _always(logs), other_logs),
        Count("Amazon CloudWatch", "metrics", "cloudwatch_metric_month", _always(float(deployment.metrics)), 0.0),
        Count("Amazon CloudWatch", "alarms", "cloudwatch_alarm_month", _always(float(deployment.alarms)), 0.0),
        Count("Amazon CloudWatch", "dashboards", "cloudwatch_dashboard_month", _always(dashboards), 0.0),
    ]
