"""What benchmarks/study_latency.py promises: an X-ray, and a large CT, are found in seconds, without a job."""

from __future__ import annotations

from benchmarks.study_latency import measure


def test_studies_of_1_to_500_images_are_found_in_seconds() -> None:
    studies = [1, 2, 5, 20, 60, 150, 300, 500]
    p50, p95, jobs = measure("fast path", studies)
    assert jobs == 0
    assert p50 <= 5
    assert p95 <= 15
    _, _, jobs = measure("one job per batch", studies[:2])
    assert jobs == 2
