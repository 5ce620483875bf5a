"""Settings: the function's environment, and the importer's own limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

MAX_FOLDERS_PER_JOB = 10_000  # quota "nested folders per job": a count of folders, not a depth
MAX_FAILURES = 3  # jobs that a batch gets before it is halved or its objects are doubted
MAX_START_CALLS = 5  # calls of StartDICOMImportJob in a row while it is throttled
MAX_STARTS_PER_PASS = 30  # so that finished jobs are settled in between
LEASE_SECONDS = 90
LISTED_STUDIES = 100  # UIDs in a batch item, which DynamoDB limits to 400 KB; each study has its own item
MANIFEST_LAG_SECONDS = 600  # how long a COMPLETED job's manifest may be missing before that is an error
RETRY_SECONDS, SLOW_RETRY_SECONDS = 30, 900
SPARE_SECONDS = 30  # kept of Lambda's time for leaving in order


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
    orphan_after_seconds: int = field(default=900, metadata={"allowed": (60, 86_400)})
    job_starts_per_second: float = field(default=1.0, metadata={"allowed": (0.01, 100)})
    max_concurrent_jobs: int = field(default=100, metadata={"allowed": (1, 10_000)})
    fast_import: str = field(default="true", metadata={"allowed": "true|false"})  # small batches by StoreDICOM
    fast_max_bytes: int = field(default=300_000_000, metadata={"allowed": (1, 1_000_000_000)})  # of such a batch
    fast_max_instances: int = field(default=1_000, metadata={"allowed": (1, 5_000)})
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
