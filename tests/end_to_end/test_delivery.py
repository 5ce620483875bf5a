"""Acknowledged => stored => imported or quarantined: from the rendered template to image sets, over real DIMSE.

The facts come from the buckets, the ledger and the emulator's image sets, not from logs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom

from storescp_cfn.local import accounting, dcmtk
from storescp_cfn.local.study import files_of, pydicom_test_files, synthetic_ct

if TYPE_CHECKING:
    from tests.end_to_end.conftest import RunningStack


def acknowledged(sent: list[dcmtk.Sent]) -> list[str]:
    return [outcome.file.sop_instance_uid for outcome in sent if outcome.acknowledged]


def image_set_instances(running: RunningStack) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{running.stack.healthimaging_url}/_emulator/instances") as answer:
        instances: list[dict[str, Any]] = json.load(answer)
    return instances


def data_set(part10: bytes) -> bytes:
    """The bytes after the File Meta Information, which ends where its group length says (PS3.10 7.1)."""
    group_length = int.from_bytes(part10[140:144], "little")
    assert part10[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    return part10[144 + group_length :]


def test_a_ct_needs_no_job_and_arrives_byte_for_byte(running: RunningStack, tmp_path: Path) -> None:
    files = synthetic_ct(tmp_path, slices=20, rows=64, columns=64)
    before = accounting.read(running.stack, running.deployed)

    sent = running.send(files)
    assert [outcome.status for outcome in sent] == ["Success"] * 20
    account = running.settled(acknowledged(sent))

    assert accounting.differences(acknowledged(sent), account) == []
    assert account.at_rest
    assert len(account.progress.jobs) == len(before.progress.jobs), "it is small enough for the fast path (ADR 17)"
    assert account.image_sets - before.image_sets == 1
    uids = {file.sop_instance_uid for file in files}
    assert uids <= {uid for _, uid in account.imported}

    s3, bucket = running.stack.client("s3"), running.deployed.landing_bucket
    versions = {
        version["Key"].rsplit("/", 1)[-1].removesuffix(".dcm"): version
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix="incoming/")
        for version in page["Versions"]
    }
    imported_digests = {entry["SOPInstanceUID"]: entry["sha256"] for entry in image_set_instances(running)}
    for file in files:
        version = versions[file.sop_instance_uid]
        body = s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])["Body"].read()
        assert data_set(body) == data_set(file.path.read_bytes())
        assert hashlib.sha256(body).hexdigest() == imported_digests[file.sop_instance_uid]


def test_every_transfer_syntax_and_odd_file_is_accounted_for(running: RunningStack) -> None:
    files = pydicom_test_files()
    sent = running.send(files)
    account = running.settled(accounting.promised(sent))
    assert accounting.differences(accounting.promised(sent), account) == []
    assert account.at_rest
    accepted = Counter(outcome.file.transfer_syntax_uid for outcome in sent if outcome.acknowledged)
    assert len(accepted) >= 10
    assert len(acknowledged(sent)) >= 0.8 * len(files)


def test_what_healthimaging_refuses_is_quarantined_with_its_reason(running: RunningStack, tmp_path: Path) -> None:
    good, bad = synthetic_ct(tmp_path, slices=2, rows=16, columns=16)
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(bad.path)
        dataset.StudyDescription = "x" * 300  # HealthImaging takes 256 characters
        dataset.save_as(bad.path)

    sent = running.send([good, bad])
    account = running.settled(acknowledged(sent))

    assert accounting.differences(acknowledged(sent), account) == []
    assert good.sop_instance_uid in {uid for _, uid in account.imported}
    reasons = {uid: reason for (_, uid), reason in account.quarantined.items()}
    assert "StudyDescription" in reasons[bad.sop_instance_uid]
    assert good.sop_instance_uid not in reasons


def test_the_landing_bucket_is_empty_of_images_once_all_is_settled(running: RunningStack, tmp_path: Path) -> None:
    sent = running.send(synthetic_ct(tmp_path, slices=3, rows=16, columns=16))
    account = running.settled(acknowledged(sent))
    assert account.at_rest
    s3 = running.stack.client("s3")
    assert list(accounting.keys(s3, running.deployed.landing_bucket, "incoming/")) == []


def test_the_same_bytes_again_are_one_object_and_other_bytes_are_another(running: RunningStack, tmp_path: Path) -> None:
    files = synthetic_ct(tmp_path / "first", slices=2, rows=16, columns=16)
    shutil.copytree(tmp_path / "first", tmp_path / "again")
    shutil.copytree(tmp_path / "first", tmp_path / "other")
    for file in files_of(tmp_path / "other"):
        dataset = pydicom.dcmread(file.path)
        dataset.PixelData = dataset.PixelData[::-1]
        dataset.save_as(file.path)
    again, other = files_of(tmp_path / "again"), files_of(tmp_path / "other")
    sent = running.send([*files, *again, *other], "CT2")  # repeats are rationed by calling AE title (ADR 14)
    assert [outcome.status for outcome in sent] == ["Success"] * 6

    promised = accounting.promised(sent)
    assert sorted(promised) == sorted([file.sop_instance_uid for file in files] * 2)
    account = running.settled(promised)
    assert accounting.differences(promised, account) == []
    stored = Counter(uid for _, uid in account.stored)
    assert [stored[file.sop_instance_uid] for file in files] == [2, 2]
