"""A mistake of ours in a line of the log: what and where, and no words, which may quote what a sender sent."""

import traceback


def describe_failure(error: BaseException) -> dict[str, str]:
    """Return the fields `error` (its type) and `place` (function and line in which it was raised)."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "place": place}
