"""Whose fault is it (blame.py, doubts.py, settling.py)? No outage, brownout or quoted word condemns an image."""

from __future__ import annotations

import random

import pytest

from import_lambda.blame import Blame, blame_of, safe_kind
from tests.testkit.import_scenarios import QUICK_DOUBTS, Instance, good, live, problems, receive, wake
from tests.testkit.memory_world import LANDING, SETTINGS, Brownout, MemoryJob, World

HOUR = 3600.0


def quarantined(world: World) -> list[str]:
    return [key for key in world.keys("quarantine/") if key.endswith(".dcm")]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("kind", ["jobs", "silent", "unknown", "internal"])
def test_a_brownout_of_half_an_hour_condemns_no_image(kind: str, share: float) -> None:
    world = World(starts_per_second=0, concurrent_jobs=1_000)
    random.seed(3)
    world.brownouts = [Brownout(world.time, world.time + HOUR / 2, share, kind)]
    acknowledged: list[Instance] = []

    def wake_up() -> None:
        if len(acknowledged) < 60:
            number = len(acknowledged) + 1
            acknowledged.extend(receive(world, good(2, first=2 * number), number=number, study=f"1.{number}"))
        wake(world, SETTINGS)

    live(world, wake_up, minutes=24 * 60)
    assert quarantined(world) == []
    assert problems(world, acknowledged, imports=1_000) == []


def test_the_end_of_an_outage_condemns_no_image() -> None:
    """Every job fails for two hours, then all is well: what works now proves nothing about then."""
    world = World(starts_per_second=0, concurrent_jobs=1_000)
    random.seed(4)
    world.brownouts = [Brownout(world.time, world.time + 2 * HOUR, 1.1)]
    acknowledged: list[Instance] = []
    for number in range(1, 101):
        acknowledged += receive(world, good(1, first=number), number=number, study=f"1.{number}")
    live(world, lambda: wake(world), minutes=24 * 60)
    assert quarantined(world) == []
    assert problems(world, acknowledged) == []


def test_what_healthimaging_names_as_its_own_fault_never_condemns() -> None:
    world = World()
    world.healthy_every_minutes = 10
    receive(world, [b"FLAKY:99", b"FLAKY:99"])
    live(world, lambda: wake(world, QUICK_DOUBTS), minutes=12 * 60)
    assert quarantined(world) == []
    assert len(world.keys("incoming/")) == 2


def test_a_late_object_answers_for_its_own_jobs_only() -> None:
    """The others of its batch have been doubted three times when it comes: that is no evidence against it."""
    world = World()
    world.healthy_every_minutes = 2
    acknowledged = receive(world, [b"SILENT", b"SILENT"])
    live(world, lambda: wake(world, QUICK_DOUBTS), minutes=30)
    doubts = [key for key in world.keys("jobs/", "results") if "/doubted-" in key]
    assert doubts != []
    late = (acknowledged[0][0], "1.2.3/1.2.3.1/1.2.3.1.77")
    world.put(LANDING, f"incoming/{late[0]}/{late[1]}.dcm", b"FLAKY:1")
    live(world, lambda: wake(world, QUICK_DOUBTS), minutes=24 * 60)
    assert problems(world, [*acknowledged, late]) == []
    assert not any("1.2.3.1.77" in key for key in quarantined(world))


def test_a_job_without_any_proof_beside_it_is_no_evidence() -> None:
    world = World()
    receive(world, [b"ODD"])
    live(world, lambda: wake(world, QUICK_DOUBTS), minutes=24 * 60)
    assert quarantined(world) == []
    assert len(world.jobs) <= 24 * 8


@pytest.mark.parametrize(
    ("kind", "message", "blame"),
    [
        ("ValidationException", "<attribute TransferSyntaxUID is missing>", Blame.OBJECT),
        ("ValidationException", "AccessDeniedException InternalServerException", Blame.OBJECT),
        ("AccessDeniedException", "", Blame.PERMISSION),
        ("KMSAccessDeniedException", "", Blame.PERMISSION),
        ("SomethingNewException", "Access denied: the role may not read the object", Blame.PERMISSION),
        ("SomethingNewException", "KMS.DisabledException: the key is disabled", Blame.PERMISSION),
        ("InternalServerException", "", Blame.SERVICE),
        ("ThrottlingException", "", Blame.SERVICE),
        ("ServiceQuotaExceededException", "", Blame.SERVICE),
        ("SomethingNewException", "the pixel data of ASSUMED SUPINE could not be read", Blame.UNKNOWN),
        ("SomethingNewException", "patient KMSTLER, UNAUTHORIZED^JOHN", Blame.UNKNOWN),
        ("", "Something in the input is wrong", Blame.UNKNOWN),
        ("", "", Blame.UNKNOWN),
    ],
)
def test_codes_come_first_and_words_never_blame_an_object(kind: str, message: str, blame: Blame) -> None:
    assert blame_of(kind, message) is blame


def test_only_a_plain_word_is_logged_as_a_kind() -> None:
    assert safe_kind("ValidationException") == "ValidationException"
    assert safe_kind("DOE^JANE 1.2.3") == "unlisted"


def test_words_quoted_from_an_image_do_not_keep_it_for_ever() -> None:
    """`assume` is in ASSUMED: such an object was taken for one whose role is refused."""
    world = World()
    world.healthy_every_minutes = 2
    acknowledged = receive(world, [b"POISON ASSUMED SUPINE"])

    def reword(job: MemoryJob) -> None:
        if job.job.status == "FAILED":
            job.job = job.job._replace(message="cannot read ASSUMED SUPINE, KMS")

    world.on_job_end = reword
    live(world, lambda: wake(world, QUICK_DOUBTS), minutes=24 * 60)
    assert len(quarantined(world)) == 1
    assert problems(world, acknowledged) == []
