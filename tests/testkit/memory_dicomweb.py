"""HealthImaging's DICOMweb side of the AWS in memory: StoreDICOM and the searches, with all that may go wrong.

An object is judged by its first bytes, as by an import job (memory_aws); with `WARN:n` in it, it is stored with
warning code n. What happens to the next requests is a script: "throttled", "lost before" and "lost after" the effect,
"broken" (a 500), "denied", "half" (every second instance is refused), "garbage" (an unreadable answer); "" is all well.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from import_lambda.aws import ImageSet, ListedObject, Series, StoreAnswer
from import_lambda.errors import AwsError, TryLater, error_of

if TYPE_CHECKING:
    from tests.testkit.memory_world import World

ERRORS = {
    "throttled": ("ThrottlingException", 429),
    "broken": ("InternalServerException", 500),
    "denied": ("AccessDeniedException", 403),
}


@dataclass
class Known:
    """An instance in a primary image set; searches know it from `visible_at` on (epoch seconds)."""

    visible_at: float
    codes: tuple[int, ...]


@dataclass
class MemoryDicomWeb:
    """What DICOMweb knows, how fast it is, and what it will do to the next requests."""

    store_seconds: float = 0.0
    bytes_per_second: float = 0.0
    search_lag_seconds: float = 0.0
    script: list[str] = field(default_factory=list)  # of StoreDICOM requests
    search_script: list[str] = field(default_factory=list)
    default: str = ""  # what happens when the script is over
    instances: dict[Series, dict[str, Known]] = field(default_factory=lambda: defaultdict(dict))
    image_sets: dict[Series, dict[str, ImageSet]] = field(default_factory=lambda: defaultdict(dict))
    requests: list[tuple[str, ...]] = field(default_factory=list)  # keys of each request that took effect
    largest_round: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def next_outcome(self) -> str:
        """What happens to the next StoreDICOM request."""
        outcome = self.script.pop(0) if self.script else self.default
        self.outcomes[outcome] += 1
        return outcome

    def enter(self, key: str, is_primary: bool, utc_now: float, codes: tuple[int, ...] = ()) -> None:
        """An instance is imported, by whichever way."""
        _, _, study, series, sop = key.removesuffix(".dcm").split("/")
        image_set = hashlib.md5(f"{study}/{series}/{is_primary}".encode(), usedforsecurity=False).hexdigest()
        visible_at = utc_now + self.search_lag_seconds
        self.image_sets[study, series][image_set] = ImageSet(image_set, is_primary, visible_at)
        if is_primary:
            self.instances[study, series][sop] = Known(visible_at, codes)

    def store(self, read: Callable[[str], bytes | None], keys: list[str], utc_now: float, half: bool) -> StoreAnswer:
        """StoreDICOM takes effect; `read` returns an object's bytes."""
        answer = StoreAnswer({}, {})
        effective = []
        for number, key in enumerate(keys):
            sop, body = key.rpartition("/")[2].removesuffix(".dcm"), read(key)
            if body is None or body.startswith(b"SILENT"):
                continue
            codes = (int(body.split(b":")[1]),) if b"WARN:" in body else ()
            if not body.startswith((b"DICM", b"CONFLICT")) or (half and number % 2):
                answer.refused[sop] = 0x0110
                continue
            self.enter(key, not body.startswith(b"CONFLICT"), utc_now, codes)
            answer.stored[sop] = codes
            effective.append(key)
        self.requests.append(tuple(effective))
        return answer


class DicomWebCalls:
    """The DICOMweb part of `MemoryAws`, which brings `world` and `call`."""

    world: World

    def call(self, name: str, effect: Callable[[], Any]) -> Any:
        raise NotImplementedError

    def store(self, requests: list[tuple[ListedObject, ...]]) -> list[StoreAnswer | AwsError]:
        """Requests at once: the longest one is what they take."""
        web: MemoryDicomWeb = self.world.dicomweb
        web.largest_round = max(web.largest_round, len(requests))
        largest = max(sum(one.bytes for one in request) for request in requests)
        self.world.time += web.store_seconds + (largest / web.bytes_per_second if web.bytes_per_second else 0.0)
        self.world.tick()
        return [self.call("medical-imaging:store", partial(self.store_one, request)) for request in requests]

    def store_one(self, request: tuple[ListedObject, ...]) -> StoreAnswer | AwsError:
        web: MemoryDicomWeb = self.world.dicomweb
        outcome = web.next_outcome()
        if outcome in ERRORS:
            return error_of(*ERRORS[outcome])
        if outcome == "lost before":
            return TryLater("ConnectionClosedError")
        answer = web.store(self.body_of, [one.key for one in request], self.world.time, outcome == "half")
        for key in web.requests[-1]:
            self.world.image_sets[key] += 1
        return TryLater("UnreadableAnswer") if outcome in {"lost after", "garbage"} else answer

    def body_of(self, key: str) -> bytes | None:
        stored = self.world.buckets["landing"].get(key)
        return None if stored is None else stored.body

    def search_instances(self, series: list[Series]) -> list[dict[str, tuple[int, ...]] | AwsError]:
        return list(self.searched(series, self.instances_of))

    def search_image_sets(self, series: list[Series]) -> list[list[ImageSet] | AwsError]:
        return list(self.searched(series, self.image_sets_of))

    def searched(self, series: list[Series], look: Callable[[Series], Any]) -> Iterator[Any]:
        web: MemoryDicomWeb = self.world.dicomweb
        for one in series:
            outcome = web.search_script.pop(0) if web.search_script else ""
            if outcome:
                yield error_of(*ERRORS[outcome])
            else:
                yield self.call("medical-imaging:search", partial(look, one))

    def instances_of(self, series: Series) -> dict[str, tuple[int, ...]]:
        found = self.world.dicomweb.instances[series]
        return {sop: known.codes for sop, known in found.items() if known.visible_at <= self.world.time}

    def image_sets_of(self, series: Series) -> list[ImageSet]:
        return [one for one in self.world.dicomweb.image_sets[series].values() if one.updated_at <= self.world.time]
