"""Image sets: searched, shown, listed by version, and their metadata."""

from __future__ import annotations

import gzip
import json

from healthimaging_emulator.errors import ServiceError
from healthimaging_emulator.frames import image_frames
from healthimaging_emulator.image_sets import ImageSet
from healthimaging_emulator.metadata import image_set_metadata
from healthimaging_emulator.reading import Instance
from healthimaging_emulator.search import search_image_sets, summaries
from healthimaging_emulator.state import Operation, Parameters, ServiceState, page_of, timestamp


class ImageSetOperations:
    """The operations on image sets."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def operations(self) -> dict[str, Operation]:
        """By name of the service model."""
        return {
            "SearchImageSets": self.search_image_sets,
            "GetImageSet": self.get_image_set,
            "ListImageSetVersions": self.list_image_set_versions,
            "GetImageSetMetadata": self.get_image_set_metadata,
            "DeleteImageSet": self.delete_image_set,
        }

    def search_image_sets(self, request: Parameters) -> Parameters:
        """SearchImageSets."""
        datastore = self._state.datastore(request["datastoreId"])
        criteria = request.get("searchCriteria", {})
        now = self._state.clock()
        image_sets = [each for each in datastore.image_sets if each.visible(now)]
        page, next_token = page_of(search_image_sets(image_sets, criteria), request)
        found = summaries(page, image_sets)
        return {"imageSetsMetadataSummaries": found, "sort": criteria.get("sort"), "nextToken": next_token}

    def get_image_set(self, request: Parameters) -> Parameters:
        """GetImageSet."""
        image_set, number = self.image_set(request)
        arn = f"{self._state.datastore_arn(request['datastoreId'])}/imageset/{image_set.image_set_id}"
        return {
            "datastoreId": request["datastoreId"],
            **self._image_set_version(image_set, number),
            "imageSetArn": arn,
            "storageTier": "FREQUENT_ACCESS",
        }

    def list_image_set_versions(self, request: Parameters) -> Parameters:
        """ListImageSetVersions, the newest first."""
        image_set, _ = self.image_set(request)
        versions = [self._image_set_version(image_set, each.number) for each in reversed(image_set.versions)]
        for version in versions:
            version["ImageSetWorkflowStatus"] = version.pop("imageSetWorkflowStatus")  # the model's own spelling here
        page, next_token = page_of(versions, request)
        return {"imageSetPropertiesList": page, "nextToken": next_token}

    def image_set(self, request: Parameters) -> tuple[ImageSet, int]:
        """The image set and the version that the request names."""
        image_set = self._state.datastore(request["datastoreId"]).image_sets.by_id.get(request["imageSetId"])
        if image_set is None:
            raise ServiceError("ResourceNotFoundException", f"There is no image set {request['imageSetId']}")
        if self._state.clock() < image_set.updated_at + self._state.settings.image_set_conflict_seconds:
            raise ServiceError("ConflictException", "The image set is not consistent yet")
        number = int(request.get("versionId") or image_set.version)
        if not 1 <= number <= image_set.version:
            raise ServiceError("ResourceNotFoundException", f"The image set has no version {number}")
        return image_set, number

    def delete_image_set(self, request: Parameters) -> Parameters:
        """DeleteImageSet: all versions, at once; in the real service it takes a moment."""
        image_set, _ = self.image_set(request)
        self._state.datastore(request["datastoreId"]).image_sets.remove(image_set)
        return {
            "datastoreId": request["datastoreId"],
            "imageSetId": image_set.image_set_id,
            "imageSetState": "LOCKED",
            "imageSetWorkflowStatus": "DELETING",
        }

    def _image_set_version(self, image_set: ImageSet, number: int) -> Parameters:
        return {
            "imageSetId": image_set.image_set_id,
            "versionId": str(number),
            "imageSetState": "ACTIVE",
            "imageSetWorkflowStatus": "CREATED" if number == 1 else "UPDATED",
            "createdAt": timestamp(image_set.created_at),
            "updatedAt": timestamp(image_set.versions[number - 1].made_at),
            "isPrimary": image_set.is_primary,
        }

    def get_image_set_metadata(self, request: Parameters) -> Parameters:
        """GetImageSetMetadata: the document, gzipped."""
        image_set, number = self.image_set(request)
        metadata = image_set_metadata(request["datastoreId"], image_set, number, self._image_frames)
        return {
            "imageSetMetadataBlob": gzip.compress(json.dumps(metadata).encode()),
            "contentType": "application/json",
            "contentEncoding": "gzip",
        }

    def _image_frames(self, instance: Instance) -> list[Parameters]:
        """The frames of one instance with their checksums; none when they cannot be told apart."""
        data = self._state.files.read(instance.sha256)
        return [] if data is None else image_frames(instance.sha256, data)
