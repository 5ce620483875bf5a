"""AWS, as far as the importer needs it: a protocol that boto3 and the tests' model implement."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from import_lambda.errors import AwsError


class ListedObject(NamedTuple):
    """An object as a listing shows it; `modified` in epoch seconds of S3's clock."""

    key: str
    bytes: int
    etag: str
    modified: float


class Page(NamedTuple):
    """At most 1,000 entries of a listing. `next_after`: where to go on; empty if there is no more."""

    objects: list[ListedObject]
    folders: list[str]
    next_after: str


class Job(NamedTuple):
    """An import job of HealthImaging; times in epoch seconds, 0 while unknown."""

    id: str
    name: str
    status: str
    submitted_at: float
    ended_at: float = 0.0
    message: str = ""


class ImageSet(NamedTuple):
    """An image set as SearchImageSets shows it; the time in epoch seconds."""

    id: str
    is_primary: bool
    updated_at: float


class StoreAnswer(NamedTuple):
    """What StoreDICOM says, by SOP Instance UID: warning codes of what it stored, failure reasons of the rest."""

    stored: dict[str, tuple[int, ...]]
    refused: dict[str, int]


Series = tuple[str, str]  # StudyInstanceUID, SeriesInstanceUID
Item = dict[str, Any]


class Aws(Protocol):
    """Every call that the importer makes. Each may raise TryLater or Refused; the others are named."""

    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    def list_objects(self, bucket: str, prefix: str) -> list[ListedObject]:
        """Return the objects below a prefix by key: at most MAX_LISTED_OBJECTS, the first ones."""

    def list_page(self, bucket: str, prefix: str, start_after: str = "", delimiter: str = "") -> Page: ...
    def read(self, bucket: str, key: str) -> bytes:
        """Return an object's bytes.

        Raises Missing: there is none.
        """

    def write(self, bucket: str, bodies: list[tuple[str, bytes]]) -> None:
        """Write each body to its key."""

    def copy(self, bucket: str, pairs: list[tuple[ListedObject, str]]) -> list[ListedObject]:
        """Copy each object to its key if it still is the one that was listed; return those that were copied."""

    def delete(self, bucket: str, listed: list[ListedObject]) -> None:
        """Delete those objects, at most 1,000, that still are the ones that were listed."""

    def get_item(self, pk: str, sk: str) -> Item | None: ...
    def query(self, pk: str, sk_prefix: str) -> list[Item]: ...
    def unsettled(self) -> list[Item]: ...
    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        """Write the item if there is none, or if `name operator value` holds for it.

        Raises Conflict: there is one for which it does not hold.
        """

    def create_items(self, items: list[Item]) -> list[Item]:
        """Write each item if there is none; return those that were not written."""

    def put_items(self, items: list[Item]) -> None:
        """Write each item that has a `revision`, unless there is one of a higher revision."""

    def open_items(self, kind: str) -> list[Item]:
        """Return what the index `Open` shows of a kind, oldest first."""

    def count_open(self, kind: str) -> int: ...
    def create(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object, if there is none: what is there is never replaced."""

    def start_job(self, name: str, input_uri: str, output_uri: str) -> Job: ...
    def get_job(self, job_id: str) -> Job: ...
    def list_jobs(self, status: str) -> list[Job]: ...
    def store(self, requests: list[tuple[ListedObject, ...]]) -> list[StoreAnswer | AwsError]:
        """Make StoreDICOM requests of objects of the landing bucket at once; an answer or an error for each."""

    def search_instances(self, series: list[Series]) -> list[dict[str, tuple[int, ...]] | AwsError]:
        """Return, for each series, what its primary image set holds: warning codes by SOP Instance UID."""

    def search_image_sets(self, series: list[Series]) -> list[list[ImageSet] | AwsError]:
        """Return the image sets of each series, primary or not."""
