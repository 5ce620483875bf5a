"""The events that HealthImaging sends to EventBridge (developer guide, "Using Amazon EventBridge")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from healthimaging_emulator.image_sets import ImageSet
from healthimaging_emulator.jobs import Job
from healthimaging_emulator.settings import Settings

SOURCE = "aws.medical-imaging"
IMAGING_VERSION = "1.0"
JOB_DETAIL_TYPES = {
    "SUBMITTED": "Import Job Submitted",
    "IN_PROGRESS": "Import Job In Progress",
    "COMPLETED": "Import Job Completed",
    "FAILED": "Import Job Failed",
}

Event = dict[str, Any]  # an entry of PutEvents (Source, DetailType, Resources, Detail), its detail not yet JSON
Publish = Callable[[Event], None]


def event(detail_type: str, resource_arn: str, detail: dict[str, Any]) -> Event:
    """One event about the data store `resource_arn`."""
    return {
        "Source": SOURCE,
        "DetailType": detail_type,
        "Resources": [resource_arn],
        "Detail": {"imagingVersion": IMAGING_VERSION, **detail},
    }


def job_event(job: Job, settings: Settings) -> Event:
    """The event of the status that the job has now."""
    output_s3_uri = job.folder if settings.event_output_s3_uri == "folder" else job.output_s3_uri
    return event(
        JOB_DETAIL_TYPES[job.status],
        job.datastore_arn,
        {
            "datastoreId": job.datastore_id,
            "jobId": job.job_id,
            "jobName": job.job_name,
            "jobStatus": job.status,
            "inputS3Uri": job.input_s3_uri,
            "outputS3Uri": output_s3_uri,
        },
    )


def image_set_event(image_set: ImageSet, datastore_id: str, datastore_arn: str) -> Event:
    """Image Set Created for the first version, Image Set Updated for every other."""
    created = image_set.version == 1
    return event(
        "Image Set Created" if created else "Image Set Updated",
        datastore_arn,
        {
            "datastoreId": datastore_id,
            "imagesetId": image_set.image_set_id,  # with this small s
            "imageSetVersion": str(image_set.version),  # and as a string
            "isPrimary": image_set.is_primary,
            "imageSetState": "ACTIVE",
            "imageSetWorkflowStatus": "CREATED" if created else "UPDATED",
        },
    )


def datastore_event(detail_type: str, arn: str, datastore_id: str, name: str, status: str) -> Event:
    """One of the data store's own events."""
    return event(detail_type, arn, {"datastoreId": datastore_id, "datastoreName": name, "datastoreStatus": status})
