"""Quotas, rates and faults. Defaults are the documented ones, and no fault; all can be changed while it runs.

Quotas and rates: AWS HealthImaging endpoints and quotas, and throttling limits (2026-11). Where the documentation
leaves open what happens, the setting's comment says so.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Rates = dict[str, tuple[float, float]]  # operation: requests a second, burst


def documented_rates() -> Rates:
    """Requests a second and burst of each operation, as AWS documents them for an account."""
    return {
        "StartDICOMImportJob": (1, 2),
        "GetDICOMImportJob": (25, 50),
        "ListDICOMImportJobs": (10, 20),
        "CreateDatastore": (0.085, 1),
        "DeleteDatastore": (0.085, 1),
        "GetDatastore": (10, 20),
        "ListDatastores": (5, 10),
        "SearchImageSets": (25, 50),
        "GetImageSet": (25, 50),
        "ListImageSetVersions": (25, 50),
        "GetImageSetMetadata": (50, 100),
        "DeleteImageSet": (0.25, 1),
        "GetDICOMInstance": (50, 100),
        "GetDICOMInstanceFrames": (50, 100),
    }


@dataclass(frozen=True)
class Settings:
    """All that can be told to the emulator; see the comments."""

    throttling: bool = True
    rates: Rates = field(default_factory=documented_rates)
    maximum_concurrent_jobs: int = 100  # per data store; 20 in ap-southeast-2
    when_jobs_exceeded: str = "refuse"  # or "queue": which of the two AWS does is not documented
    maximum_files_per_job: int = 5_000
    maximum_bytes_per_job: int = 10_000_000_000
    maximum_bytes_per_file: int = 10_000_000_000  # older pages: 4 GB
    maximum_folders_per_job: int = 10_000
    maximum_datastores: int = 100
    maximum_bytes_per_store: int = 1_000_000_000  # StoreDICOM: "up to 1 GB of DICOM data per request"
    when_prefix_empty: str = "complete"  # or "fail": not documented
    client_token_seconds: float = 86_400.0  # a clientToken stays known that long: not documented

    datastore_creation_seconds: float = 0.0
    submitted_seconds: float = 0.0  # a job stays SUBMITTED that long
    in_progress_seconds: float = 0.0  # and IN_PROGRESS that long: a job's duration is documented nowhere
    in_progress_seconds_per_file: float = 0.0  # and for each file that much longer
    store_seconds: float = 0.0  # StoreDICOM answers after that long: documented nowhere
    store_bytes_per_second: float = 0.0  # and after its body has passed at that speed; 0 is no limit
    search_lag_seconds: float = 0.0  # searches know an instance that long after it was imported: not documented
    image_set_conflict_seconds: float = 0.0  # ConflictException on an image set that young

    event_output_s3_uri: str = "prefix"  # or "folder": documentation and a production user's code disagree
    event_delay_seconds: float = 0.0
    lost_events: tuple[str, ...] = ()  # detail-types; "*" is all of them
    doubled_events: tuple[str, ...] = ()
    manifest_lag_seconds: float = 0.0  # job-output-manifest.json appears that long after the job has ended
    warned_in_success: bool = True  # a file with a warning is in SUCCESS/, too: the documentation does not say
    summary_has_version: bool = True  # imageSetVersion, isPrimary in imageSetsSummary: seen in practice, undocumented

    store_mixed_status: int = 202  # StoreDICOM when some are stored, and some refused or warned; 202 by PS3.18, or 200
    store_failures_by: str = "reference"  # or "instance": a failed instance's element, see store_dicom.py
    search_empty_status: int = 204  # a search that finds nothing: 204 by PS3.18, or 200 with an empty list
    keep_bytes: bool = True  # keep what was imported on disk, so that it can be retrieved

    errors_before: dict[str, list[str]] = field(default_factory=dict)  # operation: errors of its next calls, in order
    errors_after: dict[str, list[str]] = field(default_factory=dict)  # the same, after the operation took effect
    lost_answers: dict[str, int] = field(default_factory=dict)  # so many next calls take effect, and get no answer
    # Operation: an error, and how many of a hundred calls get it in place of their effect (a brownout).
    error_percents: dict[str, list[Any]] = field(default_factory=dict)
    seed: int = 0  # of the chance in error_percents
    warned_instances: dict[str, int] = field(default_factory=dict)  # part of a SOP Instance UID: decimal warning code
    store_refusals: dict[str, int] = field(default_factory=dict)  # StoreDICOM: part of a SOP Instance UID, its reason
    store_refused_percent: int = 0  # StoreDICOM refuses that many of a hundred instances, with reason 0x0110
    failing_keys: tuple[str, ...] = ()  # a job that meets a key containing one of these ends FAILED
    # An object whose key contains the name ends in failure.ndjson with this exceptionType, or in no list if it is "".
    object_errors: dict[str, str] = field(default_factory=dict)
    fail_next_jobs: int = 0  # that many jobs end FAILED, from now on

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}")

    def changed(self, changes: dict[str, Any]) -> Settings:
        """These settings with some replaced, as JSON has them. Raises ValueError for a wrong name or value.

        Tables (`rates`, the errors) are merged, and null takes a row out; everything else is replaced.
        """
        known = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"There is no setting {name!r}; there are {', '.join(sorted(known))}")
            known[name] = _converted(name, known[name], value)
        return Settings(**known)


def read_behaviour_file(path: Path) -> dict[str, Any]:
    """What somebody measured or wishes: the settings of a behaviour file, `{"settings": {...}, ...}`.

    The other members say where the figures come from, and are not read. Raises ValueError: it is no such JSON;
    OSError: it cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    changes = document.get("settings") if isinstance(document, dict) else None
    if not isinstance(changes, dict):
        raise ValueError(f'{path} must be a JSON object with a member "settings" that is one, too')
    return changes


CHOICES: dict[str, tuple[Any, ...]] = {
    "when_jobs_exceeded": ("refuse", "queue"),
    "when_prefix_empty": ("complete", "fail"),
    "event_output_s3_uri": ("prefix", "folder"),
    "store_mixed_status": (200, 202),
    "store_failures_by": ("reference", "instance"),
    "search_empty_status": (200, 204),
}


def _converted(name: str, present: Any, value: Any) -> Any:
    """`value` in the type of the present one. Raises ValueError when it is of another kind."""
    if isinstance(present, bool) or isinstance(value, bool):
        fits = isinstance(present, bool) and isinstance(value, bool)
    elif isinstance(present, int | float):
        fits = isinstance(value, int | float) and value >= 0 and isinstance(present, type(value) | float)
    elif isinstance(present, tuple):
        fits = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    else:
        fits = isinstance(value, type(present))
    if not fits:
        raise ValueError(f"{name} cannot be {value!r}; it is {present!r} now")
    if isinstance(present, dict):
        return {row: each for row, each in {**present, **value}.items() if each is not None}
    return tuple(value) if isinstance(present, tuple) else value
