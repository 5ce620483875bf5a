"""The ledger's batch item: its fields, its states and which of them may follow which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from import_lambda.aws import Item
from import_lambda.errors import Malformed
from import_lambda.keys import is_batch_id
from import_lambda.settings import MAX_REASON_LENGTH

CLOSED, STARTING, IMPORTING, SPLITTING, SETTLING = "CLOSED", "STARTING", "IMPORTING", "SPLITTING", "SETTLING"
INCOMPLETE, SPLIT, SETTLED = "INCOMPLETE", "SPLIT", "SETTLED"
SENT, OVER = "SENT", "OVER"  # fast_state of a batch: it goes out by StoreDICOM; the rest goes by job
FINAL_STATES = frozenset({SPLIT, SETTLED})
LEGAL_CHANGES = {
    CLOSED: frozenset({STARTING, SPLITTING, SETTLING}),
    STARTING: frozenset({IMPORTING, SPLITTING, SETTLING}),
    IMPORTING: frozenset({CLOSED, SPLITTING, SETTLING}),
    SPLITTING: frozenset({CLOSED, SETTLING}),
    SETTLING: frozenset({CLOSED, INCOMPLETE, SPLIT, SETTLED}),
    INCOMPLETE: frozenset({CLOSED, SETTLING}),
    SPLIT: frozenset({CLOSED}),
    SETTLED: frozenset({CLOSED}),
}
STUDY_STATES = {STARTING: IMPORTING, SPLITTING: SPLIT, SETTLING: SETTLED}  # of the part that came with a batch

# Fields that version 0.1.0 knows by another name. They are written under both, so that it can go on after a rollback.
EARLIER_NAMES = {
    "jobs_started": "attempt",
    "consecutive_failures": "tries",
    "consecutive_refusals": "errors",
    "non_primary": "not_primary",
}


class IllegalChange(Malformed):
    """A step wanted a change of state that the table does not have: a defect of the importer."""


@dataclass
class Batch:
    """A batch item. Counts are of distinct instances; once SETTLED, received = imported + quarantined."""

    batch: str
    state: str = CLOSED
    revision: int = 0  # raised by every write, and the condition of the next
    prefix: str = ""  # where its objects are; empty: incoming/, as up to version 0.1.0
    closed_at: str = ""
    closed_by: str = ""  # the receiver's reason, or orphan, manifest-unreadable, split
    last_stored_at: str = ""
    waiting_since: str = ""  # closed_at, or when a late object re-opened the batch
    expected: int = -1  # instances by the receiver's count; -1: no manifest
    received: int = 0
    imported: int = 0
    quarantined: int = 0
    non_primary: int = 0
    warned: int = 0  # imported, but HealthImaging may not give them back whole: the originals are kept
    moved: int = 0  # instances that went on in `children`
    missing: int = 0
    bytes: int = 0
    calling_ae_titles: list[str] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)  # the first LISTED_STUDIES of study_count
    study_count: int = 0
    jobs_started: int = 0
    consecutive_failures: int = 0  # jobs in a row that left something over
    consecutive_refusals: int = 0  # refused calls in a row
    next_try_at: str = ""
    fast_state: str = ""  # SENT, OVER; empty: not sent by StoreDICOM
    sent_at: str = ""  # before the first request of StoreDICOM
    stores_started: int = 0  # how often a run has taken over what StoreDICOM did
    job_name: str = ""
    job_id: str = ""
    submitted_at: str = ""
    ended_at: str = ""
    message: str = ""  # HealthImaging's words about a failed job: may quote attributes, so never logged
    listed_until: str = ""  # when the newest object was stored that was there before the current job
    pending: list[Any] = field(default_factory=list)  # objects that go to quarantine/ before anything else is done
    late: list[str] = field(default_factory=list)  # keys that belong to a later batch (docs/adr/0001)
    elsewhere: int = 0  # objects in earlier batches that belong to this one and are still to be moved
    pivot: str = ""  # first key of the second half while SPLITTING; empty: what is elsewhere is moved
    parent: str = ""
    children: list[str] = field(default_factory=list)
    settled_at: str = ""

    def __post_init__(self) -> None:
        """Fill in the prefix; it ends in a slash, so that no other batch's prefix begins with it."""
        self.prefix = self.prefix or f"incoming/{self.batch}/"

    @property
    def output_prefix(self) -> str:
        """Where the current job's results are, in the results bucket."""
        return f"jobs/{self.batch}/{self.jobs_started}/"

    def become(self, state: str) -> None:
        """Change the state.

        Raises IllegalChange: `LEGAL_CHANGES` does not have it.
        """
        if state not in LEGAL_CHANGES[self.state]:
            raise IllegalChange(f"{self.batch}: {self.state} -> {state}")
        self.state = state

    @property
    def is_suspect(self) -> bool:
        """Whether its last jobs left something over: others go first."""
        return self.consecutive_failures > 0

    def item(self) -> Item:
        """Return the item as it is written; only unsettled batches are in the index `Unsettled`."""
        self.message = self.message[:MAX_REASON_LENGTH]
        item = {**vars(self), "pk": f"BATCH#{self.batch}", "sk": "BATCH"}
        item |= {earlier: item[name] for name, earlier in EARLIER_NAMES.items()}
        return item if self.state in FINAL_STATES else item | {"unsettled": "1"}


BATCH_FIELDS: dict[str, type[Any]] = {name: type(value) for name, value in vars(Batch("")).items()}


def tally(batch: Batch) -> Counter[str]:
    """Return a batch's counts under their metrics' names."""
    names = {
        "imported": "InstancesImported",
        "quarantined": "InstancesQuarantined",
        "non_primary": "InstancesNonPrimary",
        "warned": "InstancesWarned",
    }
    return Counter({metric: getattr(batch, name) for name, metric in names.items()})


def batch_in(item: Item) -> Batch:
    """Return the batch of an item.

    Raises Malformed: a field is not what `Batch` says.
    """
    item = {name: item[earlier] for name, earlier in EARLIER_NAMES.items() if earlier in item} | item
    values = {name: item[name] for name in BATCH_FIELDS if name in item}
    name = str(item.get("pk"))
    if not is_batch_id(str(values.get("batch"))) or name != f"BATCH#{values['batch']}":
        raise Malformed(f"ledger item {name}: batch is not a batch id, or not the item's own")
    if values.get("state") not in LEGAL_CHANGES or "revision" not in values:
        raise Malformed(f"ledger item {name}: state or revision is missing or unknown")
    for field_name, value in values.items():
        if type(value) is not BATCH_FIELDS[field_name]:
            raise Malformed(f"ledger item {name}: {field_name} is not {BATCH_FIELDS[field_name].__name__}")
    return Batch(**values)
