"""What is not AWS, below `/_emulator/`: settings read and changed, events and instances shown; for tests and demos.

GET instances[?history=1]   GET events   GET settings   POST settings (a JSON object of changes)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from healthimaging_emulator.model import Answer, json_answer
from healthimaging_emulator.state import ServiceState


class AdminApi:
    """Answers the requests below `/_emulator/`."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def answer(self, method: str, name: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; `name` is the path after `/_emulator/`."""
        with self._state.lock:
            if (method, name) == ("GET", "instances"):
                return json_answer(200, self._instances("history" in query))
            if (method, name) == ("GET", "events"):
                return json_answer(200, self._state.published)
            if (method, name) == ("GET", "settings"):
                return json_answer(200, asdict(self._state.settings))
            if (method, name) == ("POST", "settings"):
                return self._change_settings(body)
        return json_answer(404, {"message": "There are GET instances, GET events, GET settings and POST settings"})

    def _change_settings(self, body: bytes) -> Answer:
        try:
            self._state.settings = self._state.settings.changed(json.loads(body))
        except ValueError as error:
            return json_answer(400, {"message": str(error)})
        return json_answer(200, asdict(self._state.settings))

    def _instances(self, with_history: bool) -> list[dict[str, Any]]:
        """What the image sets hold now; with history, also what was replaced."""
        return [
            {
                "datastoreId": datastore.datastore_id,
                "imageSetId": image_set.image_set_id,
                "isPrimary": image_set.is_primary,
                "SOPInstanceUID": stored.instance.SOPInstanceUID,
                "SeriesInstanceUID": stored.instance.SeriesInstanceUID,
                "StudyInstanceUID": stored.instance.StudyInstanceUID,
                "sha256": stored.instance.sha256,
                "key": stored.key,
                "jobId": stored.job_id,
                "version": stored.version,
                "replacedInVersion": stored.replaced_in,
            }
            for datastore in self._state.datastores.values()
            for image_set in datastore.image_sets
            for stored in image_set.stored
            if with_history or image_set.current[stored.instance.SOPInstanceUID] is stored
        ]
