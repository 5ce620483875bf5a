"""AWS's protocols as botocore's service models describe them: requests read, answers written."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import botocore.session
from botocore.model import OperationModel, ServiceModel

# The signing name of each service, and the name that botocore has for its model.
SERVICES = {
    "aws-marketplace": "marketplace-catalog",
    "ecr": "ecr",
    "cloudformation": "cloudformation",
    "sts": "sts",
}
XML_NAMESPACES = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "cloudformation": "http://cloudformation.amazonaws.com/doc/2010-05-15/",
}


@cache
def model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def parse_request(
    service: str, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[OperationModel, dict[str, Any]]:
    """The operation that a request is for, and its parameters as botocore names them."""
    described = model(service)
    address = urlsplit(path)
    if service == "ecr":
        return described.operation_model(headers["X-Amz-Target"].split(".")[-1]), json.loads(body)
    if service in XML_NAMESPACES:
        form = dict(parse_qsl(body.decode()))
        assert form.pop("Version") == described.api_version
        return described.operation_model(form.pop("Action")), form
    for name in described.operation_names:
        operation = described.operation_model(name)
        if (operation.http["method"], operation.http["requestUri"]) == (method, address.path):
            if method == "POST":
                return operation, json.loads(body)
            query = dict(parse_qsl(address.query))
            places = {m.serialization.get("name", n): n for n, m in operation.input_shape.members.items()}
            return operation, {places[key]: value for key, value in query.items()}
    raise AssertionError(f"{service} has no {method} {path}")


def xml_answer(service: str, operation: OperationModel, answer: dict[str, Any]) -> bytes:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in answer.items())
    name = operation.name
    return (
        f'<{name}Response xmlns="{XML_NAMESPACES[service]}"><{name}Result>{inside}</{name}Result></{name}Response>'
    ).encode()
