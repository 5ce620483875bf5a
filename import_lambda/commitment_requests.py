"""Storage commitment requests, as the receiver writes them (docs/adr/0001)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from import_lambda.errors import MALFORMED_DATA_ERRORS, Malformed
from import_lambda.keys import epoch


class Request(NamedTuple):
    """A request, checked: SOP class and instance as safe names, in the order of the request."""

    id: str
    calling_ae_title: str
    received_at: str
    timeout_at: str
    instances: list[tuple[str, str]]


def read_request(body: bytes) -> Request:
    """Return a request.

    Raises Malformed: it is not one.
    """
    try:
        value: dict[str, Any] = json.loads(body)
        instances = [(str(sop_class), str(instance)) for sop_class, instance in value["instances"]]
        words = [str(value[name]) for name in ("id", "calling_ae_title", "received_at", "timeout_at")]
    except (RecursionError, *MALFORMED_DATA_ERRORS):
        raise Malformed("a storage commitment request is not as docs/adr/0001 says") from None
    if not epoch(words[3]):
        raise Malformed("a storage commitment request has no timeout_at")
    return Request(words[0], words[1], words[2], words[3], instances)
