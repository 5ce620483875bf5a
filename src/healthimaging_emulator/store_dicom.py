"""StoreDICOM and StoreDICOMStudy: instances stored while the client waits (PS3.18 10.5, STOW-RS).

AWS HealthImaging, "Storing instances with STOW-RS": up to 1 GB a request, the same rules of primary image sets as an
import job, an answer in DICOM JSON. Which status goes with a mixed outcome is not documented: it is a setting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from healthimaging_emulator import events
from healthimaging_emulator.dicom_json import element
from healthimaging_emulator.errors import ServiceError
from healthimaging_emulator.model import Answer, header_of
from healthimaging_emulator.multipart import MalformedMultipartError, media_type, parts
from healthimaging_emulator.reading import Instance, Refused, read_instance, with_injected_warnings
from healthimaging_emulator.settings import Settings
from healthimaging_emulator.state import ServiceState

PROCESSING_FAILURE = 0x0110  # PS3.7, C.5.14
CANNOT_UNDERSTAND = 0xC000  # PS3.4, table B.2-1
DOES_NOT_MATCH = 0xA900
DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True)
class NotStored:
    """One part that is not stored: its Failure Reason (0008,1197), and its UIDs as far as they could be read."""

    reason: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


class StoreDicom:
    """The two operations."""

    def __init__(self, state: ServiceState, wait: Callable[[float], None]) -> None:
        self._state = state
        self._wait = wait  # as long as the service takes, without the state's lock

    def store(self, labels: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        """Store what the body holds. Raises ServiceError: body, size or data store are not what they must be."""
        settings = self._state.settings
        if len(body) > settings.maximum_bytes_per_store:
            raise ServiceError("ValidationException", "The request is larger than the service accepts")
        contents = list(_contents(header_of(headers, "Content-Type"), body))
        if not contents:
            raise ServiceError("ValidationException", "The request has no instance")
        found = [self._read(content, labels.get("studyInstanceUID"), settings) for content in contents]
        transfer_seconds = len(body) / settings.store_bytes_per_second if settings.store_bytes_per_second else 0.0
        self._wait(settings.store_seconds + transfer_seconds)
        return self._enter(labels["datastoreId"], found, settings)

    def _read(self, content: memoryview, study_instance_uid: str | None, settings: Settings) -> Instance | NotStored:
        try:
            instance = with_injected_warnings(read_instance(bytes(content)), settings.warned_instances)
        except Refused:
            return NotStored(CANNOT_UNDERSTAND)
        identity = (instance.SOPClassUID, instance.SOPInstanceUID)
        if study_instance_uid is not None and instance.StudyInstanceUID != study_instance_uid:
            return NotStored(DOES_NOT_MATCH, *identity)
        for part, reason in settings.store_refusals.items():
            if part in instance.SOPInstanceUID:
                return NotStored(reason, *identity)
        if self._state.chance.random() * 100 < settings.store_refused_percent:
            return NotStored(PROCESSING_FAILURE, *identity)
        if settings.keep_bytes:
            self._state.files.keep(instance.sha256, content)
        return instance

    def _enter(self, datastore_id: str, found: list[Instance | NotStored], settings: Settings) -> Answer:
        """Fill the image sets, and answer."""
        with self._state.lock:
            datastore = self._state.datastore(datastore_id)
            now = self._state.clock()
            done = datastore.image_sets.importing("", now, now + settings.search_lag_seconds)
            for each in found:
                if isinstance(each, Instance):
                    done.add("", each)
            for image_set in done.touched.values():
                self._state.emit(events.image_set_event(image_set, datastore.datastore_id, datastore.arn))
        return answer_of(found, self._state.dicomweb_url(datastore_id), settings)


def _contents(content_type: str, body: bytes) -> Iterator[memoryview]:
    """The instances of a body. Raises ServiceError: it is of another type, or is broken."""
    kind, parameters = media_type(content_type)
    if kind == "application/dicom":
        yield memoryview(body)
    elif kind == "multipart/related" and parameters.get("boundary"):
        try:
            yield from parts(body, parameters["boundary"])
        except MalformedMultipartError as error:
            raise ServiceError("ValidationException", str(error)) from error
    else:
        raise ServiceError(
            "ValidationException", "Content-Type must be application/dicom, or multipart/related with a boundary"
        )


def answer_of(found: list[Instance | NotStored], url: str, settings: Settings) -> Answer:
    """The Store Instances Response (PS3.18 I.2): what is stored, with its warning; what is not, with its reason."""
    stored = [_reference(each, url) for each in found if isinstance(each, Instance)]
    failed = [_failure(each, settings) for each in found if isinstance(each, NotStored)]
    document: dict[str, Any] = element("RetrieveURL", f"{url}/studies")
    if stored:
        document |= element("ReferencedSOPSequence", *stored)
    if failed:
        document |= element("FailedSOPSequence", *failed)
    warned = any(isinstance(each, Instance) and each.warnings for each in found)
    status = 409 if not stored else settings.store_mixed_status if failed or warned else 200
    return Answer(status, json.dumps(document).encode(), {"Content-Type": DICOM_JSON})


def _reference(instance: Instance, url: str) -> dict[str, Any]:
    study, series = instance.StudyInstanceUID, instance.SeriesInstanceUID
    reference = {
        **element("ReferencedSOPClassUID", instance.SOPClassUID),
        **element("ReferencedSOPInstanceUID", instance.SOPInstanceUID),
        **element("RetrieveURL", f"{url}/studies/{study}/series/{series}/instances/{instance.SOPInstanceUID}"),
    }
    if instance.warnings:
        reference |= element("WarningReason", *(each.warning_reason_code for each in instance.warnings))
    return reference


def _failure(failed: NotStored, settings: Settings) -> dict[str, Any]:
    # The standard names a failed instance by reference; a sample of AWS's own looks for its SOP Instance UID.
    by_reference = settings.store_failures_by == "reference"
    class_keyword, instance_keyword = (
        ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
        if by_reference
        else (
            "SOPClassUID",
            "SOPInstanceUID",
        )
    )
    return {
        **element(class_keyword, failed.sop_class_uid),
        **element(instance_keyword, failed.sop_instance_uid),
        **element("FailureReason", failed.reason),
    }
