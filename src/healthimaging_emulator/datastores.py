"""Data stores: created, listed, shown, deleted."""

from __future__ import annotations

import uuid

from healthimaging_emulator import events
from healthimaging_emulator.errors import ServiceError
from healthimaging_emulator.state import Datastore, Operation, Parameters, ServiceState, page_of, timestamp


class DatastoreOperations:
    """The operations on data stores."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def operations(self) -> dict[str, Operation]:
        """By name of the service model."""
        return {
            "CreateDatastore": self.create_datastore,
            "DeleteDatastore": self.delete_datastore,
            "GetDatastore": self.get_datastore,
            "ListDatastores": self.list_datastores,
        }

    def create_datastore(self, request: Parameters) -> Parameters:
        """CreateDatastore."""
        for each in self._state.datastores.values():
            if each.request.get("clientToken") == request["clientToken"]:
                return {"datastoreId": each.datastore_id, "datastoreStatus": each.status}
        if (
            sum(each.status != "DELETED" for each in self._state.datastores.values())
            >= self._state.settings.maximum_datastores
        ):
            raise ServiceError("ServiceQuotaExceededException", "The quota of data stores is exceeded")
        datastore_id, now = uuid.uuid4().hex, self._state.clock()
        name = request.get("datastoreName", datastore_id)
        datastore = Datastore(datastore_id, name, self._state.datastore_arn(datastore_id), now, now, request)
        self._state.datastores[datastore_id] = datastore
        self._emit_datastore(datastore, "Data Store Creating")
        self._state.scheduler.after(self._state.settings.datastore_creation_seconds, lambda: self._activate(datastore))
        return {"datastoreId": datastore_id, "datastoreStatus": "CREATING"}

    def _activate(self, datastore: Datastore) -> None:
        with self._state.lock:
            datastore.status, datastore.updated_at = "ACTIVE", self._state.clock()
            self._emit_datastore(datastore, "Data Store Created")

    def delete_datastore(self, request: Parameters) -> Parameters:
        """DeleteDatastore; refused while there is an image set in it."""
        datastore = self._state.datastore(request["datastoreId"])
        if datastore.image_sets.by_id:
            raise ServiceError("ConflictException", "The data store has image sets: delete them first")
        if datastore.running or datastore.waiting:
            raise ServiceError("ConflictException", "The data store has import jobs that have not ended")
        datastore.status, datastore.updated_at = "DELETED", self._state.clock()
        self._emit_datastore(datastore, "Data Store Deleted")
        return {"datastoreId": datastore.datastore_id, "datastoreStatus": "DELETING"}

    def get_datastore(self, request: Parameters) -> Parameters:
        """GetDatastore."""
        datastore = self._state.datastores.get(request["datastoreId"]) or self._state.datastore(request["datastoreId"])
        optional = {
            name: datastore.request[name] for name in ("kmsKeyArn", "lambdaAuthorizerArn") if name in datastore.request
        }
        storage_format = datastore.request.get("losslessStorageFormat", "HTJ2K")
        summary = self._datastore_summary(datastore)
        return {"datastoreProperties": {**summary, **optional, "losslessStorageFormat": storage_format}}

    def list_datastores(self, request: Parameters) -> Parameters:
        """ListDatastores."""
        wanted = request.get("datastoreStatus")
        found = [
            self._datastore_summary(each) for each in self._state.datastores.values() if wanted in (None, each.status)
        ]
        page, next_token = page_of(found, request)
        return {"datastoreSummaries": page, "nextToken": next_token}

    def _datastore_summary(self, datastore: Datastore) -> Parameters:
        return {
            "datastoreId": datastore.datastore_id,
            "datastoreName": datastore.name,
            "datastoreStatus": datastore.status,
            "datastoreArn": datastore.arn,
            "createdAt": timestamp(datastore.created_at),
            "updatedAt": timestamp(datastore.updated_at),
        }

    def _emit_datastore(self, datastore: Datastore, detail_type: str) -> None:
        self._state.emit(
            events.datastore_event(detail_type, datastore.arn, datastore.datastore_id, datastore.name, datastore.status)
        )
