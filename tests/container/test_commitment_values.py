"""Requests and results survive being written down; covers commitment.py and commitment_data_sets.py."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from storescp.commitment import (
    CommitmentResult,
    UnreadableRecordError,
    decode_not_before,
    decode_request,
    decode_result,
    duplicate_result,
    encode_attempt,
    encode_request,
    new_request,
)
from storescp.commitment_data_sets import UnreadableActionError, read_action, write_report
from storescp.keys import commitment_id, safe_name
from tests.testkit.elements import explicit, implicit, item, open_item, sequence
from tests.testkit.raw_sender import CT_IMAGE_STORAGE

AT = datetime(2026, 11, 24, 12, 0, 0, 123000, tzinfo=UTC)
IMPLICIT, EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
INSTANCES = ((CT_IMAGE_STORAGE, "1.2.3"), (CT_IMAGE_STORAGE, "DOE-JANE"))
REQUEST = new_request("1.2.99", "CT1", "STORESCP", INSTANCES, AT, 24)


def test_a_request_survives_being_written_down_and_names_nobody_in_its_instances() -> None:
    record = encode_request(REQUEST)
    assert decode_request(record) == REQUEST
    fields = json.loads(record)
    assert fields["id"] == "CT1-1.2.99"
    assert fields["timeout_at"] == "2026-11-25T12:00:00.123Z"
    assert fields["instances"] == [[CT_IMAGE_STORAGE, "1.2.3"], [CT_IMAGE_STORAGE, safe_name("DOE-JANE")]]
    assert fields["uids"] == {safe_name("DOE-JANE"): "DOE-JANE"}


def test_a_result_speaks_of_instances_as_the_device_did() -> None:
    record = json.dumps(
        {
            "schema": 1,
            "id": "CT1-1.2.99",
            "decided_at": "2026-11-24T12:05:00.000Z",
            "committed": [[CT_IMAGE_STORAGE, "1.2.3"]],
            "failed": [[CT_IMAGE_STORAGE, safe_name("DOE-JANE"), 0x0112]],
        }
    ).encode()
    assert decode_result(record, REQUEST) == CommitmentResult(
        "1.2.99", ((CT_IMAGE_STORAGE, "1.2.3"),), ((CT_IMAGE_STORAGE, "DOE-JANE", 0x0112),)
    )


@pytest.mark.parametrize("record", [b"", b"[]", b"{}", b'{"instances": 3}', b"\xff"])
def test_a_record_that_cannot_be_read_is_one_error(record: bytes) -> None:
    for read in (decode_request, decode_not_before, lambda data: decode_result(data, REQUEST)):
        with pytest.raises(UnreadableRecordError):
            read(record)


def test_an_attempt_says_when_the_next_may_be_made() -> None:
    record = encode_attempt("CT1-1.2.99", 3, "9f3a61c2", AT, AT + timedelta(seconds=60))
    assert decode_not_before(record) == AT + timedelta(seconds=60)
    assert json.loads(record)["attempt"] == 3


def test_the_same_request_again_is_told_from_another_one() -> None:
    again = new_request("1.2.99", "CT1", "STORESCP", INSTANCES[::-1], AT + timedelta(hours=1), 24)
    other = new_request("1.2.99", "CT1", "STORESCP", INSTANCES[:1], AT, 24)
    assert again.asks_the_same(REQUEST)
    assert not other.asks_the_same(REQUEST)
    assert duplicate_result(other).failed == ((CT_IMAGE_STORAGE, "1.2.3", 0x0131),)


@pytest.mark.parametrize(
    ("title", "name"), [("CT1", "CT1"), ("CT_1-a", "CT_1-a"), ("CT 1", None), ("a/../b", None), ("", None)]
)
def test_an_id_holds_no_title_that_could_be_a_path(title: str, name: str | None) -> None:
    made = commitment_id(title, "1.2")
    assert made == f"{name}-1.2" if name else made.startswith("x-")
    assert "/" not in made


def action(**more: object) -> Dataset:
    data = Dataset()
    data.TransactionUID = "1.2.99"
    items = []
    for sop_class, sop in ((CT_IMAGE_STORAGE, "1.2.3"), (CT_IMAGE_STORAGE, "1.2.4")):
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, sop
        items.append(reference)
    data.ReferencedSOPSequence = Sequence(items)
    for keyword, value in more.items():
        setattr(data, keyword, value)
    return data


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("is_undefined", [False, True])
def test_an_action_of_pydicom_is_read(syntax: str, is_undefined: bool) -> None:
    data = action(StorageMediaFileSetID="SET", StorageMediaFileSetUID="1.2.5")
    data["ReferencedSOPSequence"].is_undefined_length = is_undefined
    for part in data.ReferencedSOPSequence:
        part.is_undefined_length_sequence_item = is_undefined
    encoded = encode(data, syntax == IMPLICIT, True)
    assert encoded is not None
    assert read_action(encoded, syntax) == ("1.2.99", ((CT_IMAGE_STORAGE, "1.2.3"), (CT_IMAGE_STORAGE, "1.2.4")))


REFERENCE = explicit(0x00081150, b"UI", b"1.2.3\0") + explicit(0x00081155, b"UI", b"1.2.4\0")
TRANSACTION = explicit(0x00081195, b"UI", b"1.2.9\0")


def test_an_instance_asked_for_twice_is_asked_for_once_and_other_sequences_do_not_matter() -> None:
    other = sequence(0x00081115, open_item(sequence(0x00081199, item(REFERENCE))))
    data = other + TRANSACTION + sequence(0x00081199, item(REFERENCE) + open_item(REFERENCE))
    assert read_action(data, EXPLICIT) == ("1.2.9", (("1.2.3", "1.2.4"),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TRANSACTION,
        sequence(0x00081199, item(REFERENCE)),
        TRANSACTION + sequence(0x00081199, b""),
        TRANSACTION + sequence(0x00081199, item(REFERENCE[:14])),
        TRANSACTION + sequence(0x00081199, item(REFERENCE))[:-20],
        TRANSACTION + explicit(0x00081199, b"SQ", item(REFERENCE), length=5000),
        explicit(0x00081115, b"SQ", b"", length=0xFFFFFFFF) * 9000,
        implicit(0x00081195, b"1.2.9\0")[:-3],
    ],
)
def test_an_action_that_lacks_something_is_refused_without_a_value(data: bytes) -> None:
    with pytest.raises(UnreadableActionError) as refused:
        read_action(data, EXPLICIT)
    assert len(str(refused.value)) <= 64
    assert not any(letter.isdigit() for letter in str(refused.value))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT]), st.booleans())
def test_any_bytes_are_an_action_or_refused(data: bytes, syntax: str, with_a_beginning: bool) -> None:
    try:
        read_action((TRANSACTION if with_a_beginning else b"") + data, syntax)
    except UnreadableActionError as error:
        assert str(error)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_report_is_what_pydicom_reads_from_it(syntax: str) -> None:
    result = CommitmentResult("1.2.99", ((CT_IMAGE_STORAGE, "1.2.3"),), ((CT_IMAGE_STORAGE, "1.2.4", 0x0110),))
    event_type_id, encoded = write_report(result, syntax)
    assert event_type_id == 2
    data = decode(BytesIO(encoded), syntax == IMPLICIT, True)
    assert data.TransactionUID == "1.2.99"
    assert [item.ReferencedSOPInstanceUID for item in data.ReferencedSOPSequence] == ["1.2.3"]
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in data.FailedSOPSequence] == [
        ("1.2.4", 0x0110)
    ]
    assert [element.tag for element in data] == sorted(element.tag for element in data)
    event_type_id, encoded = write_report(CommitmentResult("1.2.99", result.committed, ()), syntax)
    assert event_type_id == 1
    assert "FailedSOPSequence" not in decode(BytesIO(encoded), syntax == IMPLICIT, True)
