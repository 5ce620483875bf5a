"""An account that hides a lost image is worth nothing: each way to lose one is told."""

from __future__ import annotations

import io

import pytest

from storescp_cfn.local.accounting import Account, Progress, differences, imported_keys, instance_of

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
