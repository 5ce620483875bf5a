"""SearchDICOMStudies, SearchDICOMSeries and SearchDICOMInstances (PS3.18 10.6, QIDO-RS).

AWS HealthImaging, "Searching DICOM data": primary image sets only; matching by value, range of dates or times and
wildcard; `limit` (1,000 at most), `offset`, `fuzzymatching` on the patient's name, `includefield`. Of the attributes
that can be searched, those are here that the emulator keeps.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from healthimaging_emulator.dicom_json import element, keyword_of
from healthimaging_emulator.errors import ServiceError
from healthimaging_emulator.image_sets import ImageSets, Stored
from healthimaging_emulator.model import Answer
from healthimaging_emulator.reading import Instance
from healthimaging_emulator.state import ServiceState

DICOM_JSON = "application/dicom+json"
MAXIMUM_LIMIT, MAXIMUM_OFFSET = 1_000, 1_000_000
STUDY_KEYS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "StudyID",
)
SERIES_KEYS = (*STUDY_KEYS, "Modality", "SeriesInstanceUID", "SeriesNumber")
INSTANCE_KEYS = (*SERIES_KEYS, "SOPClassUID", "SOPInstanceUID", "InstanceNumber")
RANGES = ("StudyDate", "StudyTime", "PatientBirthDate")
NEVER_PATTERNS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True)
class Query:
    """One search, valid: criteria by keyword, and the page."""

    criteria: dict[str, str]
    include: frozenset[str]
    fuzzy: bool
    limit: int
    offset: int


def parse_query(pairs: Sequence[tuple[str, str]], allowed: tuple[str, ...]) -> Query:
    """The query parameters. Raises ServiceError (ValidationException): one is not known or not valid."""
    criteria: dict[str, str] = {}
    include: set[str] = set()
    options = {"limit": str(MAXIMUM_LIMIT), "offset": "0", "fuzzymatching": "false"}
    for name, value in pairs:
        if name == "includefield":
            include.update(keyword for each in value.split(",") if (keyword := keyword_of(each) or each))
        elif name in options:
            options[name] = value
        elif (searched := keyword_of(name)) is not None and searched in allowed:
            criteria[searched] = value
        else:
            raise ServiceError("ValidationException", f"{name} is not a query parameter of this search")
    limit, offset = (
        _number(options["limit"], "limit", MAXIMUM_LIMIT),
        _number(options["offset"], "offset", MAXIMUM_OFFSET),
    )
    return Query(criteria, frozenset(include), options["fuzzymatching"] == "true", limit, offset)


def _number(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise ServiceError("ValidationException", f"{name} must be a number from 0 to {most}")
    return int(text)


def satisfies(query: Query, instance: Instance, modalities_in_study: Iterable[str]) -> bool:
    """Whether the instance satisfies every criterion (PS3.4 C.2.2.2); an empty criterion is always satisfied."""
    for keyword, wanted in query.criteria.items():
        values = list(modalities_in_study) if keyword == "ModalitiesInStudy" else [getattr(instance, keyword)]
        if wanted and not any(_matches(keyword, wanted, each, query.fuzzy) for each in values):
            return False
    return True


def _matches(keyword: str, wanted: str, value: str, fuzzy: bool) -> bool:
    if keyword in NEVER_PATTERNS:
        return value == wanted
    if keyword in RANGES and "-" in wanted:
        low, _, high = wanted.partition("-")
        return bool(value) and (not low or value >= low) and (not high or value <= high or value.startswith(high))
    if keyword == "PatientName" and fuzzy:
        words = re.split(r"[\s^=]+", value.lower())
        return all(
            any(word.startswith(each) for word in words) for each in re.split(r"[\s^=]+", wanted.lower().strip('"'))
        )
    if "*" in wanted or "?" in wanted:
        return fnmatch.fnmatchcase(value, wanted.replace("[", "[[]"))
    return value == wanted


class DicomWebSearch:
    """The three searches over what is visible now."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def studies(self, labels: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> Answer:
        """SearchDICOMStudies: one item a study, the one updated last first."""
        return self._search(labels, pairs, STUDY_KEYS, _group_by("StudyInstanceUID"), _study, newest_first=True)

    def series(self, labels: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> Answer:
        """SearchDICOMSeries: one item a series, by Series Number."""
        return self._search(labels, pairs, SERIES_KEYS, _group_by("SeriesInstanceUID"), _series)

    def instances(self, labels: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> Answer:
        """SearchDICOMInstances: one item an instance, by Instance Number."""
        return self._search(labels, pairs, INSTANCE_KEYS, _group_by("SOPInstanceUID"), _instance)

    def _search(
        self,
        labels: Mapping[str, str],
        pairs: Sequence[tuple[str, str]],
        allowed: tuple[str, ...],
        group: Callable[[Iterable[Stored]], list[list[Stored]]],
        show: Callable[[list[Stored], Query, str], dict[str, Any]],
        newest_first: bool = False,
    ) -> Answer:
        query = parse_query(pairs, allowed)
        with self._state.lock:
            datastore = self._state.datastore(labels["datastoreId"])
            visible = _visible(datastore.image_sets, labels, self._state.clock())
        modalities = _modalities(visible)
        matching = [
            each for each in visible if satisfies(query, each.instance, modalities[each.instance.StudyInstanceUID])
        ]
        groups = group(matching)
        if newest_first:
            groups.sort(key=lambda each: max(one.visible_at for one in each), reverse=True)
        url = self._state.dicomweb_url(labels["datastoreId"])
        items = [show(each, query, url) for each in groups[query.offset : query.offset + query.limit]]
        if not items:
            # 204 by PS3.18, table 10.6.3-1; AWS's documentation does not say.
            return Answer(
                self._state.settings.search_empty_status, b"[]" * (self._state.settings.search_empty_status == 200)
            )
        return Answer(200, json.dumps(items).encode(), {"Content-Type": DICOM_JSON})


def _visible(image_sets: ImageSets, labels: Mapping[str, str], now: float) -> list[Stored]:
    """The instances of primary image sets that the index knows by now, in the order of their numbers."""
    series, study = labels.get("seriesInstanceUID"), labels.get("studyInstanceUID")
    found = [
        stored
        for image_set in image_sets.primary_image_sets(series)
        for stored in image_set.visible(now)
        if study in (None, stored.instance.StudyInstanceUID)
    ]
    return sorted(found, key=lambda each: (_order(each.instance.SeriesNumber), _order(each.instance.InstanceNumber)))


def _order(number: str) -> int:
    return int(number) if number.removeprefix("-").isdigit() else 0


def _modalities(stored: Iterable[Stored]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in stored:
        found.setdefault(each.instance.StudyInstanceUID, set()).add(each.instance.Modality)
    return found


def _group_by(keyword: str) -> Callable[[Iterable[Stored]], list[list[Stored]]]:
    def group(stored: Iterable[Stored]) -> list[list[Stored]]:
        groups: dict[str, list[Stored]] = {}
        for each in stored:
            groups.setdefault(getattr(each.instance, keyword), []).append(each)
        return list(groups.values())

    return group


def _attributes(instance: Instance, *keywords: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for keyword in keywords:
        shown |= element(keyword, getattr(instance, keyword))
    return shown


def _study(group: list[Stored], query: Query, url: str) -> dict[str, Any]:
    first = group[0].instance
    keywords = [each for each in STUDY_KEYS if each != "ModalitiesInStudy"]
    return {
        **_attributes(first, *keywords, "PatientSex"),
        **element("InstanceAvailability", "ONLINE"),
        **element("ModalitiesInStudy", *sorted({each.instance.Modality for each in group})),
        **element("NumberOfStudyRelatedSeries", len({each.instance.SeriesInstanceUID for each in group})),
        **element("NumberOfStudyRelatedInstances", len(group)),
        **element("RetrieveURL", f"{url}/studies/{first.StudyInstanceUID}"),
    }


def _series(group: list[Stored], query: Query, url: str) -> dict[str, Any]:
    first = group[0].instance
    return {
        **_attributes(first, "Modality", "BodyPartExamined", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
        **element("NumberOfSeriesRelatedInstances", len(group)),
        **element("RetrieveURL", f"{url}/studies/{first.StudyInstanceUID}/series/{first.SeriesInstanceUID}"),
    }


def _instance(group: list[Stored], query: Query, url: str) -> dict[str, Any]:
    instance = group[-1].instance
    where = f"studies/{instance.StudyInstanceUID}/series/{instance.SeriesInstanceUID}"
    shown = {
        **_attributes(
            instance, "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"
        ),
        **element("InstanceAvailability", "ONLINE"),
        **element("RetrieveURL", f"{url}/{where}/instances/{instance.SOPInstanceUID}"),
    }
    if instance.warnings and query.include & {"WarningReason", "all"}:
        shown |= element("WarningReason", *(each.warning_reason_code for each in instance.warnings))
    return shown
