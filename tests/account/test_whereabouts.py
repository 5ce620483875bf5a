"""Where is that study? What is said must be true at that moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from storescp_cfn.account import whereabouts
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level
from tests.account import golden
from tests.account.conftest import Account

NOW = datetime(2026, 11, 24, 10, 42, tzinfo=UTC)
BATCH = "20261124T100315123Z-9f3a61c2-0001"
STUDY = "1.2.840.113619.2.55.3"


def part(**counts: int) -> dict[str, Any]:
    about = {"pk": f"STUDY#{STUDY}", "sk": f"BATCH#{BATCH}", "batch": BATCH, "state": "SETTLED"}
    return about | {"calling_ae_titles": ["CT1"], **counts}


def test_a_study_that_nobody_was_told_is_stored_has_to_be_sent_again(account: Account) -> None:
    screen = whereabouts.study(account.deployment, STUDY, NOW)
    assert [line.subject for line in screen.lines] == ["not_here"]
    assert screen.exit_status == 1
    golden.check("study-not-here", screen)


@pytest.mark.parametrize("area", ["incoming", "split"])
def test_an_image_that_has_landed_is_never_called_not_here(account: Account, area: str) -> None:
    account.land(f"{area}/{BATCH}/{STUDY}/1.2/1.2.3.dcm", f"{area}/{BATCH}/{STUDY}9/1.2/1.2.4.dcm")
    screen = whereabouts.study(account.deployment, STUDY, NOW)
    assert [(line.subject, line.level) for line in screen.lines] == [("on_the_way", Level.OK)]
    assert screen.facts["landed"] == 1


def test_a_batch_that_waits_since_last_week_is_looked_at_too(account: Account) -> None:
    old = "20261117T100315123Z-9f3a61c2-0001"
    account.land(f"incoming/{old}/{STUDY}/1.2/1.2.3.dcm")
    account.put({"pk": f"BATCH#{old}", "sk": "BATCH", "batch": old, "unsettled": "1", "state": "CLOSED"})
    assert whereabouts.study(account.deployment, STUDY, NOW).facts["landed"] == 1


def test_a_study_with_everything_that_can_happen(account: Account) -> None:
    account.put(part(received=60, imported=55, quarantined=3, non_primary=1, warned=1, missing=2))
    screen = whereabouts.study(account.deployment, STUDY, NOW)
    assert {line.subject for line in screen.lines} == {"missing", "quarantine", "warned", "non_primary", "imported"}
    golden.check("study-troubles", screen)


def test_too_much_to_look_through_is_no_answer(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "MOST_FOLDERS", 1)
    account.land(*(f"incoming/20261124T10031512{n}Z-9f3a61c2-0001/1.2/1.2/1.2.3.dcm" for n in range(3)))
    with pytest.raises(AccountError, match="cannot be told"):
        whereabouts.study(account.deployment, STUDY, NOW)


@pytest.mark.parametrize("attribute", ["DICOMAccessionNumber", "DICOMPatientId"])
def test_a_patients_value_is_in_no_output(account: Account, attribute: str) -> None:
    screen = whereabouts.by_attribute(account.deployment, attribute, "SECRET-77", NOW)
    assert "SECRET" not in repr(screen)
    assert [line.subject for line in screen.lines] == ["not_imported"]


def test_an_image_is_found_by_its_own_uid(account: Account) -> None:
    account.put(
        {
            "pk": "INSTANCE#1.2.3",
            "sk": f"BATCH#{BATCH}#1.2",
            "state": "IMPORTED",
            "image_set_id": "abc",
            "calling_ae_title": "CT1",
        }
    )
    assert whereabouts.instance(account.deployment, "1.2.3").exit_status == 0
    assert whereabouts.instance(account.deployment, "1.2.4").exit_status == 1


def test_a_batch_tells_what_became_of_it(account: Account) -> None:
    account.put(
        {
            "pk": f"BATCH#{BATCH}",
            "sk": "BATCH",
            "batch": BATCH,
            "state": "SETTLED",
            "received": 60,
            "imported": 58,
            "quarantined": 2,
            "closed_at": "2026-11-24T10:03:25.000Z",
            "calling_ae_titles": ["CT1", "MR1"],
        }
    )
    golden.check("batch", whereabouts.batch(account.deployment, BATCH, NOW))
    for wrong in ("7", "20261124T100315123Z-9f3a61c2-0009"):
        with pytest.raises(AccountError):
            whereabouts.batch(account.deployment, wrong, NOW)
