"""A batch's manifest: what the receiver tells the importer about a closed batch (ADR 1, "Batch manifest")."""

import json
from collections import Counter
from datetime import datetime
from typing import Any, Final

from storescp import __version__
from storescp.batches import Batch

_SCHEMA: Final = 1


def encode_manifest(batch: Batch) -> bytes:
    """Encode the manifest of a closed batch. Raises `ValueError`: it is not closed, or empty."""
    if batch.closed_by is None or batch.closed_at is None or batch.last_stored_at is None:
        raise ValueError(f"batch {batch.batch_id} is not closed, or empty")
    return json.dumps(
        {
            "schema": _SCHEMA,
            "batch": batch.batch_id,
            "receiver": __version__,
            "opened_at": _timestamp(batch.opened_at),
            "closed_at": _timestamp(batch.closed_at),
            "last_stored_at": _timestamp(batch.last_stored_at),
            "closed_by": batch.closed_by.value,
            "instances": batch.instances_stored,
            "bytes": batch.bytes_stored,
            "calling_ae_titles": sorted({group.calling_ae_title for group in batch.groups}),
            "studies": _studies(batch),
            "groups": _groups(batch),
            "late": sorted(batch.late),
            "elsewhere": sorted(batch.elsewhere),
        },
        separators=(",", ":"),
    ).encode()


def _studies(batch: Batch) -> list[dict[str, Any]]:
    instances: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for group, content in batch.groups.items():
        instances[group.study_instance_uid] += len(content.sops)
        sizes[group.study_instance_uid] += content.bytes
    return [
        {
            "StudyInstanceUID": study_instance_uid,
            "instances": instances[study_instance_uid],
            "bytes": sizes[study_instance_uid],
        }
        for study_instance_uid in sorted(instances)
    ]


def _groups(batch: Batch) -> list[dict[str, Any]]:
    return [
        {
            "calling_ae_title": group.calling_ae_title,
            "StudyInstanceUID": group.study_instance_uid,
            "SeriesInstanceUID": group.series_instance_uid,
            "SOPClassUID": group.sop_class,
            "bytes": content.bytes,
            "SOPInstanceUIDs": sorted(content.sops),
        }
        for group, content in sorted(batch.groups.items())
    ]


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
