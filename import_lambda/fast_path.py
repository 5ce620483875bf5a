"""The fast path: small batches go to HealthImaging by StoreDICOM, which answers in seconds (docs/adr/0017).

It can only make things faster. What is not clearly confirmed (throttled, refused, warned, no answer, not found by the
search) goes the way of the import job, which has the last word; nothing is condemned here. A batch is sent once: after
a lost answer, or a run that was killed, HealthImaging's own search says what had arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from import_lambda.applying import apply
from import_lambda.aws import ListedObject, StoreAnswer
from import_lambda.confirming import Sent, confirm, name_of, series_of, sop_of
from import_lambda.containing import keep_to_batch
from import_lambda.decisions import Send
from import_lambda.errors import AwsError, Refused, TryLater
from import_lambda.keys import epoch
from import_lambda.ledger import CLOSED, SENT, Batch
from import_lambda.pacing import THROTTLES, Pace, read_pace, write_pace
from import_lambda.quarantine import importable_objects
from import_lambda.run import Run
from import_lambda.settings import Settings
from import_lambda.stow import requests_of

MAX_SERIES = 50  # of a batch: each costs three searches
REQUEST_BYTES, REQUEST_INSTANCES = 48_000_000, 500  # of one request: several go at once, and wait on Lambda's disk
ROUND_BYTES, ROUND_BATCHES = 500_000_000, 60  # of one pass, so that nobody else waits long
MAX_SENDS = 3  # of a request that was throttled, which had no effect


def store_small_batches(run: Run) -> list[str]:
    """Send closed batches that are small enough, and settle those that were sent; return the ids of the settled.

    Raises LeaseLost, OutOfTime: somebody else works now, or the time is over.
    """
    if run.settings.fast_import != "true":
        return []
    pace = read_pace(run)
    recover(run)
    if not pace.is_aside(run.aws.now()):
        before = replace(pace)
        send(run, pace, claimed(run, unseen(run, pace, list(candidates(run)))))
        if pace != before:
            write_pace(run, pace)
    return confirm(run)


def recover(run: Run) -> None:
    """Take over batches that an earlier run has sent: their answers are lost."""
    for batch in [one for one in run.known.values() if one.fast_state == SENT and one.state == CLOSED]:
        if batch.batch not in run.sent:
            keep_to_batch(run, batch.batch, partial(take_over, run, batch))


def take_over(run: Run, batch: Batch) -> None:
    """Claim a batch whose answers are lost."""
    objects = importable_objects(run, batch) or []
    claim(run, batch, objects)
    run.sent[batch.batch].lost |= {listed.key for listed in objects}


def claim(run: Run, batch: Batch, objects: list[ListedObject]) -> None:
    """Write down that the batch is sent from here on: no later run sends it again."""
    apply(run, batch, Send())
    run.sent[batch.batch] = Sent(batch, objects, epoch(batch.sent_at))


def candidates(run: Run) -> Iterator[tuple[Batch, list[ListedObject]]]:
    """Yield the batches that this pass sends, oldest first, with their objects."""
    total_bytes = number = 0
    for batch in sorted(run.known.values(), key=lambda one: one.batch):
        if not may_be_sent(run, batch):
            continue
        objects: list[ListedObject] = []
        keep_to_batch(run, batch.batch, partial(list_into, run, batch, objects))
        if not is_small(run.settings, objects):
            run.by_job.add(batch.batch)
            continue
        total_bytes, number = total_bytes + sum(listed.bytes for listed in objects), number + 1
        if number > 1 and (total_bytes > ROUND_BYTES or number > ROUND_BATCHES):
            return
        yield batch, objects


def list_into(run: Run, batch: Batch, objects: list[ListedObject]) -> None:
    """Add the objects of a batch to a list."""
    objects += importable_objects(run, batch) or []


def may_be_sent(run: Run, batch: Batch) -> bool:
    """Say whether a batch may go this way: new, whole, and not known to be too large."""
    return (
        batch.state == CLOSED
        and not (batch.fast_state or batch.jobs_started or batch.parent or batch.pending or batch.elsewhere)
        and batch.batch not in run.by_job
        and batch.expected <= run.settings.fast_max_instances
        and run.is_due(batch)
    )


def is_small(settings: Settings, objects: list[ListedObject]) -> bool:
    """Say whether objects are within the limits of the fast path, and have the UIDs that searches ask for."""
    return (
        0 < len(objects) <= settings.fast_max_instances
        and sum(listed.bytes for listed in objects) <= settings.fast_max_bytes
        and all(listed.bytes <= REQUEST_BYTES for listed in objects)
        and len({series_of(listed) for listed in objects}) <= MAX_SERIES
        and not any("/x-" in listed.key or "/none" in listed.key for listed in objects)
    )


def unseen(
    run: Run, pace: Pace, chosen: list[tuple[Batch, list[ListedObject]]]
) -> Iterator[tuple[Batch, list[ListedObject]]]:
    """Yield the batches of which HealthImaging has no instance yet; the others go by job.

    Only so does finding an instance later prove that it came with this batch.
    """
    if not chosen:
        return
    series = sorted({series_of(listed) for _, objects in chosen for listed in objects})
    run.check()
    found = dict(zip(series, run.aws.search_instances(series), strict=True))
    errors = [answer for answer in found.values() if isinstance(answer, AwsError)]
    report_refusal(run, errors)
    if errors:
        pace.learn([*errors, *(None for _ in range(len(series) - len(errors)))], run.aws.now())
    under_way = {name_of(listed) for sent in run.sent.values() for listed in sent.objects}
    for batch, objects in chosen:
        names = {name_of(listed) for listed in objects}
        if names & under_way or any(is_known(found[series_of(listed)], listed) for listed in objects):
            run.by_job.add(batch.batch)
        else:
            under_way |= names
            yield batch, objects


def is_known(found: dict[str, tuple[int, ...]] | AwsError, listed: ListedObject) -> bool:
    """Say whether a search found an instance, or could not say."""
    return isinstance(found, AwsError) or sop_of(listed) in found


def claimed(run: Run, chosen: Iterator[tuple[Batch, list[ListedObject]]]) -> list[tuple[Batch, list[ListedObject]]]:
    """Claim batches, and return those that are this run's."""
    batches = list(chosen)
    for batch, objects in batches:
        keep_to_batch(run, batch.batch, partial(claim, run, batch, objects))
    return [(batch, objects) for batch, objects in batches if batch.batch in run.sent]


def send(run: Run, pace: Pace, batches: list[tuple[Batch, list[ListedObject]]]) -> None:
    """Send batches in requests, as many at once as the pace allows; what is not sent goes by job."""
    waiting = [
        (batch.batch, request, 1)
        for batch, objects in batches
        for request in requests_of(objects, REQUEST_BYTES, REQUEST_INSTANCES)
    ]
    while waiting and not pace.is_aside(run.aws.now()):
        run.check()
        now, waiting = waiting[: pace.window], waiting[pace.window :]
        answers = run.aws.store([request for _, request, _ in now])
        errors = [answer if isinstance(answer, AwsError) else None for answer in answers]
        pace.learn(errors, run.aws.now())
        report_refusal(run, [error for error in errors if error])
        for (batch_id, request, sends), answer in zip(now, answers, strict=True):
            if isinstance(answer, AwsError) and answer.code in THROTTLES and sends < MAX_SENDS:
                waiting.append((batch_id, request, sends + 1))
            else:
                note_answer(run.sent[batch_id], request, answer)
        if any(errors) and waiting:
            run.pause(1.0)


def note_answer(sent: Sent, request: tuple[ListedObject, ...], answer: StoreAnswer | AwsError) -> None:
    """Keep what a request's answer says; without one, its instances are looked for."""
    if isinstance(answer, StoreAnswer):
        sent.stored |= answer.stored
    elif isinstance(answer, TryLater) and answer.code not in THROTTLES:
        sent.lost |= {listed.key for listed in request}


def report_refusal(run: Run, errors: list[AwsError]) -> None:
    """Say once in a run that HealthImaging refuses the fast path itself."""
    refusal = next((error for error in errors if isinstance(error, Refused)), None)
    if refusal is not None and not run.is_refusal_reported:
        run.is_refusal_reported = True
        run.report_error("HealthImaging refuses StoreDICOM or its search; import jobs go on", code=refusal.code)
