"""The DICOMweb side of HealthImaging (host `dicom-medical-imaging`), in no SDK: paths, and what answers them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from healthimaging_emulator.dicomweb_retrieve import DicomWebRetrieve
from healthimaging_emulator.dicomweb_search import DicomWebSearch
from healthimaging_emulator.errors import NotEmulated
from healthimaging_emulator.model import Answer
from healthimaging_emulator.state import ServiceState
from healthimaging_emulator.store_dicom import StoreDicom

_STUDY = "/studies/{studyInstanceUID}"
_SERIES = _STUDY + "/series/{seriesInstanceUID}"
_INSTANCE = _SERIES + "/instances/{sopInstanceUID}"
# Method, path below the data store, action. AWS HealthImaging developer guide, "Using DICOMweb".
PATHS = (
    ("POST", "/studies", "StoreDICOM"),
    ("POST", _STUDY, "StoreDICOMStudy"),
    ("GET", "/studies", "SearchDICOMStudies"),
    ("GET", "/series", "SearchDICOMSeries"),
    ("GET", _STUDY + "/series", "SearchDICOMSeries"),
    ("GET", "/instances", "SearchDICOMInstances"),
    ("GET", _STUDY + "/instances", "SearchDICOMInstances"),
    ("GET", _SERIES + "/instances", "SearchDICOMInstances"),
    ("GET", _INSTANCE, "GetDICOMInstance"),
    ("GET", _INSTANCE + "/frames/{frameList}", "GetDICOMInstanceFrames"),
    ("GET", _INSTANCE + "/metadata", "GetDICOMInstanceMetadata"),
    ("GET", _SERIES + "/metadata", "GetDICOMSeriesMetadata"),
)


@dataclass(frozen=True)
class DicomWebRequest:
    """One request that has a path of DICOMweb."""

    action: str
    labels: Mapping[str, str]
    pairs: Sequence[tuple[str, str]]  # query parameters in order; includefield may come several times
    headers: Mapping[str, str]
    body: bytes


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(r"/datastore/(?P<datastoreId>[^/]+)" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


_ROUTES = [(method, _pattern(path), action) for method, path, action in PATHS]


def find_request(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> DicomWebRequest | None:
    """The request, when it is one of DICOMweb; path and query as they came."""
    for wanted, pattern, action in _ROUTES:
        if wanted == method and (found := pattern.fullmatch(path)):
            labels = {name: unquote(value) for name, value in found.groupdict().items()}
            pairs = parse_qsl(query, keep_blank_values=True)
            return DicomWebRequest(action, labels, pairs, headers, body)
    return None


class DicomWeb:
    """Answers DICOMweb requests that are signed, permitted and not throttled."""

    def __init__(self, state: ServiceState, wait: Callable[[float], None]) -> None:
        self._store = StoreDicom(state, wait)
        self._search = DicomWebSearch(state)
        self._retrieve = DicomWebRetrieve(state)

    def answer(self, request: DicomWebRequest) -> Answer:
        """Answer one request. Raises ServiceError: it is refused; NotEmulated: the emulator does not have it."""
        labels, query = request.labels, dict(request.pairs)
        match request.action:
            case "StoreDICOM" | "StoreDICOMStudy":
                return self._store.store(labels, request.headers, request.body)
            case "SearchDICOMStudies":
                return self._search.studies(labels, request.pairs)
            case "SearchDICOMSeries":
                return self._search.series(labels, request.pairs)
            case "SearchDICOMInstances":
                return self._search.instances(labels, request.pairs)
            case "GetDICOMInstance":
                return self._retrieve.instance(labels, query, request.headers)
            case "GetDICOMInstanceFrames":
                return self._retrieve.frames(labels, query, request.headers)
        raise NotEmulated(request.action)
