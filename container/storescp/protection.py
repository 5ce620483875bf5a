"""Task scale-in protection: while senders are connected, ECS stops another task first.

Source: Amazon ECS Developer Guide, "Protecting your Amazon ECS tasks from being terminated by scale-in events" and
"Task scale-in protection endpoint". Protection is never taken back: it runs out by itself, soon after the last
association. And a task that is busy for long lets it run out now and then, because a deployment waits for it.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Final

from storescp.log import Log

_EXPIRES_MINUTES: Final = 5
_RENEW_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 30 * 60.0  # of protection without a pause
_PAUSE_SECONDS: Final = (_EXPIRES_MINUTES + 5) * 60.0  # until it has run out, and five minutes without it
_LOOK_SECONDS: Final = 1.0
_REQUEST_SECONDS: Final = 5.0


class ProtectionPlan:
    """When to ask for protection; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._began = float("-inf")  # of the present stretch of protection
        self._asked = float("-inf")

    def is_due(self, open_associations: int, monotonic_now: float) -> bool:
        """Say whether to ask now for `_EXPIRES_MINUTES` of protection, and take it that this is done."""
        if not open_associations or monotonic_now - self._asked < _RENEW_SECONDS:
            return False
        if monotonic_now - self._began > _LONGEST_SECONDS:
            if monotonic_now - self._asked < _PAUSE_SECONDS:
                return False
            self._began = monotonic_now
        self._asked = monotonic_now
        return True


async def protect(agent_uri: str, open_associations: Callable[[], int], log: Log) -> None:
    """Ask for protection as the plan says, for ever; a request that fails is one line of the log and no more."""
    loop = asyncio.get_running_loop()
    plan = ProtectionPlan()
    while True:
        if plan.is_due(open_associations(), loop.time()):
            failure = await loop.run_in_executor(None, _ask, agent_uri)
            if failure:
                log.warning("scale-in protection not set", detail=failure[:1000])
        await asyncio.sleep(_LOOK_SECONDS)


def _ask(agent_uri: str) -> str:
    """Send the request; return what went wrong, or nothing."""
    import urllib.request  # here, because a start within a second and a half does without it

    body = json.dumps({"ProtectionEnabled": True, "ExpiresInMinutes": _EXPIRES_MINUTES}).encode()
    address = f"{agent_uri}/task-protection/v1/state"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as answer:
            failure = json.load(answer).get("failure")
    except (OSError, ValueError) as error:  # HTTPError and URLError are OSErrors
        return f"{type(error).__name__}: {error}"
    return json.dumps(failure) if failure else ""
