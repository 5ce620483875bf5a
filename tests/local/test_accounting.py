"""An account that hides a lost image is worth nothing: each way to lose one is told."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest

from storescp_cfn.local.accounting import (
    Account,
    Origins,
    Progress,
    differences,
    imported_keys,
    instance_of,
    is_retry,
    promised,
)
from storescp_cfn.local.dcmtk import Sent
from storescp_cfn.local.study import DicomFile, synthetic_ct

BATCH = "20261123T200315123Z-9f3a61c2-0001"
A, B = (BATCH, "1.2.1"), (BATCH, "1.2.2")


def test_all_agree() -> None:
    account = Account(stored=frozenset({A, B}), imported=frozenset({A}), quarantined={B: "no TransferSyntaxUID"})
    assert differences(["1.2.1", "1.2.2"], account) == []
    assert account.at_rest


@pytest.mark.parametrize(
    ("acknowledged", "account", "sentence"),
    [
        (["1.2.1"], Account(), "1.2.1: acknowledged 1 times, stored 0 times"),
        (
            ["1.2.1", "1.2.1"],
            Account(stored=frozenset({A}), imported=frozenset({A})),
            "1.2.1: acknowledged 2 times, stored 1 times",
        ),
        (
            ["1.2.1"],
            Account(stored=frozenset({A})),
            f"1.2.1: stored in batch {BATCH}, neither imported nor quarantined",
        ),
        (
            ["1.2.1"],
            Account(stored=frozenset({A}), imported=frozenset({A}), quarantined={A: "why"}),
            f"1.2.1: both imported and quarantined, batch {BATCH}",
        ),
        (
            [],
            Account(stored=frozenset({B})),
            f"1.2.2: stored in batch {BATCH}, neither imported nor quarantined",
        ),
    ],
)
def test_every_loss_is_told(acknowledged: list[str], account: Account, sentence: str) -> None:
    assert differences(acknowledged, account) == [sentence]


@pytest.mark.parametrize(
    "account",
    [
        Account(progress=Progress(jobs={"1": "IN_PROGRESS"})),
        Account(progress=Progress(batches={BATCH: "IMPORTING"})),
        Account(stored=frozenset({A})),
    ],
)
def test_it_is_not_at_rest_while_something_is_left_to_do(account: Account) -> None:
    assert not account.at_rest


def test_an_image_with_a_warning_is_imported_and_its_original_is_no_refusal() -> None:
    account = Account(stored=frozenset({A}), imported=frozenset({A}), warned={A: "45344"})
    assert differences(["1.2.1"], account) == []


def test_a_split_batch_counts_for_its_root() -> None:
    assert instance_of(f"incoming/{BATCH}.2.1/1.2/1.3/1.2.1.dcm") == A
    assert instance_of(f"quarantine/{BATCH}/1.2/1.3/1.2.2.dcm") == B


class Bucket:
    """The two calls of S3 that the account makes, over a dictionary."""

    exceptions = SimpleNamespace(NoSuchKey=KeyError)

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, **_: str) -> list[dict[str, list[dict[str, str]]]]:
        return [{"Contents": [{"Key": key} for key in self.objects]}]

    def get_object(self, **call: str) -> dict[str, io.BytesIO]:
        return {"Body": io.BytesIO(self.objects[call["Key"]])}


def test_what_a_job_and_what_storedicom_took_is_imported() -> None:
    lines = {name: f'{{"inputFile":"incoming/{BATCH}/1/2/{name}.dcm"}}\n'.encode() for name in ("a", "b", "c")}
    bucket = Bucket(
        {
            f"jobs/{BATCH}/1/x-DicomImport-y/SUCCESS/success.ndjson": lines["a"],
            f"jobs/{BATCH}/stored-1.ndjson": lines["b"],
            f"jobs/{BATCH}/1/x-DicomImport-y/FAILURE/failure.ndjson": lines["c"],
        }
    )
    assert [key.rpartition("/")[2] for key in imported_keys(bucket, "results")] == ["a.dcm", "b.dcm"]


EARLIER = "20261123T200314000Z-9f3a61c2-0000"


def test_what_a_later_batch_has_gathered_counts_where_the_receiver_stored_it() -> None:
    manifest = {"batch": BATCH, "elsewhere": [f"incoming/{EARLIER}/1.2/1.3/1.2.1.dcm"]}
    origins = Origins(Bucket({f"jobs/{BATCH}/manifest.json": json.dumps(manifest).encode()}), "results")
    late = (EARLIER, "1.2.1")
    assert origins.of(f"split/{BATCH}.1/1.2/1.3/1.2.1.dcm") == late
    assert origins.of(f"split/{BATCH}.1.2/1.2/1.3/1.2.1.dcm") == late, "also when the part was split again"
    assert origins.of(f"quarantine/{BATCH}.1/1.2/1.3/1.2.1.dcm") == late
    assert origins.of(f"incoming/{BATCH}/1.2/1.3/1.2.1.dcm") == A, "the batch's own object of that name"
    assert origins.of(f"split/{BATCH}.2/1.2/1.3/1.2.1.dcm") == A
    assert origins.of(f"split/{BATCH}.1/1.2/1.3/1.2.2.dcm") == B, "the first half of a batch that was split"
    assert origins.of(f"split/{EARLIER}.1/1.2/1.3/1.2.1.dcm") == late, "no manifest was kept"


def test_a_retry_is_known_by_its_batch() -> None:
    assert is_retry(f"split/{BATCH}.1796000000.123/1.2/1.3/1.2.1.dcm")
    assert not is_retry(f"split/{BATCH}.12.1/1.2/1.3/1.2.1.dcm")


def sent_from(files: list[DicomFile], status: str = "Success") -> list[Sent]:
    return [Sent(file, status) for file in files]


def test_one_content_is_promised_once_and_another_content_of_the_same_name_again(tmp_path: Path) -> None:
    one, two = synthetic_ct(tmp_path, 2, 16, 16)
    for name in ("again", "padded", "other", "refused"):
        shutil.copy(one.path, tmp_path / name)
    again, padded, other, refused = (
        replace(one, path=tmp_path / name) for name in ("again", "padded", "other", "refused")
    )
    dataset = pydicom.dcmread(padded.path)
    dataset.DataSetTrailingPadding = b"\0" * 32  # dcmtk does not send it
    dataset.save_as(padded.path)
    dataset = pydicom.dcmread(other.path)
    dataset.PixelData = dataset.PixelData[::-1]
    dataset.save_as(other.path)
    sent = sent_from([one, two, again, padded, other]) + sent_from([refused], "Refused: OutOfResources")
    names = [one.sop_instance_uid, one.sop_instance_uid, two.sop_instance_uid]
    assert sorted(promised(sent)) == sorted(names)
    assert promised(sent_from([again], "Refused: OutOfResources")) == []
