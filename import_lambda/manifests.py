"""Batch manifests: what a receiver says of a batch that it has closed (docs/adr/0001)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from import_lambda.aws import Item, ListedObject
from import_lambda.errors import Malformed, Missing
from import_lambda.keys import INSTANCE_KEY, root_of
from import_lambda.run import Run
from import_lambda.settings import LISTED_TITLES, MAX_MANIFEST_BYTES, MAX_TITLE_LENGTH

MAX_CACHED_MANIFESTS, MAX_CACHED_INSTANCES = 500, 50_000


class Sender(NamedTuple):
    """Who sent an instance, and as what; empty where that is not known."""

    calling_ae_title: str = ""
    sop_class_uid: str = ""


class Manifest(NamedTuple):
    """A manifest, checked and cut; `late` and `elsewhere` are object keys."""

    instances: int
    calling_ae_titles: list[str]
    closed_by: str
    closed_at: str
    last_stored_at: str
    late: list[str]
    elsewhere: list[str]
    instances_by_study: dict[str, int]
    titles_by_study: dict[str, list[str]]
    senders: dict[str, Sender]  # by <study>/<series>/<sop>


def manifest_key(batch_id: str) -> str:
    """Return where a batch's manifest is."""
    return f"batches/{batch_id}.json"


def kept_manifest_key(batch_id: str) -> str:
    """Return where a manifest is kept for the parts of a batch that was split, in the results bucket."""
    return f"jobs/{batch_id}/manifest.json"


def find_manifest(run: Run, batch_id: str) -> ListedObject | None:
    """Return a batch's manifest as a listing shows it; None if there is none."""
    if batch_id not in run.manifests:
        key = manifest_key(batch_id)
        for listed in run.aws.list_page(run.settings.landing_bucket, key).objects:
            if listed.key == key:
                run.manifests[batch_id] = listed
    return run.manifests.get(batch_id)


def read_listed_manifest(run: Run, listed: ListedObject, batch_id: str) -> Manifest:
    """Return a manifest whose size has been looked at.

    Raises Malformed: it is not one.
    """
    if listed.bytes > MAX_MANIFEST_BYTES:
        raise Malformed(f"{manifest_key(batch_id)} is larger than {MAX_MANIFEST_BYTES} bytes")
    return parse_manifest(run.aws.read(run.settings.landing_bucket, listed.key), batch_id)


def manifest_of(run: Run, batch_id: str) -> Manifest | None:
    """Return what the receiver said of a batch, or of the one that it is a part of; None if that is not to be had."""
    root = root_of(batch_id)
    if root not in run.read_manifests:
        cache_manifest(run, root, _read_manifest_of(run, root))
    manifest: Manifest | None = run.read_manifests[root]
    return manifest


def cache_manifest(run: Run, root: str, manifest: Manifest | None) -> None:
    """Keep a manifest for a while, and drop the oldest ones if that are too many."""
    run.read_manifests[root] = manifest
    while len(run.read_manifests) > 1 and _is_too_much(list(run.read_manifests.values())):
        run.read_manifests.pop(next(iter(run.read_manifests)))


def _is_too_much(manifests: list[Manifest | None]) -> bool:
    instances = sum(len(one.senders) for one in manifests if one)
    return len(manifests) > MAX_CACHED_MANIFESTS or instances > MAX_CACHED_INSTANCES


def _read_manifest_of(run: Run, root: str) -> Manifest | None:
    try:
        listed = find_manifest(run, root)
        if listed is not None:
            return read_listed_manifest(run, listed, root)
        return parse_manifest(run.aws.read(run.settings.results_bucket, kept_manifest_key(root)), root)
    except (Malformed, Missing):
        return None


def keep_manifest(run: Run, batch_id: str) -> None:
    """Keep a manifest for the parts of its batch: it says who sent what, and goes when the batch has been split."""
    listed = find_manifest(run, batch_id)
    if listed is not None and listed.bytes <= MAX_MANIFEST_BYTES:
        body = run.aws.read(run.settings.landing_bucket, listed.key)
        run.aws.write(run.settings.results_bucket, [(kept_manifest_key(batch_id), body)])


def parse_manifest(body: bytes, batch_id: str) -> Manifest:
    """Return the manifest of a batch.

    Raises Malformed: it is not one, or not this batch's. The text does not quote it.
    """
    name = manifest_key(batch_id)
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError, MemoryError):
        raise Malformed(f"{name} is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("batch") != batch_id:
        raise Malformed(f"{name} is not the manifest of its batch")
    count = manifest.get("instances")
    if type(count) is not int or not 0 <= count < 10**9:
        raise Malformed(f"{name}: instances is not a count")
    lists = {one: _strings(manifest, one, name) for one in ("calling_ae_titles", "late", "elsewhere")}
    words = {one: str(manifest.get(one) or "")[:64] for one in ("closed_by", "closed_at", "last_stored_at")}
    senders = _senders(manifest, name)
    by_study: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for rest, sender in senders.items():
        study = rest.partition("/")[0]
        by_study.setdefault(study, set()).add(sender.calling_ae_title)
        counts[study] = counts.get(study, 0) + 1
    return Manifest(
        instances=count,
        calling_ae_titles=_cut(lists["calling_ae_titles"]),
        late=[key for key in lists["late"] if key.startswith(f"incoming/{batch_id}/")],
        elsewhere=[key for key in lists["elsewhere"] if _is_earlier(key, batch_id)],
        instances_by_study=counts,
        titles_by_study={study: _cut(sorted(titles)) for study, titles in by_study.items()},
        senders=senders,
        **words,
    )


def _strings(manifest: Item, field: str, name: str) -> list[str]:
    values = manifest.get(field, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Malformed(f"{name}: {field} is not a list of strings")
    return values


def _cut(titles: list[str]) -> list[str]:
    return [title[:MAX_TITLE_LENGTH] for title in titles[:LISTED_TITLES]]


def _is_earlier(key: str, batch_id: str) -> bool:
    match = INSTANCE_KEY.fullmatch(key)
    return bool(match) and key.startswith("incoming/") and key.split("/")[1] != batch_id


def _senders(manifest: dict[str, Any], name: str) -> dict[str, Sender]:
    senders: dict[str, Sender] = {}
    try:
        for group in manifest.get("groups", []):
            above = f"{group['StudyInstanceUID']}/{group['SeriesInstanceUID']}"
            sender = Sender(str(group["calling_ae_title"])[:MAX_TITLE_LENGTH], str(group.get("SOPClassUID", ""))[:64])
            senders |= {f"{above}/{sop}": sender for sop in group["SOPInstanceUIDs"]}
    except (LookupError, TypeError):
        raise Malformed(f"{name}: groups is not as docs/adr/0001 says") from None
    return senders
