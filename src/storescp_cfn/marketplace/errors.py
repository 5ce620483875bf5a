"""What goes wrong between a git tag and a listing, each as one sentence that says what to do."""

from __future__ import annotations


class MarketplaceError(Exception):
    """The release cannot go on. The message is for the release engineer and stands alone."""


class BadInputError(MarketplaceError):
    """An option, a file or a limit is wrong: nothing was written or sent."""
