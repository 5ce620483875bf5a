"""One request in, one answer out: route, caller's permission, throttle, model, operation. No sockets.

Below `/_emulator/` is the admin API (`admin_api.py`), which is not AWS.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from healthimaging_emulator.admin_api import AdminApi
from healthimaging_emulator.dicomweb import DicomWeb, DicomWebRequest, find_request
from healthimaging_emulator.errors import AnswerLost, NotAuthenticated, NotEmulated, ServiceError
from healthimaging_emulator.model import (
    Answer,
    Route,
    ServiceModel,
    build_answer,
    header_of,
    json_answer,
    parse_request,
)
from healthimaging_emulator.service import HealthImaging
from healthimaging_emulator.throttle import Throttle

SERVICE_PRINCIPAL = "medical-imaging.amazonaws.com"
ACCESS_KEY = re.compile(r"Credential=([^/,\s]+)/")
EMULATOR = "/_emulator/"
ASKED_FOR = "An error that the emulator's settings asked for"

# Access key id, action, resource ARN, condition keys: may the owner of that key do it?
Authorize = Callable[[str, str, str, Mapping[str, str]], bool]


# Method, path and query, headers, body: raises NotAuthenticated when the signature is not that of a known key.
Authenticate = Callable[[str, str, Mapping[str, str], bytes], None]


def accept_any_signature(method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
    """For use without IAM."""


def allow_everybody(access_key_id: str, action: str, resource_arn: str, context: Mapping[str, str]) -> bool:
    """For use without IAM."""
    return True


class Api:
    """Answers requests."""

    def __init__(
        self,
        service: HealthImaging,
        authorize: Authorize = allow_everybody,
        authenticate: Authenticate = accept_any_signature,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`wait` lets the seconds pass that a synchronous request takes."""
        self.service = service
        self._authorize = authorize
        self._authenticate = authenticate
        self._model = ServiceModel()
        self._throttle = Throttle()
        self._admin = AdminApi(service.state)
        self._dicomweb = DicomWeb(service.state, wait)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; `target` is path and query as they came. Raises AnswerLost: the settings ask for it."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path.startswith(EMULATOR):
            return self._admin.answer(method, url.path.removeprefix(EMULATOR), query, body)
        try:
            return self._answer(method, url, query, headers, body)
        except ServiceError as error:
            return self._model.error(error.code, error.message)
        except NotAuthenticated as error:
            return json_answer(403, {"message": error.message}, _type(error.code))
        except NotEmulated as error:
            return json_answer(501, {"message": str(error)}, _type("NotImplementedException"))

    def _answer(
        self, method: str, url: SplitResult, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        target = url._replace(scheme="", netloc="").geturl()
        request = find_request(method, url.path, url.query, headers, body)
        found = self._model.match(method, url.path)
        if request is None and found is None:
            message = f"No operation has {method} {url.path}"
            return json_answer(404, {"message": message}, _type("UnknownOperationException"))
        self._authenticate(method, target, headers, body)
        if request is not None:
            return self._answer_dicomweb(request)
        assert found is not None
        return self._operate(*found, query, headers, body)

    def _operate(
        self,
        route: Route,
        labels: Mapping[str, str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        """Answer an operation of the service model."""
        if route.name not in self.service.operations:
            raise NotEmulated(route.name)
        access_key_id = _access_key_id(headers)
        self._require(access_key_id, f"medical-imaging:{route.name}", self._resource(labels), {})
        with self.service.state.lock:
            self._disturb_before(route.name)
            parameters = parse_request(route, labels, query, body)
            if "dataAccessRoleArn" in parameters:
                context = {"iam:PassedToService": SERVICE_PRINCIPAL}
                self._require(access_key_id, "iam:PassRole", parameters["dataAccessRoleArn"], context)
            answer = build_answer(route, self.service.operations[route.name](parameters))
            self._disturb_after(route.name)
        return answer

    def _answer_dicomweb(self, request: DicomWebRequest) -> Answer:
        """Answer an action of DICOMweb; it takes its time without the lock."""
        if header_of(request.headers, "x-amz-content-sha256").startswith("STREAMING-"):
            raise NotEmulated("a body signed in chunks")
        access_key_id = _access_key_id(request.headers)
        self._require(access_key_id, f"medical-imaging:{request.action}", self._resource(request.labels), {})
        with self.service.state.lock:
            self._disturb_before(request.action)
            self.service.state.datastore(request.labels["datastoreId"])
        answer = self._dicomweb.answer(request)
        with self.service.state.lock:
            self._disturb_after(request.action)
        return answer

    def _resource(self, labels: Mapping[str, str]) -> str:
        """The ARN that a policy must name: the image set, else the data store, else anything."""
        datastore_id = labels.get("datastoreId")
        if datastore_id is None:
            return "*"
        suffix = f"/imageset/{labels['imageSetId']}" if "imageSetId" in labels else ""
        return f"{self.service.state.datastore_arn(datastore_id)}{suffix}"

    def _require(self, access_key_id: str, action: str, resource_arn: str, context: Mapping[str, str]) -> None:
        if not self._authorize(access_key_id, action, resource_arn, context):
            raise ServiceError(
                "AccessDeniedException",
                f"The caller is not authorized to perform: {action} on resource: {resource_arn}",
            )

    def _disturb_before(self, operation: str) -> None:
        """Raise what keeps the request from taking effect: the throttle, an error of the settings, or a brownout."""
        state = self.service.state
        if state.settings.throttling and not self._throttle.admits(operation, state.settings.rates, state.clock()):
            raise ServiceError("ThrottlingException", "Rate exceeded")
        self._raise_next_error(operation, "errors_before")
        code, percent = state.settings.error_percents.get(operation, ("", 0))
        if state.chance.random() * 100 < percent:
            raise ServiceError(code, ASKED_FOR)

    def _disturb_after(self, operation: str) -> None:
        """Raise what keeps the client from learning that the request took effect."""
        state = self.service.state
        self._raise_next_error(operation, "errors_after")
        if (count := state.settings.lost_answers.get(operation, 0)) > 0:
            state.settings = state.settings.changed({"lost_answers": {operation: count - 1}})
            raise AnswerLost(operation)

    def _raise_next_error(self, operation: str, table: str) -> None:
        """Raise the next error that the settings hold for `operation`, and take it out of them."""
        errors: dict[str, list[str]] = getattr(self.service.state.settings, table)
        if errors.get(operation):
            code, *rest = errors[operation]
            self.service.state.settings = self.service.state.settings.changed({table: {operation: rest}})
            raise ServiceError(code, ASKED_FOR)


def _type(code: str) -> dict[str, str]:
    return {"x-amzn-ErrorType": code}


def _access_key_id(headers: Mapping[str, str]) -> str:
    """The access key of the request's credential scope."""
    found = ACCESS_KEY.search(header_of(headers, "Authorization"))
    if found is None:
        raise NotAuthenticated("MissingAuthenticationTokenException", "Missing Authentication Token")
    return found.group(1)


def request_id() -> str:
    """A new value of x-amzn-RequestId."""
    return str(uuid.uuid4())
