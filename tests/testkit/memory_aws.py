"""One importer's view of an AWS in memory: every call can be interrupted before and after it takes effect."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from import_lambda.aws import Item, Job, ListedObject, Page
from import_lambda.errors import Conflict, TryLater, error_of
from import_lambda.settings import MAX_LISTED_OBJECTS
from tests.testkit.memory_dicomweb import DicomWebCalls
from tests.testkit.memory_world import COMPARISONS, MemoryJob, World

CALL_SECONDS = 30.0  # how long a call may take


class KilledError(BaseException):
    """The function was killed: nothing in the code under test may catch it."""


def duplicate(item: Item | None) -> Item:
    """An item as DynamoDB returns it: nobody else's. None stays what it is."""
    if item is None:
        return item  # type: ignore[return-value]
    return {name: list(value) if isinstance(value, list) else value for name, value in item.items()}


class MemoryAws(DicomWebCalls):
    """What one importer sees of a `World`; implements `Aws`.

    `interrupt(moment, number, name)` is called with moment "before" and "after" each call, and may raise
    KilledError, run another importer, or raise one of the importer's errors.
    """

    def __init__(
        self, world: World, skew: float = 0.0, interrupt: Callable[[str, int, str], None] | None = None
    ) -> None:
        self.world, self.skew, self.interrupt, self.number = world, skew, interrupt, 0

    def now(self) -> float:
        return self.world.time + self.skew

    def sleep(self, seconds: float) -> None:
        self.world.time += seconds
        self.world.tick()

    def call(self, name: str, effect: Callable[[], Any]) -> Any:
        self.number += 1
        number = self.number
        self.world.calls[name] += 1
        self.world.time += self.world.call_seconds
        self.world.tick()
        if self.interrupt:
            self.interrupt("before", number, name)
        try:
            return effect()
        finally:
            if self.interrupt:
                self.interrupt("after", number, name)

    # - S3 -

    def list_objects(self, bucket: str, prefix: str) -> list[ListedObject]:
        def listing() -> list[ListedObject]:
            return [one.found for one in islice(self.world.buckets[bucket].below(prefix), MAX_LISTED_OBJECTS)]

        self.note(prefix)
        found: list[ListedObject] = self.call("s3:list", partial(self.listed, bucket, prefix, "", listing))
        self.world.calls["s3:list"] += len(found) // 1000  # ListObjectsV2 answers with 1,000 keys
        return found

    def list_page(self, bucket: str, prefix: str, start_after: str = "", delimiter: str = "") -> Page:
        def listing() -> Page:
            inside = self.world.buckets[bucket]
            top = f"{prefix.split('/', 1)[0]}/"
            stored = inside.groups.get(top, {}).values() if delimiter else inside.below(prefix)
            rows = [(one.found.key, one.found) for one in stored if one.found.key.startswith(prefix)]
            folders = [(folder, None) for folder in inside.folders(prefix)] if delimiter else []
            last = f"{start_after[:-1]}/" if start_after.endswith("0") else ""  # as S3: a folder behind the key counts
            entries = sorted(row for row in [*rows, *folders] if row[0] > start_after and row[0] != last)
            page, more = entries[:1000], len(entries) > 1000
            objects = [one for _, one in page if one is not None]
            names = [name for name, one in page if one is None]
            end = page[-1][0] if more else ""
            return Page(objects, names, f"{end[:-1]}0" if end.endswith("/") else end)

        self.note(prefix)
        page: Page = self.call("s3:list", partial(self.listed, bucket, prefix, start_after, listing))
        return page

    def note(self, key: str) -> None:
        """Keep which batch the next call is about."""
        parts = key.split("/")
        self.world.about = parts[1] if len(parts) > 1 else ""

    def listed(self, bucket: str, prefix: str, start_after: str, listing: Callable[[], Any]) -> Any:
        """A listing takes its time for each delete marker that it passes, and longer than a call may."""
        if self.world.seconds_per_marker:
            seconds = self.world.buckets[bucket].markers_below(prefix, start_after) * self.world.seconds_per_marker
            self.world.time += min(seconds, CALL_SECONDS)
            if seconds > CALL_SECONDS:
                raise TryLater("ReadTimeoutError")
        return listing()

    def read(self, bucket: str, key: str) -> bytes:
        def reading() -> bytes:
            stored = self.world.buckets[bucket].get(key)
            if stored is None:
                raise error_of("NoSuchKey", 404)
            return stored.body

        body: bytes = self.call("s3:get", reading)
        return body

    def write(self, bucket: str, bodies: list[tuple[str, bytes]]) -> None:
        for key, body in bodies:
            self.call("s3:put", partial(self.world.put, bucket, key, body))

    def copy(self, bucket: str, pairs: list[tuple[ListedObject, str]]) -> list[ListedObject]:
        def copying(found: ListedObject, key: str) -> bool:
            stored = self.world.buckets[bucket].get(found.key)
            if stored is None or stored.found.etag != found.etag:
                return False
            self.world.put(bucket, key, stored.body, stored.found.bytes)
            return True

        return [found for found, key in pairs if self.call("s3:copy", partial(copying, found, key))]

    def delete(self, bucket: str, found: list[ListedObject]) -> None:
        def deleting() -> None:
            assert len(found) <= 1000, "DeleteObjects takes 1,000 keys"
            for one in found:
                stored = self.world.buckets[bucket].get(one.key)
                if stored is not None and stored.found.etag == one.etag:
                    self.world.buckets[bucket].pop(one.key)

        self.call("s3:delete", deleting)

    # - DynamoDB -

    def get_item(self, pk: str, sk: str) -> Item | None:
        item: Item | None = self.call("dynamodb:get", lambda: duplicate(self.world.ledger[pk].get(sk)))
        return item

    def query(self, pk: str, sk_prefix: str) -> list[Item]:
        def querying() -> list[Item]:
            rows = self.world.ledger[pk].items() if pk in self.world.ledger else ()
            return [duplicate(item) for sk, item in sorted(rows) if sk.startswith(sk_prefix)]

        items: list[Item] = self.call("dynamodb:query", querying)
        return items

    def unsettled(self) -> list[Item]:
        def querying() -> list[Item]:
            return [duplicate(item) for _, item in sorted(self.world.shown_index().items())]

        items: list[Item] = self.call("dynamodb:query", querying)
        return items

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        def putting() -> None:
            pk, sk = item["pk"], item["sk"]
            old = self.world.ledger[pk].get(sk)
            if old is not None:
                holds = name and name in old and COMPARISONS[operator](old[name], value)
                if not holds:
                    raise error_of("ConditionalCheckFailedException", 400)
            self.world.ledger[pk][sk] = duplicate(item)
            if sk == "BATCH":
                self.world.change_index(pk, self.world.ledger[pk][sk] if "unsettled" in item else None)

        self.call("dynamodb:put", putting)

    def create_items(self, items: list[Item]) -> list[Item]:
        left = []
        for item in items:
            try:
                self.put_item(item)
            except Conflict:
                left.append(item)
        return left

    def put_items(self, items: list[Item]) -> None:
        for item in items:
            with suppress(Conflict):
                self.put_item(item, "revision", "<=", item["revision"])

    def open_items(self, kind: str) -> list[Item]:
        def querying() -> list[Item]:
            rows = [item for rows in self.world.ledger.values() for item in rows.values() if item.get("open") == kind]
            return [duplicate(item) for item in sorted(rows, key=lambda item: str(item["open_since"]))]

        items: list[Item] = self.call("dynamodb:query", querying)
        return items

    def count_open(self, kind: str) -> int:
        return len(self.open_items(kind))

    def create(self, bucket: str, key: str, body: bytes) -> None:
        def creating() -> None:
            if self.world.buckets[bucket].get(key) is None:
                self.world.put(bucket, key, body)

        self.call("s3:put", creating)

    # - HealthImaging -

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job:
        assert input_uri.endswith("/"), "a prefix that does not end in / may match its neighbours"
        assert len(name) <= 64
        self.world.about = name
        input_prefix, output_prefix = (uri.split("/", 3)[3] for uri in (input_uri, output_uri))
        job: MemoryJob = self.call(
            "medical-imaging:start", lambda: self.world.start(name, name, input_prefix, output_prefix)
        )
        return job.job

    def get_job(self, job_id: str) -> Job:
        def getting() -> Job:
            if job_id not in self.world.jobs or not self.is_shown(self.world.jobs[job_id]):
                raise error_of("ResourceNotFoundException", 404)
            return self.world.jobs[job_id].job

        job: Job = self.call("medical-imaging:get", getting)
        return job

    def list_jobs(self, status: str) -> list[Job]:
        def listing() -> list[Job]:
            return [one.job for one in self.world.running.values() if one.job.status == status and self.is_shown(one)]

        jobs: list[Job] = self.call("medical-imaging:list", listing)
        return jobs

    def is_shown(self, job: MemoryJob) -> bool:
        return self.world.time >= job.job.submitted_at + self.world.job_shown_after_seconds
