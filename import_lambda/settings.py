"""Settings: the function's environment, and the importer's own limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

MAX_FOLDERS_PER_JOB = 10_000  # quota "nested folders per job": a count of folders, not a depth
MAX_FAILURES = 3  # jobs that a batch gets before it is halved or its objects are doubted
MAX_START_CALLS = 5  # calls of StartDICOMImportJob in a row while it is throttled
MAX_FAILED_START_CALLS = 3  # the same, while it fails in another way
MAX_STARTS_PER_PASS = 30  # so that finished jobs are settled in between
MAX_START_FAILURES = 3  # batches in a row that HealthImaging starts no job for, before this pass stops asking
LEASE_SECONDS = 120  # longer than any one call: connect and read time-outs, and one repetition
SLICE_SECONDS = 20  # that one batch may take in a pass before the others have their turn
PENDING_PER_SLICE = 100  # objects whose quarantine is written down at once; their reasons are in the batch item
LISTED_STUDIES = 100  # UIDs in a batch item, which DynamoDB limits to 400 KB; each study has its own item
LISTED_TITLES, MAX_TITLE_LENGTH = 100, 64  # an AE title has 16 characters; what is longer is no title, and is cut
MAX_REASON_LENGTH = 2048
MAX_MANIFEST_BYTES = 16 * 1024**2  # 100,000 instances of 160 bytes
MAX_LISTED_OBJECTS = 20_000  # of one prefix at a time: what is beyond is seen when these are gone
MAX_UNRECOGNIZED_PER_PASS = 100
MANIFEST_LAG_SECONDS = 600  # how long a COMPLETED job's manifest may be missing before that is an error
UNKNOWN_JOB_SECONDS = 600  # how long after its start a job may be unknown
UNKNOWN_STATUS_SECONDS = 6 * 3600  # how long a job may have a status that is not documented
RETRY_SECONDS, SLOW_RETRY_SECONDS = 30, 900
SPARE_SECONDS = 30  # kept of Lambda's time for leaving in order
METRICS_SECONDS = 60

# An object that HealthImaging neither imports nor names as faulty is condemned by one job more than stand here; each
# has failed while HealthImaging imported something else. Between two of them lie so many times DOUBT_SPACING_SECONDS.
DOUBT_SPACINGS = (1, 2, 4)

ORPHAN_SCAN_SECONDS = 300  # between two looks at incoming/ for batches without manifest
SWEEP_SECONDS = 86_400  # between two looks at everything
SWEEP_DAYS = 62  # how far back that looks; what was stored before has been looked at as often
SWEEP_CALLS_PER_PASS = 50


@dataclass(frozen=True)
class Settings:
    """The environment, checked. A field's name in capitals is its variable; `allowed` says what it may be.

    The quotas' defaults are HealthImaging's documented ones ("Endpoints and quotas", "Throttling limits").
    """

    landing_bucket: str = field(metadata={"allowed": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"})
    results_bucket: str = field(metadata={"allowed": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"})
    ledger_table: str = field(metadata={"allowed": r"[A-Za-z0-9_.-]{3,255}"})
    datastore_id: str = field(metadata={"allowed": r"[0-9a-z]{32}"})
    data_access_role_arn: str = field(metadata={"allowed": r"arn:aws[^:]*:iam::[0-9]{12}:role/.+"})
    stack_name: str = field(metadata={"allowed": r".{1,128}"})
    doubt_spacing_seconds: int = field(default=3600, metadata={"allowed": (60, 86_400)})
    orphan_after_seconds: int = field(default=900, metadata={"allowed": (60, 86_400)})
    job_starts_per_second: float = field(default=1.0, metadata={"allowed": (0.01, 100)})
    max_concurrent_jobs: int = field(default=100, metadata={"allowed": (1, 10_000)})
    fast_import: str = field(default="true", metadata={"allowed": "true|false"})  # small batches by StoreDICOM
    fast_max_bytes: int = field(default=300_000_000, metadata={"allowed": (1, 1_000_000_000)})  # of such a batch
    fast_max_instances: int = field(default=1_000, metadata={"allowed": (1, 5_000)})
    commitment_alarm_seconds: int = field(default=3600, metadata={"allowed": (60, 86_400)})  # a result undelivered
    device_days: int = field(default=400, metadata={"allowed": (1, 3_650)})  # how long DEVICE# items stay
    max_files_per_job: int = field(default=5_000, metadata={"allowed": (1, 100_000)})
    max_bytes_per_job: int = field(default=10_000_000_000, metadata={"allowed": (1_000_000, 10 * 1024**3)})


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the checked environment.

    Raises ValueError: a value is missing or not allowed; one sentence names variable, value and what is allowed.
    """
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name, allowed, text = item.name.upper(), item.metadata["allowed"], environ.get(item.name.upper(), "")
        default = getattr(Settings, item.name, None)
        if not text and default is not None:
            continue
        if isinstance(allowed, str):
            if not re.fullmatch(allowed, text):
                raise ValueError(f"{name} is {text!r}; it must match {allowed}")
            values[item.name] = text
            continue
        kind = float if isinstance(default, float) else int
        try:
            values[item.name] = kind(text)
        except ValueError:
            values[item.name] = None
        if values[item.name] is None or not allowed[0] <= values[item.name] <= allowed[1]:
            raise ValueError(f"{name} is {text!r}; it must be {kind.__name__} {allowed[0]} to {allowed[1]}")
    return Settings(**values)


def backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    return min(RETRY_SECONDS * 2.0 ** min(failures, 10), SLOW_RETRY_SECONDS)
