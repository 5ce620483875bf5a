"""Object keys of the landing bucket: the layout that receiver and importer agree on (ADR 1)."""

from typing import Final

INCOMING: Final = "incoming"
BATCHES: Final = "batches"


def object_key(batch: str, study: str, series: str, sop: str) -> str:
    """``incoming/<batch>/<StudyInstanceUID>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm``."""
    return f"{INCOMING}/{batch}/{study}/{series}/{sop}.dcm"


def manifest_key(batch: str) -> str:
    """``batches/<batch>.json``, written once the batch is closed."""
    return f"{BATCHES}/{batch}.json"
