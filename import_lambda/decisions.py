"""Decisions: what a step wants for its batch. Steps return them; `applying.apply()` alone carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from import_lambda.aws import Job, ListedObject


class Case(NamedTuple):
    """An object that goes to quarantine/, and why. `is_permanent`: retrying it as it is cannot help."""

    listed: ListedObject
    kind: str
    reason: str
    is_permanent: bool = True
    job_id: str = ""


WARNED = "Warned"  # kind of what HealthImaging has, but may not give back whole: it is no refusal


@dataclass(frozen=True)
class Wait:
    """Nothing to do until the next wake-up; `soon`: there may be something in a few seconds."""

    soon: bool = False


@dataclass(frozen=True)
class Postpone:
    """Nothing can be done for this batch until a person changes something: try slowly, the others first."""


@dataclass(frozen=True)
class Delay:
    """The call for this batch fails although AWS works: the others first, this one in a while. Not alarmed."""


@dataclass(frozen=True)
class Quarantine:
    """Move these objects to quarantine/: write that down before the first is touched."""

    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Intend:
    """A job is to be started: write that down before the call.

    `bytes`: of the objects of the job; `listed_until`: epoch seconds at which the newest of them was stored.
    """

    bytes: int
    listed_until: float


@dataclass(frozen=True)
class Follow:
    """The job runs: follow it."""

    job: Job


@dataclass(frozen=True)
class Retry:
    """Another job, in so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Split:
    """Divide the batch: these keys go on in two batches of their own."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class Gather:
    """Move what this batch has in earlier ones to a batch of its own."""


@dataclass(frozen=True)
class Gathered:
    """What was elsewhere has been moved: the batch goes on with its own objects."""


@dataclass(frozen=True)
class Finish:
    """Nothing seems to be left below the prefix: from here on, count."""


@dataclass(frozen=True)
class Close:
    """Every instance has been counted: the batch rests in `state`; `news` is what the counts have gained, by metric."""

    state: str
    news: Mapping[str, int]


@dataclass(frozen=True)
class Reopen:
    """There are objects (again): the batch is to be imported as if it were new. `is_news`: it had been settled."""

    is_news: bool = False


@dataclass(frozen=True)
class Send:
    """The batch goes out by StoreDICOM: write that down before the first request, so that it is sent once."""


@dataclass(frozen=True)
class LeaveFastPath:
    """StoreDICOM has done what it could: what is left goes by job."""


Decision = (
    Wait
    | Postpone
    | Delay
    | Quarantine
    | Intend
    | Follow
    | Retry
    | Split
    | Gather
    | Gathered
    | Send
    | LeaveFastPath
    | Finish
    | Close
    | Reopen
)
