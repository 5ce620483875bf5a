"""GetDICOMInstance and GetDICOMInstanceFrames (PS3.18 10.4, WADO-RS), in the transfer syntax in which the data came.

AWS HealthImaging, "Getting a DICOM instance", "Getting DICOM instance frames": primary image sets only, unless
`imageSetId` names another. The service transcodes what it stores and what it returns; here nothing is transcoded:
frames of uncompressed pixel data come as Explicit VR Little Endian, compressed ones only for `transfer-syntax=*`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydicom.uid import UID

from healthimaging_emulator.errors import NotEmulated, ServiceError
from healthimaging_emulator.frames import frames_of
from healthimaging_emulator.image_sets import Stored
from healthimaging_emulator.model import Answer, header_of, json_answer
from healthimaging_emulator.multipart import build
from healthimaging_emulator.reading import Instance
from healthimaging_emulator.state import ServiceState

UNREADABLE_PIXEL_DATA = (45328, 45329, 45330)  # "malformed and cannot be retrieved", AWS's warning codes
FRAME_LIST = re.compile(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*")


class DicomWebRetrieve:
    """The two operations."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def instance(self, labels: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """GetDICOMInstance: the Part 10 file as it was imported. Raises ServiceError: there is none."""
        instance, data = self._bytes(labels, query)
        content_type = f"application/dicom; transfer-syntax={instance.transfer_syntax_uid}"
        return Answer(200, data, {"Content-Type": content_type})

    def frames(self, labels: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """GetDICOMInstanceFrames: a part for each frame asked for. Raises ServiceError: there is none."""
        if not FRAME_LIST.fullmatch(labels["frameList"]):
            raise ServiceError("ValidationException", "frameList must be frame numbers with commas between them")
        instance, data = self._bytes(labels, query)
        if any(each.warning_reason_code in UNREADABLE_PIXEL_DATA for each in instance.warnings):
            return not_acceptable("The pixel data of this instance cannot be retrieved as frames")
        all_frames = frames_of(data)
        if all_frames is None:
            raise ServiceError("ResourceNotFoundException", "The instance has no pixel data")
        syntax = UID(instance.transfer_syntax_uid)
        if syntax.is_encapsulated and "transfer-syntax=*" not in header_of(headers, "Accept").replace(" ", ""):
            return not_acceptable("The frames cannot be returned in this transfer syntax; ask for transfer-syntax=*")
        numbers = [int(each) for each in labels["frameList"].split(",")]
        if max(numbers) > len(all_frames):
            raise ServiceError("ResourceNotFoundException", f"The instance has {len(all_frames)} frames")
        shown = syntax if syntax.is_encapsulated else "1.2.840.10008.1.2.1"
        header = f"Content-Type: application/octet-stream; transfer-syntax={shown}"
        content_type, body = build(((header, all_frames[number - 1]) for number in numbers), "application/octet-stream")
        return Answer(200, body, {"Content-Type": content_type})

    def _bytes(self, labels: Mapping[str, str], query: Mapping[str, str]) -> tuple[Instance, bytes]:
        with self._state.lock:
            stored = self._stored(labels, query.get("imageSetId"))
            data = self._state.files.read(stored.instance.sha256)
        if data is None:
            raise NotEmulated("retrieving while the setting keep_bytes is false")
        return stored.instance, data

    def _stored(self, labels: Mapping[str, str], image_set_id: str | None) -> Stored:
        image_sets = self._state.datastore(labels["datastoreId"]).image_sets
        candidates = image_sets.primary_image_sets(labels["seriesInstanceUID"])
        if image_set_id is not None:
            candidates = [each for each in image_sets if each.image_set_id == image_set_id]
        for image_set in candidates:
            stored = image_set.current.get(labels["sopInstanceUID"])
            if stored is None or stored.visible_at > self._state.clock():
                continue
            identity = (stored.instance.StudyInstanceUID, stored.instance.SeriesInstanceUID)
            if identity == (labels["studyInstanceUID"], labels["seriesInstanceUID"]):
                return stored
        raise ServiceError("ResourceNotFoundException", "There is no such instance in this image set")


def not_acceptable(message: str) -> Answer:
    """406 NotAcceptableException, which the service model does not have."""
    return json_answer(406, {"message": message}, {"x-amzn-ErrorType": "NotAcceptableException"})
