"""What an instance is called, and what is refused; covers instances.py, keys.py and uids.py."""

import hashlib

import pytest

from storescp.dimse import Command, CommandField, Refusal, Status
from storescp.instances import check_command, name_instance
from storescp.keys import object_key, safe_name
from storescp.uids import is_same_uid
from tests.testkit.raw_sender import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, data_set


def hashed(value: bytes) -> str:
    return f"x-{hashlib.sha256(value).hexdigest()[:32]}"


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008", "1.2.840.10008"),
        ("1.2.3\0", "1.2.3"),
        (" 1.2.3 ", "1.2.3"),
        ("1..2.03.", "1..2.03."),
        ("1" * 64, "1" * 64),
        ("1" * 65, hashed(b"1" * 65)),
        ("", "none"),
        ("\0 ", "none"),
        ("none", hashed(b"none")),
        (".", hashed(b".")),
        ("..", hashed(b"..")),
        ("../../etc", hashed(b"../../etc")),
        ("Doe^Jane", hashed(b"Doe^Jane")),
        ("1.2\\1.3", hashed(b"1.2\\1.3")),
        ("1.2\0.3", hashed(b"1.2\0.3")),
        ("M\xfcller", hashed("M\xfcller".encode("latin-1"))),
    ],
)
def test_a_safe_name_is_the_uid_or_its_hash_or_none(uid: str, name: str) -> None:
    assert safe_name(uid) == name


def test_a_key_is_made_of_safe_names() -> None:
    assert object_key("b", "1", "none", "2") == "incoming/b/1/none/2.dcm"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("1.2.3", "1.2.3\0", True),
        ("1.2.3 ", " 1.2.3", True),
        ("1.2.3\0junk", "1.2.3", True),
        ("1.2.3", "1.2.4", False),
        ("1.2.3", "1.2.30", False),
        ("1.2.a", "1.2.A", False),
        ("1.2.03", "1.2.3", False),
    ],
)
def test_uids_are_compared_without_their_padding(first: str, second: str, same: bool) -> None:
    assert is_same_uid(first, second) is is_same_uid(second, first) is same


def command(sop_instance_uid: str = "1.2.8", sop_class_uid: str = CT_IMAGE_STORAGE) -> Command:
    return Command(1, CommandField.C_STORE_RQ, 1, True, sop_class_uid, sop_instance_uid)


def test_an_instance_is_named_by_its_command_and_its_data_set() -> None:
    assert name_instance(command(), data_set("1.2.8"), EXPLICIT_LITTLE, True) == ("1.2.3", "1.2.3.4", "1.2.8")
    assert name_instance(command(), data_set("1.2.8")[:20], EXPLICIT_LITTLE, False) == ("none", "none", "1.2.8")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (data_set("1.2.9"), Status.DATA_SET_DOES_NOT_MATCH),
        (data_set("1.2.8", sop_class="1.2.3"), Status.DATA_SET_DOES_NOT_MATCH),
        (bytes(300), Status.CANNOT_UNDERSTAND),
    ],
)
def test_what_contradicts_its_command_or_is_no_data_set_is_refused(data: bytes, status: Status) -> None:
    with pytest.raises(Refusal) as refused:
        name_instance(command(), data, EXPLICIT_LITTLE, True)
    assert refused.value.status is status
    assert 0 < len(refused.value.comment) <= 64


@pytest.mark.parametrize("nameless", [command(sop_instance_uid=""), command(sop_class_uid="")])
def test_a_command_has_to_name_class_and_instance(nameless: Command) -> None:
    with pytest.raises(Refusal) as refused:
        check_command(nameless)
    assert refused.value.status is Status.DATA_SET_DOES_NOT_MATCH
    assert 0 < len(refused.value.comment) <= 64
