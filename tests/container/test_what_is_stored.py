"""What dcmtk, Orthanc or pynetdicom stores is stored here (ADR 11); covers the table of interop's odd_objects.py.

Covers corpus.py, interop/senders.py, validator.py, wiretap.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testkit.odd_objects import OddObject, odd_objects
from tests.testkit.odd_objects.outcome import STORED, read_outcomes, send
from tests.testkit.receiver_process import ReceiverProcess, running_receiver

CASES = odd_objects()
TABLE = read_outcomes()
OURS = "this receiver"
SAFE = re.compile(r"(?=.*[0-9a-f])[0-9.]{1,64}|x-[0-9a-f]{32}|none")


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    with running_receiver(tmp_path_factory.mktemp("store")) as process:
        yield process
        assert process.stop() == 0
        assert process.other_output == []
        log = str(process.log)
        assert "Odd^Object" not in log
        assert "ODD-1" not in log
        assert "DOE-JANE" not in log


def objects(folder: Path) -> set[Path]:
    return set((folder / "incoming").glob("*/*/*/*.dcm"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_odd_object_is_stored_byte_for_byte_or_refused_as_the_table_says(
    receiver: ReceiverProcess, case: OddObject
) -> None:
    before = objects(receiver.folder)
    outcome = send(case, receiver.port)
    stored = objects(receiver.folder) - before
    assert outcome.replace("acknowledged", STORED) == TABLE[case.name][OURS]
    if outcome != "acknowledged":
        assert stored == set()
        return
    (path,) = stored
    assert all(SAFE.fullmatch(part) for part in (*path.parts[-3:-1], path.stem))
    content = path.read_bytes()
    assert content[128:132] == b"DICM"
    assert content[144 + int.from_bytes(content[140:144], "little") :] == case.data


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_another_receiver_stores_is_stored_here(case: OddObject) -> None:
    row = TABLE[case.name]
    if STORED in [outcome for name, outcome in row.items() if name != OURS]:
        assert row[OURS] == STORED or case.may_be_refused


def test_what_is_refused_although_it_could_be_stored_is_few() -> None:
    refused = [case for case in CASES if case.may_be_refused and STORED in TABLE[case.name].values()]
    assert len(refused) <= 6
