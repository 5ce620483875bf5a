"""What HealthImaging refused can be seen, tried again, exported and closed; evidence and reasons stay.

Covers account/keys.py, account/ledger.py, account/quarantine.py, commands/quarantine.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from storescp_cfn.account import ledger, quarantine
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.quarantine import Selection
from storescp_cfn.cli import main
from storescp_cfn.local.study import synthetic_ct
from tests.account import golden
from tests.account.conftest import Account

NOW = datetime(2026, 11, 24, 10, 42, tzinfo=UTC)
BATCH = "20261124T101500000Z-9f3a61c2-0002"
MARKED = "MARKED^PATIENT"


def entry(sop: str, device: str = "MR1", permanent: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "pk": f"BATCH#{BATCH}",
        "sk": f"QUARANTINED#{sop}",
        "open": "QUARANTINED",
        "open_since": "2026-11-24T10:16:00.000Z",
        "calling_ae_title": device,
        "kind": "ValidationException",
        "reason": f"<attribute StudyDescription '{MARKED}' is too long>",
        "is_permanent": permanent,
        "StudyInstanceUID": "1.2.3",
        "object_key": f"incoming/{BATCH}/1.2.3/1.2.3.4/{sop}.dcm",
        "quarantine_key": f"quarantine/{BATCH}/1.2.3/1.2.3.4/{sop}.dcm",
        **more,
    }


def warned(sop: str, kind: str, device: str = "CT1") -> dict[str, Any]:
    return {
        "pk": f"INSTANCE#{sop}",
        "sk": f"BATCH#{BATCH}#1.2.3.4",
        "open": kind,
        "open_since": "2026-11-24T10:20:00.000Z",
        "calling_ae_title": device,
        "warnings": [45328] if kind == "WARNED" else [],
        "object_key": f"incoming/{BATCH}/1.2.3/1.2.3.4/{sop}.dcm",
    }


def test_entries_are_listed_by_device_and_reason(account: Account) -> None:
    account.put(entry("1.2.1"), entry("1.2.2"), entry("1.2.3", device="US3", permanent=True))
    screen = quarantine.show_list(account.deployment, Selection(), NOW)
    assert [line.details["images"] for line in screen.lines] == [2, 1]
    assert screen.exit_status == 1
    golden.check("quarantine-list", screen)


def test_nothing_is_in_quarantine(account: Account) -> None:
    screen = quarantine.show_list(account.deployment, Selection(), NOW)
    assert screen.exit_status == 0
    golden.check("quarantine-empty", screen)


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(device="US3"), 1),
        (Selection(study="1.2.3"), 3),
        (Selection(study="1.2"), 0),
        (Selection(batch=BATCH), 3),
        (Selection(image="1.2.1"), 1),
        (Selection(device="MR1", image="1.2.3"), 0),
    ],
)
def test_entries_are_chosen(account: Account, selection: Selection, count: int) -> None:
    account.put(entry("1.2.1"), entry("1.2.2"), entry("1.2.3", device="US3"))
    screen = quarantine.show_list(account.deployment, selection, NOW)
    assert len(screen.facts["entries"]) == count


def test_closing_notes_who_and_why_and_ends_the_reminder(account: Account) -> None:
    account.put(entry("1.2.1"), entry("1.2.2", device="US3"))
    quarantine.close(account.deployment, quarantine.QUARANTINE_KINDS, Selection(device="MR1"), "sent again")
    item = account.book.get(f"BATCH#{BATCH}", "QUARANTINED#1.2.1")
    assert item is not None
    assert "open" not in item
    assert item["close_note"] == "sent again"
    assert item["closed_by"].startswith("arn:aws:iam::")
    assert [left["sk"] for left in account.book.open_items("QUARANTINED")] == ["QUARANTINED#1.2.2"]
    actions = list(account.book.query(f"ACTION#{item['object_key']}"))
    assert [(action["action"], action["note"]) for action in actions] == [("close", "sent again")]


def test_a_retry_is_asked_for_once_and_tells_how_it_ended(account: Account) -> None:
    account.put(entry("1.2.1"), entry("1.2.2"))
    waits = []

    def importer(seconds: float) -> None:
        """What the importer does meanwhile: one is imported, one is refused again."""
        waits.append(seconds)
        for sop, outcome in (("1.2.1", "IMPORTED"), ("1.2.2", "QUARANTINED")):
            item = account.book.get(f"BATCH#{BATCH}", f"QUARANTINED#{sop}")
            assert item is not None
            assert item["retry_requested_by"].startswith("arn:")
            account.put({**item, "retry_outcome": outcome})

    screen = quarantine.retry(account.deployment, Selection(device="MR1"), anyway=False, wait=importer)
    assert len(waits) == 1
    assert [line.subject for line in screen.sorted_lines] == ["refused", "imported"]
    again = quarantine.retry(account.deployment, Selection(image="1.2.2"), anyway=False, wait=importer)
    assert again.exit_status == 1
    assert len(list(account.book.query(f"ACTION#incoming/{BATCH}/1.2.3/1.2.3.4/1.2.2.dcm"))) == 1


def test_what_cannot_be_fixed_by_retrying_is_not_retried_by_accident(account: Account) -> None:
    account.put(entry("1.2.1", permanent=True))
    with pytest.raises(AccountError, match="cannot be fixed by retrying"):
        quarantine.retry(account.deployment, Selection(), anyway=False)
    screen = quarantine.retry(account.deployment, Selection(), anyway=True, wait=lambda seconds: None)
    assert [line.subject for line in screen.lines] == ["waiting"]


def test_two_people_do_not_decide_over_one_another(account: Account) -> None:
    account.put(entry("1.2.1"))
    item = account.book.open_items("QUARANTINED")[0]
    account.book.update(item, {"closed_by": "first"}, ("open",), ("open",))
    with pytest.raises(ledger.ChangedMeanwhileError):
        account.book.update(item, {"closed_by": "second"}, ("open",), ("open",))


def test_an_image_is_shown_masked_and_exported_whole(account: Account, tmp_path: Path) -> None:
    file = synthetic_ct(tmp_path / "ct", 1, 8, 8)[0]
    item = entry(file.sop_instance_uid)
    account.put(item)
    account.stack.client("s3").put_object(
        Bucket=account.deployment.output("LandingBucketName"), Key=item["quarantine_key"], Body=file.path.read_bytes()
    )
    screen = quarantine.show(account.deployment, file.sop_instance_uid, NOW)
    rows = {row[2]: row[3] for row in screen.tables[0].rows}
    assert rows["Modality"] == "CT"
    assert rows["PatientName"].endswith("bytes)")
    assert "Phantom" not in repr(screen)
    assert MARKED not in repr(screen)
    folder = tmp_path / "out"
    quarantine.export(account.deployment, Selection(image=file.sop_instance_uid), folder)
    assert [path.read_bytes() for path in folder.iterdir()] == [file.path.read_bytes()]
    with pytest.raises(AccountError, match="is there already"):
        quarantine.export(account.deployment, Selection(image=file.sop_instance_uid), folder)


def test_warnings_are_listed_and_closed(account: Account) -> None:
    account.put(warned("1.2.1", "WARNED"), warned("1.2.2", "NON_PRIMARY"))
    screen = quarantine.show_warnings(account.deployment, Selection(), NOW)
    golden.check("warnings-list", screen)
    quarantine.close(account.deployment, quarantine.WARNING_KINDS, Selection(device="CT1"), "looked at")
    assert quarantine.show_warnings(account.deployment, Selection(), NOW).exit_status == 0


@pytest.mark.parametrize("action", [["retry"], ["close", "--note", "x"], ["export", "--to", "x"]])
def test_everything_at_once_has_to_be_said(action: list[str]) -> None:
    result = CliRunner().invoke(main, ["quarantine", *action])
    assert result.exit_code == 2
    assert "Say which" in result.stderr
