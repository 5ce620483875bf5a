"""Manifests: what is written once a batch is closed (ADR 1), as often as it takes."""

import asyncio
from typing import Final

from storescp.batches import Batch
from storescp.keys import manifest_key
from storescp.log import Log
from storescp.manifest import encode_manifest
from storescp.metrics import Metrics
from storescp.store import AlreadyExistsError, Store, StoreError

_BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ManifestWriter:
    """Writes the manifests of closed batches, each in a task of its own."""

    def __init__(self, store: Store, metrics: Metrics, log: Log) -> None:
        self._store = store
        self._metrics = metrics
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def write(self, closed: list[Batch]) -> None:
        """Begin to write the manifests of batches that no upload holds back."""
        for batch in closed:
            task = asyncio.get_running_loop().create_task(self._write(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self, seconds: float) -> None:
        """Wait for what is being written, so many seconds at most; the importer adopts what is left by its age."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.0, seconds))
        for task in self._tasks:
            task.cancel()

    async def _write(self, batch: Batch) -> None:
        key, manifest = manifest_key(batch.batch_id), encode_manifest(batch)
        failures = 0
        while not await self._is_written(batch, key, manifest):
            await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
            failures += 1
        self._metrics.count("BatchesClosed")
        self._metrics.count("ObjectsLate", len(batch.late))
        self._log.info(
            "batch closed",
            batch=batch.batch_id,
            closed_by=batch.closed_by.value if batch.closed_by else "",
            instances=batch.instances_stored,
            bytes=batch.bytes_stored,
            studies=len({group.study_instance_uid for group in batch.groups}),
            late=len(batch.late),
        )

    async def _is_written(self, batch: Batch, key: str, manifest: bytes) -> bool:
        try:
            await self._store.create(key, manifest)
        except AlreadyExistsError:
            return True  # by a try of ours whose answer was lost: no other process knows this batch
        except StoreError as error:
            self._metrics.count("ManifestFailures")
            self._log.error("manifest not written", batch=batch.batch_id, code=error.code)
            return False
        return True
