"""Odd, missing and contradictory identifiers (PS3.5 9.1)."""

from collections.abc import Iterator

from tests.testkit.odd_objects.case import OddObject, case, encode, ordinary, sop_of
from tests.testkit.raw_sender import command_element, command_set

ODD_UIDS = {
    "of 65 characters": b"1.2." + b"3" * 61,
    "of 200 characters": b"1.2." + b"3" * 196,
    "with letters": b"1.2.abc.4",
    "with a name": b"DOE-JANE-1970",
    "with dashes": b"1.2-3-4",
    "with underscores": b"1.2_3_4",
    "with an inner space": b"1.2 3.4",
    "with a comma": b"1,2,3,4",
    "with an inner NUL": b"1.2.3\0.4",
    "with two values": b"1.2.3\\1.2.4",
    "with an empty second value": b"1.2.3\\",
    "with a leading zero in a component": b"1.02.3",
    "with an empty component": b"1..3",
    "with a dot at the end": b"1.2.",
    "with a dot at the beginning": b".1.2",
    "of dots only": b"...",
    "padded with a space": b"1.2.3.4.5 ",
    "padded with five NULs": b"1.2.3\0\0\0\0\0",
    "with a leading space": b" 1.2.34",
    "that is a path": b"../../etc/passwd",
    "with a percent sign": b"1.2%2e3",
    "with a line break": b"1.2\r\n3",
    "with Latin letters beyond ASCII": b"1.2.M\xfcller",
    "in UTF-8": "1.2.医用".encode(),
    "that is the number 31": b"31",
}
CONTRADICTS = "the data set contradicts its command"


def cases() -> Iterator[OddObject]:
    """Rows of the table."""
    for oddity, uid in ODD_UIDS.items():
        for name, keyword in (("Study Instance UID", "study"), ("Series Instance UID", "series")):
            full = f"{name} {oddity}"
            yield case(full, name, encode(ordinary(sop_of(full), **{keyword: uid})))
        full = f"SOP Instance UID {oddity}"
        own = (
            uid if len(uid) < 20 else uid[:-6] + sop_of(full)[-6:].encode()
        )  # Orthanc and folders know it by this alone
        yield case(full, "SOP Instance UID", encode(ordinary("", sop=own)), command=store_command_of(own))
    yield from missing()
    yield from contradictions()


def store_command_of(sop: bytes, sop_class: bytes = b"1.2.840.10008.5.1.4.1.1.2") -> bytes:
    """A C-STORE-RQ's command set whose instance may be any bytes."""
    return command_set(
        command_element(0x0002, sop_class)
        + command_element(0x0100, b"\1\0")
        + command_element(0x0110, b"\1\0")
        + command_element(0x0700, b"\0\0")
        + command_element(0x0800, b"\0\0")
        + command_element(0x1000, sop)
    )


def missing() -> Iterator[OddObject]:
    group = "Missing identifiers"
    changes: dict[str, dict[str, bytes | None]] = {
        "no Study Instance UID": {"study": None},
        "empty Study Instance UID": {"study": b""},
        "no Series Instance UID": {"series": None},
        "empty Series Instance UID": {"series": b""},
        "neither study nor series": {"study": None, "series": None},
        "study and series of NULs": {"study": b"\0\0", "series": b"\0\0"},
        "study of spaces": {"study": b"    "},
        "no SOP Class UID in the data set": {"sop_class": None},
        "empty SOP Class UID in the data set": {"sop_class": b""},
        "no SOP Instance UID in the data set": {"sop": None},
        "empty SOP Instance UID in the data set": {"sop": b""},
        "no identifier at all": {"sop_class": None, "sop": None, "study": None, "series": None},
        "no Patient ID": {"patient_id": None},
        "empty Patient ID": {"patient_id": b""},
        "no patient at all": {"patient_id": None, "patient_name": None},
        "no pixel data": {"pixels": None},
    }
    for name, change in changes.items():
        yield case(name, group, encode(ordinary(sop_of(name), **change)))


def contradictions() -> Iterator[OddObject]:
    group = "Command and data set"
    for name, change in (
        ("another SOP Instance UID than the command's", {"sop": b"1.2.3.999"}),
        ("another SOP Class UID than the command's", {"sop_class": b"1.2.840.10008.5.1.4.1.1.4"}),
        ("two SOP Instance UIDs, the first the command's", {"sop": b"{}\\1.2.3"}),
        ("the command's SOP Instance UID and one more component", {"sop": b"{}.1"}),
    ):
        sop = sop_of(name)
        values = {keyword: value.replace(b"{}", sop.encode()) for keyword, value in change.items()}
        yield case(name, group, encode(ordinary(sop, **values)), may_be_refused=CONTRADICTS)
    for name, in_command, in_data in (
        ("the data set's instance padded with a space", b"1.2.826.1", b"1.2.826.1 "),
        ("the data set's instance padded with four NULs", b"1.2.826.22", b"1.2.826.22\0\0\0\0"),
        ("the command's instance padded with four spaces", b"1.2.826.33    ", b"1.2.826.33"),
        ("the data set's instance with more behind a NUL", b"1.2.826.44", b"1.2.826.44\0rest"),
    ):
        data = encode(ordinary("", sop=in_data))
        yield case(name, group, data, command=store_command_of(in_command))
    name = "instances that differ in the case of a letter"
    data = encode(ordinary("", sop=b"1.2.ABC"))
    yield case(name, group, data, command=store_command_of(b"1.2.abc"), may_be_refused=CONTRADICTS)
    name = "another class than its presentation context's"
    command = store_command_of(sop_of(name).encode(), b"1.2.840.10008.5.1.4.1.1.4")
    data = encode(ordinary(sop_of(name), sop_class=b"1.2.840.10008.5.1.4.1.1.4"))
    yield case(name, group, data, command=command)
