"""The ways in which a request is turned down."""

from __future__ import annotations


class ServiceError(Exception):
    """An error of the service: `code` is the name of an exception in the service model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NotAuthenticated(Exception):
    """Nobody known sent this request; `code` is one of the common errors, which the service model does not list."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AnswerLost(Exception):
    """The request took effect, and its answer goes nowhere: the connection is to be closed."""


class NotEmulated(Exception):
    """The real service has it, this one has not."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: AWS HealthImaging has it, this emulator does not")
