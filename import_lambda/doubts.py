"""Doubts: evidence against objects that HealthImaging neither imports nor names as faulty.

A job counts as evidence only if HealthImaging imported something else between its start and its end, and if enough time
has passed since the last one. It is kept by object, so that what came late answers for its own jobs only.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import NamedTuple

from import_lambda.aws import Job
from import_lambda.errors import MALFORMED_DATA_ERRORS, Conflict
from import_lambda.ledger import Batch
from import_lambda.run import Run
from import_lambda.settings import DOUBT_SPACINGS

DOUBT_FILE = re.compile(r"/doubted-(\d+)\.json$")
KEPT_SUCCESSES = 500  # times at which jobs ended that imported something


class Doubt(NamedTuple):
    """One job that failed while HealthImaging worked, and the keys that it did not import; times in epoch seconds."""

    began_at: float
    ended_at: float
    keys: frozenset[str]


def note_success(run: Run, job: Job) -> None:
    """Note that a job has imported something: before its objects go, so no crash forgets it."""
    if job.id in run.noted_jobs:
        return
    for _ in range(3):
        moments, revision = run.successes or read_successes(run)
        run.successes = None
        if int(job.ended_at) in moments:
            break
        moments = sorted([*moments, int(job.ended_at)])[-KEPT_SUCCESSES:]
        item = {"pk": "LEASE", "sk": "WORKED", "moments": moments, "revision": revision + 1}
        with suppress(Conflict):  # another run was faster
            run.aws.put_item(item, "revision", "=", revision)
            run.successes = moments, revision + 1
            break
    run.noted_jobs.add(job.id)


def read_successes(run: Run) -> tuple[list[int], int]:
    """Return the epoch seconds at which jobs ended that imported something, and the item's revision."""
    item = run.aws.get_item("LEASE", "WORKED") or {}
    moments, revision = item.get("moments"), item.get("revision")
    moments = [one for one in moments if type(one) is int] if isinstance(moments, list) else []
    return moments, revision if type(revision) is int else 0


def is_proven(run: Run, job: Job) -> bool:
    """Say whether HealthImaging has imported something between the job's start and its end."""
    return any(job.submitted_at <= moment <= job.ended_at for moment in read_successes(run)[0])


def condemned_keys(run: Run, batch: Batch, job: Job, keys: list[str]) -> set[str]:
    """Note the doubt that a job casts on objects, if it is one, and return those that have been doubted enough."""
    doubts = read_doubts(run, batch)
    spacing = DOUBT_SPACINGS[min(len(doubts), len(DOUBT_SPACINGS)) - 1] * run.settings.doubt_spacing_seconds
    is_spaced = not doubts or job.submitted_at >= max(doubt.ended_at for doubt in doubts) + spacing
    if is_spaced and is_proven(run, job):
        doubts.append(Doubt(job.submitted_at, job.ended_at, frozenset(keys)))
        write_doubt(run, batch, doubts[-1])
    return {key for key in keys if sum(key in doubt.keys for doubt in doubts) > len(DOUBT_SPACINGS)}


def read_doubts(run: Run, batch: Batch) -> list[Doubt]:
    """Return the doubts of a batch's earlier jobs; one that cannot be read is none."""
    bucket, doubts = run.settings.results_bucket, []
    for listed in run.aws.list_objects(bucket, f"jobs/{batch.batch}/doubted-"):
        match = DOUBT_FILE.search(listed.key)
        if match and int(match[1]) != batch.jobs_started:  # this job's own is written again
            with suppress(*MALFORMED_DATA_ERRORS):
                value = json.loads(run.aws.read(bucket, listed.key))
                keys = frozenset(map(str, value["keys"]))
                doubts.append(Doubt(float(value["began_at"]), float(value["ended_at"]), keys))
    return doubts


def write_doubt(run: Run, batch: Batch, doubt: Doubt) -> None:
    """Keep a doubt beside the job's results."""
    body = {"schema": 1, "began_at": doubt.began_at, "ended_at": doubt.ended_at, "keys": sorted(doubt.keys)}
    key = f"jobs/{batch.batch}/doubted-{batch.jobs_started}.json"
    run.aws.write(run.settings.results_bucket, [(key, json.dumps(body).encode())])
