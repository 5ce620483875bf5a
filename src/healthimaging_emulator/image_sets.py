"""Image sets of one data store: which instance goes where, in which version, primary or not.

AWS HealthImaging, "Primary image sets" (since 2025-05-22). A series has one primary image set, whatever the number
of jobs it comes in; an instance that comes again replaces the older one and raises the version; one whose identifying
attributes conflict with those of the primary image set goes into a non-primary one. How the primary image set of an
instance is found is not documented. Here it is the one that holds the same SOP instance, else the one of its series;
for the first instance of a series, the study's own attributes are compared with another one of the same study.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from healthimaging_emulator.reading import Instance

STUDY_KEYS = ("PatientID", "StudyDate", "AccessionNumber", "StudyInstanceUID", "StudyID")
SERIES_KEYS = (*STUDY_KEYS, "SeriesInstanceUID", "SeriesNumber")


@dataclass
class Stored:
    """One import of one SOP instance: the image set's version when it came, and when the next one replaced it.

    Searches know it from `visible_at` on, in seconds since the epoch. What came by StoreDICOM has no key and no job.
    """

    instance: Instance
    key: str
    job_id: str
    version: int
    visible_at: float
    replaced_in: int | None = None


@dataclass
class Version:
    """One version of an image set; the time is in seconds since the epoch."""

    number: int
    made_at: float


@dataclass
class ImageSet:
    """One image set with all that was ever imported into it."""

    image_set_id: str
    is_primary: bool
    created_at: float
    versions: list[Version] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    current: dict[str, Stored] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return self.versions[-1].number

    @property
    def updated_at(self) -> float:
        return self.versions[-1].made_at

    @property
    def sample(self) -> Instance:
        """The first instance imported: its study and series attributes are the image set's."""
        return self.stored[0].instance

    def at(self, version: int) -> list[Stored]:
        """The instances of one version."""
        return [
            each
            for each in self.stored
            if each.version <= version and (each.replaced_in is None or each.replaced_in > version)
        ]

    def visible(self, now: float) -> list[Stored]:
        """The instances that searches know; one that was replaced a moment ago is still known as it was."""
        found: dict[str, Stored] = {}
        for each in self.stored:
            if each.visible_at <= now:
                found[each.instance.SOPInstanceUID] = each
        return list(found.values())

    def add(self, stored: Stored) -> None:
        uid = stored.instance.SOPInstanceUID
        if (older := self.current.get(uid)) is not None:
            older.replaced_in = stored.version
        self.stored.append(stored)
        self.current[uid] = stored


class ImageSets:
    """All image sets of one data store."""

    def __init__(self) -> None:
        self.by_id: dict[str, ImageSet] = {}
        self._primary_of_series: dict[str, ImageSet] = {}
        self._primary_of_study: dict[str, ImageSet] = {}
        self._primary_of_sop_instance: dict[str, ImageSet] = {}

    def __iter__(self) -> Iterator[ImageSet]:
        return iter(self.by_id.values())

    def importing(self, job_id: str, now: float, visible_at: float) -> Import:
        """The import of one job, or of one StoreDICOM; times are in seconds since the epoch."""
        return Import(self, job_id, now, visible_at)

    def primary_image_sets(self, series_instance_uid: str | None) -> list[ImageSet]:
        """The primary image set of a series, or all of them."""
        if series_instance_uid is None:
            return [each for each in self if each.is_primary]
        found = self._primary_of_series.get(series_instance_uid)
        return [] if found is None else [found]

    def conflict(self, instance: Instance) -> bool:
        """Whether the instance contradicts the primary image set that it would belong to."""
        own = self._primary_of_sop_instance.get(instance.SOPInstanceUID)
        own = own or self._primary_of_series.get(instance.SeriesInstanceUID)
        if own is not None:
            return _differ(own.sample, instance, SERIES_KEYS)
        sibling = self._primary_of_study.get(instance.StudyInstanceUID)
        return sibling is not None and _differ(sibling.sample, instance, STUDY_KEYS)

    def primary(self, instance: Instance) -> ImageSet | None:
        return self._primary_of_series.get(instance.SeriesInstanceUID)

    def enter(self, image_set: ImageSet, instance: Instance) -> None:
        """Find `image_set` by its instance from now on."""
        self.by_id[image_set.image_set_id] = image_set
        if image_set.is_primary:
            self._primary_of_series.setdefault(instance.SeriesInstanceUID, image_set)
            self._primary_of_study.setdefault(instance.StudyInstanceUID, image_set)
            self._primary_of_sop_instance[instance.SOPInstanceUID] = image_set

    def remove(self, image_set: ImageSet) -> None:
        """Forget an image set: what comes next for its series begins a new one."""
        del self.by_id[image_set.image_set_id]
        for index in (self._primary_of_series, self._primary_of_study, self._primary_of_sop_instance):
            for uid in [uid for uid, found in index.items() if found is image_set]:
                del index[uid]


def _differ(one: Instance, other: Instance, keywords: tuple[str, ...]) -> bool:
    return any(getattr(one, keyword) != getattr(other, keyword) for keyword in keywords)


class Import:
    """The image sets that one job, or one StoreDICOM, makes or changes; each gets one new version at most."""

    def __init__(self, image_sets: ImageSets, job_id: str, now: float, visible_at: float) -> None:
        self._all = image_sets
        self._job_id = job_id
        self._now = now
        self._visible_at = visible_at
        self._non_primary: dict[tuple[str, ...], ImageSet] = {}
        self.touched: dict[str, ImageSet] = {}
        self.matched: dict[str, set[str]] = {}  # image set id: SOP Instance UIDs of this job

    def add(self, key: str, instance: Instance) -> ImageSet:
        """Put one instance where it belongs."""
        image_set = self._non_primary_of(instance) if self._all.conflict(instance) else self._all.primary(instance)
        if image_set is None:
            image_set = ImageSet(uuid.uuid4().hex, True, self._now)
        if image_set.image_set_id not in self.touched:
            image_set.versions.append(Version(len(image_set.versions) + 1, self._now))
            self.touched[image_set.image_set_id] = image_set
        image_set.add(Stored(instance, key, self._job_id, image_set.version, self._visible_at))
        self._all.enter(image_set, instance)
        self.matched.setdefault(image_set.image_set_id, set()).add(instance.SOPInstanceUID)
        return image_set

    def _non_primary_of(self, instance: Instance) -> ImageSet:
        identity = tuple(getattr(instance, keyword) for keyword in SERIES_KEYS)
        return self._non_primary.setdefault(identity, ImageSet(uuid.uuid4().hex, False, self._now))
