"""What the importer's benchmarks promise, as counts: jobs a study, order, and a ledger that never lies."""

from __future__ import annotations

import contextlib

import pytest

from benchmarks.import_latency import arrivals, drain, one_job_per_batch, one_job_per_image
from benchmarks.import_year import Year


@pytest.mark.parametrize(("associations", "most_jobs"), [(1, 1), (1_000, 4)])
def test_a_study_of_1000_slices_needs_few_jobs_and_a_fiftieth_of_the_time(associations: int, most_jobs: int) -> None:
    """Virtual seconds, from the last image to the end of the last job."""
    job_per_batch = one_job_per_batch(arrivals(associations), associations, job_seconds=1.0)
    job_per_image = one_job_per_image(arrivals(associations), job_seconds=1.0)
    assert job_per_batch.jobs <= most_jobs
    assert job_per_image.jobs == 1_000
    assert job_per_image.seconds_after_last_image >= 50 * job_per_batch.seconds_after_last_image


def test_100_waiting_batches_are_started_at_the_quotas_rate_oldest_first() -> None:
    seconds, in_order = drain(100)
    assert in_order
    # Virtual. The rest is jitter and passes in between; about 124 since ADR 15, 108 before: why, is open.
    assert seconds <= 98 * 1.4


def test_some_days_of_a_hospital_pass_without_a_difference_between_ledger_and_facts() -> None:
    year = Year(days=2, studies_per_day=150)
    with contextlib.redirect_stdout(year.log):
        year.run()
    assert year.stored == {}
    assert year.totals["batches"] == 300
    assert year.totals["received"] == year.totals["imported"] + year.totals["quarantined"] == 600
