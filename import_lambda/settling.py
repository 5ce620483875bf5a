"""Settling: what an ended job did with each object, and what becomes of it."""

from __future__ import annotations

from typing import NamedTuple

from import_lambda.aws import Job, ListedObject
from import_lambda.blame import OVER_A_LIMIT, Blame, Refusal, blame_of
from import_lambda.decisions import WARNED, Case, Decision, Finish, Quarantine, Retry, Split, Wait
from import_lambda.doubts import condemned_keys, is_proven, note_success
from import_lambda.keys import epoch, iso
from import_lambda.ledger import Batch
from import_lambda.quarantine import importable_objects
from import_lambda.results import Results
from import_lambda.run import Run
from import_lambda.settings import MAX_FAILURES, PENDING_PER_SLICE, SLOW_RETRY_SECONDS, backoff
from import_lambda.warnings import WARNING_CODES, ImportWarning, is_serious


class Unresolved(NamedTuple):
    """An object that a job has neither imported nor clearly refused."""

    listed: ListedObject
    refusal: Refusal
    blame: Blame


class Outcome(NamedTuple):
    """What a job did with the objects that it has read."""

    imported: list[ListedObject]
    cases: list[Case]  # refused, or imported with a serious warning
    unresolved: list[Unresolved]


def settle(run: Run, batch: Batch, job: Job, results: Results, is_complete: bool) -> Decision:
    """Delete what was imported, quarantine what was refused, keep what was warned of, and decide about the rest."""
    objects = importable_objects(run, batch)
    if objects is None:
        return Wait(soon=True)
    outcome = sort_objects(job, results, [listed for listed in objects if was_there(batch, job, listed)], is_complete)
    if results.imported:
        note_success(run, job)
    if outcome.cases:
        return Quarantine(tuple(outcome.cases[:PENDING_PER_SLICE]))
    run.delete(outcome.imported)
    if batch.jobs_started == 1 and batch.last_stored_at and results.imported and not batch.ended_at:
        run.seconds_to_image_set.append(max(0.0, job.ended_at - epoch(batch.last_stored_at)))
    batch.ended_at, batch.message = iso(job.ended_at), job.message
    return handle_unresolved(run, batch, job, outcome.unresolved) if outcome.unresolved else Finish()


def was_there(batch: Batch, job: Job, listed: ListedObject) -> bool:
    """Say whether an object was there before the job was: what came later is for another one.

    By S3's clock alone; batches of version 0.1.0 have HealthImaging's instead.
    """
    if batch.listed_until:
        return listed.modified <= epoch(batch.listed_until) + 0.001  # which is written in milliseconds
    return listed.modified <= (job.submitted_at or epoch(batch.submitted_at))


def sort_objects(job: Job, results: Results, objects: list[ListedObject], is_complete: bool) -> Outcome:
    """Return what a job did with objects, by its own words about each."""
    outcome = Outcome([], [], [])
    for listed in objects:
        imported, refusal = results.imported.get(listed.key), results.refused.get(listed.key)
        if imported is not None and is_serious(imported.warnings):
            outcome.cases.append(Case(listed, WARNED, describe(imported.warnings), False, job.id))
        elif imported is not None:
            outcome.imported.append(listed)
        elif refusal is not None and blame_of(*refusal) is Blame.OBJECT:
            outcome.cases.append(Case(listed, refusal.kind, refusal.message, True, job.id))
        elif refusal is not None:
            outcome.unresolved.append(Unresolved(listed, refusal, blame_of(*refusal)))
        else:
            outcome.unresolved.append(not_named(job, results, listed, is_complete))
    return outcome


def describe(warnings: tuple[ImportWarning, ...]) -> str:
    """Return what warnings mean, in plain words."""
    known = (WARNING_CODES.get(warning.code) for warning in warnings)
    words = [one.meaning if one else "HealthImaging warns of something that is not documented." for one in known]
    codes = ", ".join(f"{warning.type or 'warning'} {warning.code}" for warning in warnings)
    return f"{' '.join(dict.fromkeys(words))} ({codes}) The original is kept here for good."


def not_named(job: Job, results: Results, listed: ListedObject, is_complete: bool) -> Unresolved:
    """Return an object that a job says nothing useful of; if its lists are not whole, that is HealthImaging's fault."""
    if listed.key in results.incomplete:
        sentence = "HealthImaging names the object as imported, but into no image set."
        return Unresolved(listed, Refusal("IncompleteSuccess", sentence), Blame.SERVICE)
    refusal = Refusal(f"Job{job.status.title()}", job.message or "The job does not name it.")
    return Unresolved(listed, refusal, blame_of("", job.message) if is_complete else Blame.SERVICE)


def handle_unresolved(run: Run, batch: Batch, job: Job, unresolved: list[Unresolved]) -> Decision:
    """Decide what becomes of the objects that a job has neither imported nor clearly refused.

    What fails as a whole is halved: once without proof that HealthImaging works, since the halves may give it; again
    only with it. Single objects are condemned by doubts, and never for what HealthImaging names as another's fault.
    """
    failures = batch.consecutive_failures + 1
    blames = {one.blame for one in unresolved}
    if Blame.PERMISSION in blames:
        run.report_error("the import role or its key is refused", batch=batch.batch, job=job.id)
        return Retry(SLOW_RETRY_SECONDS)
    is_whole = job.status == "FAILED" and len(unresolved) > 1
    if is_whole and (OVER_A_LIMIT.search(job.message) or (Blame.UNKNOWN in blames and is_ripe(run, batch, job))):
        return Split(tuple(one.listed.key for one in unresolved))
    doubted = [one for one in unresolved if one.blame is Blame.UNKNOWN and not is_whole]
    if doubted and failures >= MAX_FAILURES:
        condemned = condemned_keys(run, batch, job, [one.listed.key for one in doubted])
        guilty = [one for one in doubted if one.listed.key in condemned]
        if guilty:
            cases = [Case(one.listed, one.refusal.kind, one.refusal.message, False, job.id) for one in guilty]
            return Quarantine(tuple(cases[:PENDING_PER_SLICE]))
    if failures >= MAX_FAILURES and not is_proven(run, job):
        run.report_error("HealthImaging finishes no job", batch=batch.batch, job=job.id)
    return Retry(backoff(failures))


def is_ripe(run: Run, batch: Batch, job: Job) -> bool:
    """Say whether a batch that failed as a whole is to be halved."""
    return is_proven(run, job) if batch.parent else batch.consecutive_failures + 1 >= MAX_FAILURES
