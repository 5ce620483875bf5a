"""The service as a whole: its state, and the operations that requests name. No sockets, threads or clock of its own."""

from __future__ import annotations

from collections.abc import Callable

from healthimaging_emulator import events
from healthimaging_emulator.datastores import DatastoreOperations
from healthimaging_emulator.image_set_operations import ImageSetOperations
from healthimaging_emulator.import_jobs import ImportJobs, OpenObjectStore
from healthimaging_emulator.scheduler import Action, Scheduler
from healthimaging_emulator.settings import Settings
from healthimaging_emulator.state import Operation, ServiceState


class HealthImaging:
    """Data stores, jobs and image sets of one account in one Region."""

    def __init__(
        self,
        scheduler: Scheduler,
        open_object_store: OpenObjectStore,
        publish: events.Publish,
        run: Callable[[Action], None],
        region: str = "us-east-1",
        account: str = "000000000000",
        settings: Settings | None = None,
    ) -> None:
        self.state = ServiceState(scheduler, publish, region, account, settings)
        self.datastores = DatastoreOperations(self.state)
        self.operations: dict[str, Operation] = {
            **self.datastores.operations(),
            **ImportJobs(self.state, open_object_store, run).operations(),
            **ImageSetOperations(self.state).operations(),
        }
