"""Confirming: what StoreDICOM's answers and HealthImaging's search say of each instance that was sent, and settling it.

An answer says that an instance was stored; only the search, which shows primary image sets and nothing else, says that
viewers find it. Both are needed before an original is deleted. What they do not say goes the way of the job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from import_lambda.applying import apply
from import_lambda.aws import ImageSet, ListedObject, Series
from import_lambda.containing import keep_to_batch
from import_lambda.decisions import Decision, Finish, LeaveFastPath
from import_lambda.errors import AwsError
from import_lambda.keys import epoch
from import_lambda.ledger import FINAL_STATES, SETTLING, Batch
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.warnings import ImportWarning, is_serious

CONFIRM_SECONDS = 60.0  # how long the search may lag before the job takes over: documented nowhere
SETTLING_SECONDS = 600.0  # how long another batch may take from its objects to its entry in the ledger
CLOCK_SECONDS = 120.0  # how far HealthImaging's clock and ours may be apart
MAX_OTHERS = 20  # other unsettled batches that are looked through for a twin


@dataclass
class Sent:
    """A batch that was sent by this run, or by one before it: then every answer is lost. Times in epoch seconds."""

    batch: Batch
    objects: list[ListedObject]
    sent_at: float
    stored: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by SOP Instance UID: warning codes
    lost: set[str] = field(default_factory=set)  # keys of objects whose request got no answer


@dataclass
class Search:
    """What a round of searches found, and all that had been sent when it began."""

    found: Mapping[Series, dict[str, tuple[int, ...]] | AwsError]
    image_sets: Mapping[Series, list[ImageSet] | AwsError]
    sent: list[Sent]


def series_of(listed: ListedObject) -> Series:
    """Return study and series of an object of a receiver."""
    _, _, study, series, _ = listed.key.split("/")
    return study, series


def sop_of(listed: ListedObject) -> str:
    """Return the SOP Instance UID of an object of a receiver."""
    return listed.key.rpartition("/")[2].removesuffix(".dcm")


def name_of(listed: ListedObject) -> str:
    """Return study, series and instance of an object, whichever batch it is in."""
    return listed.key.split("/", 2)[2]


def confirm(run: Run) -> list[str]:
    """Look for what was sent; settle the batches of which all is clear or the time is over, and return their ids."""
    if not run.sent:
        return []
    run.check()
    series = sorted({series_of(listed) for sent in run.sent.values() for listed in sent.objects})
    found = dict(zip(series, run.aws.search_instances(series), strict=True))
    image_sets = dict(zip(series, run.aws.search_image_sets(series), strict=True))
    search, settled = Search(found, image_sets, list(run.sent.values())), list[str]()
    for batch_id, sent in list(run.sent.items()):
        keep_to_batch(run, batch_id, partial(settle_sent, run, sent, search, settled))
    run.needs_another_pass |= bool(run.sent)
    return settled


def settle_sent(run: Run, sent: Sent, search: Search, settled: list[str]) -> None:
    """Settle one batch, if it is time: first the lines, then the originals of what is confirmed, then the item."""
    lines = {listed.key: line for listed in sent.objects if (line := line_of(sent, listed, search))}
    twins = twins_of(run, sent, search, [one for one in sent.objects if one.key in sent.lost and one.key in lines])
    lines = {key: line for key, line in lines.items() if key not in twins}
    hoped = [one for one in sent.objects if one.key not in {*lines, *twins} and may_still_be_found(sent, one)]
    patience = CONFIRM_SECONDS if hoped else 0.0
    if twins and is_anything_settling(run, search):
        patience = SETTLING_SECONDS
    if run.aws.now() < sent.sent_at + patience:
        return
    confirmed = [listed for listed in sent.objects if listed.key in lines]
    if lines:
        key = f"jobs/{sent.batch.batch}/stored-{sent.batch.stores_started}.ndjson"
        body = "".join(json.dumps(line) + "\n" for line in lines.values())
        run.aws.write(run.settings.results_bucket, [(key, body.encode())])
        run.delete(confirmed)
    log("INFO", "batch sent", batch=sent.batch.batch, stored=len(confirmed), by_job=len(sent.objects) - len(confirmed))
    if confirmed and sent.batch.last_stored_at:
        run.seconds_to_image_set.append(max(0.0, run.aws.now() - epoch(sent.batch.last_stored_at)))
    decision: Decision = Finish() if len(confirmed) == len(sent.objects) else LeaveFastPath()
    del run.sent[sent.batch.batch]
    apply(run, sent.batch, decision)
    settled.append(sent.batch.batch)


def line_of(sent: Sent, listed: ListedObject, search: Search) -> dict[str, Any] | None:
    """Return the line that success.ndjson would have of an instance; None unless all is clear.

    Clear is: an answer says stored, or got lost; the search finds it; neither has a serious warning; its series has one
    primary image set, and no other one has changed since it was sent.
    """
    shown, sets, sop = search.found[series_of(listed)], search.image_sets[series_of(listed)], sop_of(listed)
    if isinstance(shown, AwsError) or isinstance(sets, AwsError) or sop not in shown:
        return None
    if listed.key not in sent.lost and sop not in sent.stored:
        return None
    warnings = warnings_of(sent, sop, shown[sop])
    if is_serious(warnings):
        return None
    primary = [one.id for one in sets if one.is_primary]
    others = [one for one in sets if not one.is_primary and one.updated_at > sent.sent_at - CLOCK_SECONDS]
    if len(primary) != 1 or others:
        return None
    response: dict[str, Any] = {"imageSetId": primary[0], "isPrimary": True}
    if warnings:
        response["warnings"] = [{"warning_reason_code": one.code, "type": one.type} for one in warnings]
    return {"inputFile": listed.key, "importResponse": response}


def warnings_of(sent: Sent, sop: str, shown: tuple[int, ...] = ()) -> list[ImportWarning]:
    """Return the warnings that the answer and the search have of an instance."""
    return [ImportWarning(code, "") for code in dict.fromkeys((*sent.stored.get(sop, ()), *shown))]


def may_still_be_found(sent: Sent, listed: ListedObject) -> bool:
    """Say whether waiting for the search can help: it was stored without a serious warning, or perhaps."""
    sop = sop_of(listed)
    return listed.key in sent.lost or (sop in sent.stored and not is_serious(warnings_of(sent, sop)))


def twins_of(run: Run, sent: Sent, search: Search, lost: list[ListedObject]) -> set[str]:
    """Return the keys, among found ones without an answer, of which another batch has or had the same instance.

    Then finding the instance proves nothing: what is found may be the other one.
    """
    if not lost:
        return set()
    others = other_batches(run, search)
    if len(others) > MAX_OTHERS or is_anything_settling(run, search):
        return {listed.key for listed in lost}
    names = {name_of(listed) for one in search.sent if one is not sent for listed in one.objects}
    names |= {name_of(listed) for listed in others_objects(run, others, lost)}
    return {listed.key for listed in lost if name_of(listed) in names or has_history(run, listed)}


def other_batches(run: Run, search: Search) -> list[Batch]:
    """Return the unsettled batches that this run has not sent."""
    known = {one.batch.batch for one in search.sent}
    return [one for one in run.known.values() if one.state not in FINAL_STATES and one.batch not in known]


def is_anything_settling(run: Run, search: Search) -> bool:
    """Say whether another batch is between the deletion of its objects and its entry in the ledger: in a moment."""
    return any(one.state == SETTLING for one in other_batches(run, search))


def others_objects(run: Run, others: list[Batch], lost: list[ListedObject]) -> Iterator[ListedObject]:
    """Yield what other batches have of the same series."""
    for other in others:
        for study, series in sorted({series_of(listed) for listed in lost}):
            run.check()
            yield from run.aws.list_objects(run.settings.landing_bucket, f"{other.prefix}{study}/{series}/")


def has_history(run: Run, listed: ListedObject) -> bool:
    """Say whether the ledger knows the instance from another batch."""
    own = f"BATCH#{listed.key.split('/')[1]}#"
    items = run.aws.query(f"INSTANCE#{sop_of(listed)}", "BATCH#")
    return any(not str(item.get("sk")).startswith(own) for item in items)
