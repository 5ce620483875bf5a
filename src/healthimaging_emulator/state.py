"""What the service knows and everybody needs: data stores, settings, clock, lock and events; and small common rules."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from healthimaging_emulator import events
from healthimaging_emulator.errors import ServiceError
from healthimaging_emulator.image_sets import ImageSets
from healthimaging_emulator.instance_files import InstanceFiles
from healthimaging_emulator.jobs import Job
from healthimaging_emulator.scheduler import Scheduler
from healthimaging_emulator.settings import Settings

Parameters = dict[str, Any]
Operation = Callable[[Parameters], Parameters]
PAGE = 50


@dataclass
class Datastore:
    """One data store; times are in seconds since the epoch."""

    datastore_id: str
    name: str
    arn: str
    created_at: float
    updated_at: float
    request: Parameters
    status: str = "CREATING"
    image_sets: ImageSets = field(default_factory=ImageSets)
    jobs: dict[str, Job] = field(default_factory=dict)
    by_client_token: dict[str, Job] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)  # ids of jobs that count against the quota
    waiting: list[Job] = field(default_factory=list)  # SUBMITTED beyond the quota, where that queues


class ServiceState:
    """Data stores, settings and events of one account in one Region. Operations hold `lock` while they use it."""

    def __init__(
        self, scheduler: Scheduler, publish: events.Publish, region: str, account: str, settings: Settings | None
    ) -> None:
        self.scheduler = scheduler
        self.clock = scheduler.clock
        self.region = region
        self.account = account
        self.settings = settings or Settings()
        self.datastores: dict[str, Datastore] = {}
        self.published: list[events.Event] = []
        self.lock = threading.RLock()
        self.files = InstanceFiles()
        self.chance = random.Random(self.settings.seed)
        self._publish = publish

    def datastore_arn(self, datastore_id: str) -> str:
        """The ARN of a data store with that id, whether there is one or not."""
        return f"arn:aws:medical-imaging:{self.region}:{self.account}:datastore/{datastore_id}"

    def dicomweb_url(self, datastore_id: str) -> str:
        """Where the real service has the data store's DICOMweb resources; Retrieve URLs begin with it."""
        return f"https://dicom-medical-imaging.{self.region}.amazonaws.com/datastore/{datastore_id}"

    def datastore(self, datastore_id: str) -> Datastore:
        """The data store. Raises ServiceError (ResourceNotFoundException): there is none, or it is deleted."""
        datastore = self.datastores.get(datastore_id)
        if datastore is None or datastore.status == "DELETED":
            raise ServiceError("ResourceNotFoundException", f"There is no data store {datastore_id}")
        return datastore

    def emit(self, what: events.Event) -> None:
        """Publish once, twice or never, as the settings say; always from the scheduler, never under a request."""
        settings, detail_type = self.settings, what["DetailType"]
        if detail_type in settings.lost_events or "*" in settings.lost_events:
            return
        doubled = detail_type in settings.doubled_events or "*" in settings.doubled_events
        for _ in range(2 if doubled else 1):
            self.scheduler.after(settings.event_delay_seconds, lambda: self._send(what))

    def _send(self, what: events.Event) -> None:
        self.published.append(what)
        self._publish(what)


def timestamp(seconds: float) -> datetime:
    """A time of the service, from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def page_of(items: list[Any], request: Parameters) -> tuple[list[Any], str | None]:
    """One page, and the token of the next; the token is the position where it begins."""
    token = request.get("nextToken", "0")
    if not token.isdigit():
        raise ServiceError("ValidationException", "nextToken is not one that this service gave")
    begin, size = int(token), request.get("maxResults", PAGE)
    end = begin + size
    return items[begin:end], str(end) if end < len(items) else None
