"""Requests and answers as botocore's service model for `medical-imaging` describes them (protocol rest-json).

botocore itself checks neither patterns nor enumerations nor maxima; the service does, and so does this.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import botocore.session

from healthimaging_emulator.errors import ServiceError

NUMERIC = ("integer", "long", "float", "double")
LABEL = re.compile(r"\{([^}+]+)\+?\}")


@dataclass(frozen=True)
class Route:
    """One operation: its model, and the paths it answers to."""

    name: str
    method: str
    path: re.Pattern[str]
    operation: Any


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class ServiceModel:
    """The service model, read once."""

    def __init__(self) -> None:
        self._model = botocore.session.get_session().get_service_model("medical-imaging")
        self.routes = [self._route(name) for name in self._model.operation_names]
        self._statuses = {
            shape.name: shape.metadata["error"]["httpStatusCode"]
            for shape in map(self._model.shape_for, self._model.shape_names)
            if shape.metadata.get("error")
        }

    def _route(self, name: str) -> Route:
        operation = self._model.operation_model(name)
        path = LABEL.sub(r"(?P<\1>[^/]+)", operation.http["requestUri"])
        return Route(name, operation.http["method"], re.compile(path), operation)

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The operation that `method` and `path` (still percent-encoded) name, with its labels decoded."""
        for route in self.routes:
            if route.method == method and (found := route.path.fullmatch(path)):
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
        return None

    def error(self, code: str, message: str) -> Answer:
        """An error in the form of rest-json, with the status that the model gives to `code`."""
        return json_answer(self._statuses[code], {"message": message}, {"x-amzn-ErrorType": code})


def header_of(headers: Mapping[str, str], name: str) -> str:
    """The value of a request header, whatever the case of its name; empty when it is missing."""
    return next((value for each, value in headers.items() if each.lower() == name.lower()), "")


def json_answer(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """`value` as a JSON answer."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def parse_request(route: Route, labels: Mapping[str, str], query: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The request's parameters, valid by the model. Raises ServiceError (ValidationException) otherwise."""
    shape = route.operation.input_shape
    payload = shape.serialization.get("payload")
    document = _document(body)
    parameters: dict[str, Any] = {}
    for name, member in shape.members.items():
        location, wire = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "uri":
            parameters[name] = labels[wire]
        elif location == "querystring" and wire in query:
            parameters[name] = _from_text(member, query[wire])
        elif location is None and name == payload and body:
            parameters[name] = document
        elif location is None and payload is None and document.get(wire) is not None:
            parameters[name] = document[wire]
    refuse_if_invalid(shape, parameters)
    converted: dict[str, Any] = _from_json(shape, parameters)
    return converted


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body) if body else {}
    except ValueError as error:
        raise ServiceError("ValidationException", f"The request body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ServiceError("ValidationException", "The request body is not a JSON object")
    return document


def _from_text(shape: Any, text: str) -> Any:
    if shape.type_name in NUMERIC and re.fullmatch(r"-?\d+", text):
        return int(text)
    return text


def _from_json(shape: Any, value: Any) -> Any:
    """A valid value with its timestamps as datetime."""
    if shape.type_name == "structure":
        return {name: _from_json(shape.members[name], each) for name, each in value.items() if name in shape.members}
    if shape.type_name == "list":
        return [_from_json(shape.member, each) for each in value]
    if shape.type_name == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    return value


def refuse_if_invalid(shape: Any, value: Any) -> None:
    """Raise ServiceError (ValidationException) that lists what the model does not allow, in AWS's own words."""
    found = list(violations(shape, value, ""))
    if found:
        plural = "s" if len(found) > 1 else ""
        raise ServiceError("ValidationException", f"{len(found)} validation error{plural} detected: {'; '.join(found)}")


def violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    """One sentence for each constraint of `shape` that `value`, as JSON gives it, does not satisfy."""
    if not _is_of_kind(value, _KINDS[shape.type_name]):
        yield _sentence(shape, value, path, f"Member must be of type {shape.type_name}")
    elif shape.type_name == "structure":
        yield from _structure_violations(shape, value, path)
    elif shape.type_name == "list":
        yield from _length_violations(shape, value, path)
        for index, each in enumerate(value, start=1):
            yield from violations(shape.member, each, f"{path}.{index}.member")
    elif shape.type_name == "map":
        for key, each in value.items():
            yield from violations(shape.key, key, f"{path}.key")
            yield from violations(shape.value, each, f"{path}.{key}.member")
    elif shape.type_name == "string":
        yield from _length_violations(shape, value, path)
        yield from _text_violations(shape, value, path)
    elif shape.type_name in NUMERIC:
        yield from _range_violations(shape, value, path)
    elif shape.type_name == "blob":
        yield from _blob_violations(shape, value, path)


_KINDS: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "timestamp": (int, float),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}


def _is_of_kind(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _sentence(shape: Any, value: Any, path: str, constraint: str) -> str:
    shown = "" if shape.metadata.get("sensitive") else f" '{value}'"
    return f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _structure_violations(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    if shape.metadata.get("union") and len(value) != 1:
        yield f"Value at '{path}' failed to satisfy constraint: Member must have exactly one of its members set"
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, each in value.items():
        if name in shape.members and each is not None:
            yield from violations(shape.members[name], each, _join(path, name))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _length_violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and len(value) < least:
        yield _sentence(shape, value, path, f"Member must have length greater than or equal to {least}")
    if most is not None and len(value) > most:
        yield _sentence(shape, value, path, f"Member must have length less than or equal to {most}")


def _text_violations(shape: Any, value: str, path: str) -> Iterator[str]:
    enumeration, pattern = shape.metadata.get("enum"), shape.metadata.get("pattern")
    if enumeration and value not in enumeration:
        yield _sentence(shape, value, path, f"Member must satisfy enum value set: [{', '.join(enumeration)}]")
    # The model's patterns are Java's, and hold for the whole value.
    if pattern and not re.fullmatch(pattern.replace(r"\p{ASCII}", r"[\x00-\x7f]"), value, re.ASCII):
        yield _sentence(shape, value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _range_violations(shape: Any, value: float, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        yield _sentence(shape, value, path, f"Member must have value greater than or equal to {least}")
    if most is not None and value > most:
        yield _sentence(shape, value, path, f"Member must have value less than or equal to {most}")


def _blob_violations(shape: Any, value: str, path: str) -> Iterator[str]:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        yield _sentence(shape, "", path, "Member must be base64")


def build_answer(route: Route, result: Mapping[str, Any]) -> Answer:
    """`result`, by the operation's output shape: members without a value are left out, times become seconds."""
    shape = route.operation.output_shape
    headers = {}
    for name, member in shape.members.items():
        if member.serialization.get("location") == "header" and name in result:
            headers[member.serialization["name"]] = str(result[name])
    payload = shape.serialization.get("payload")
    if payload:
        return Answer(route.operation.http["responseCode"], result[payload], headers)
    body = {name: value for name, value in result.items() if name in shape.members}
    return json_answer(route.operation.http["responseCode"], _to_json(body), headers)


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_json(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    return value.timestamp() if isinstance(value, datetime) else value
