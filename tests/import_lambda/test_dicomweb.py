"""dicomweb.py: the fast path over real HTTP, from ministack's S3 to the emulator, signed and with its own keys.

Covers boto3_aws.py, import_lambda/dicomweb.py.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from import_lambda.aws import ListedObject, StoreAnswer
from import_lambda.boto3_aws import Boto3Aws
from import_lambda.errors import AwsError, TryLater
from import_lambda.settings import read_settings
from tests.import_lambda.test_import_edge import (
    LANDING,
    RESULTS,
    TABLE,
    Account,
    account,
    instance,
    new_batch,
    services,
)
from tests.import_lambda.test_import_edge import wake_until as wake_until_settled

__all__ = ["account", "services"]  # fixtures


@pytest.fixture
def fast(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("FAST_IMPORT", "true")
    account.actions.clear()
    yield account


def aws_of() -> Boto3Aws:
    return Boto3Aws(read_settings(os.environ))


def put_batch(account: Account, count: int) -> tuple[str, str, list[str]]:
    """A closed batch of small CT images; its id, its study, and its objects' keys."""
    batch, study = new_batch()
    keys = []
    for number in range(1, count + 1):
        rest, body = instance(number, study)
        keys.append(f"incoming/{batch}/{rest}.dcm")
        account.put(keys[-1], body)
    account.close(batch, count)
    return batch, study, keys


def jobs(account: Account) -> int:
    return sum(len(one.jobs) for one in account.emulator.service.state.datastores.values())


def test_a_small_batch_is_found_by_the_search_and_needs_no_job(fast: Account) -> None:
    before = jobs(fast)
    batch, study, keys = put_batch(fast, 3)
    item = wake_until_settled(fast, batch, "SETTLED")
    assert (item["imported"], item["received"], item["jobs_started"]) == (3, 3, 0)
    assert jobs(fast) == before
    assert fast.keys(f"incoming/{batch}/") == []
    lines = fast.s3.get_object(Bucket=RESULTS, Key=f"jobs/{batch}/stored-1.ndjson")["Body"].read().splitlines()
    assert sorted(json.loads(line)["inputFile"] for line in lines) == sorted(keys)
    found = aws_of().search_instances([(study, f"{study}.1")])
    assert found == [{f"{study}.1.{number}": () for number in (1, 2, 3)}]
    assert fast.actions == {
        *("medical-imaging:StoreDICOM", "medical-imaging:SearchDICOMInstances", "medical-imaging:SearchImageSets")
    }


def test_what_is_stored_is_byte_for_byte_what_was_received(fast: Account) -> None:
    batch, study, keys = put_batch(fast, 2)
    bodies = {key: fast.s3.get_object(Bucket=LANDING, Key=key)["Body"].read() for key in keys}
    wake_until_settled(fast, batch, "SETTLED")
    image_sets = [one for store in fast.emulator.service.state.datastores.values() for one in store.image_sets]
    (image_set,) = [one for one in image_sets if one.sample.StudyInstanceUID == study]
    files = fast.emulator.service.state.files
    stored = [files.read(one.instance.sha256) for one in image_set.current.values()]
    assert sorted(stored, key=hash) == sorted(bodies.values(), key=hash)


# The emulator's settings, and whether a job is needed after all.
TROUBLES: dict[str, tuple[dict[str, Any], bool]] = {
    "throttled once": ({"errors_before": {"StoreDICOM": ["ThrottlingException"]}}, False),
    "an answer that never comes": ({"lost_answers": {"StoreDICOM": 1}}, False),
    "an error after the effect": ({"errors_after": {"StoreDICOM": ["InternalServerException"]}}, False),
    "one refused": ({"store_refusals": {".1.2": 0x0110}}, True),
    "one refused, by another name": (
        {"store_refusals": {".1.2": 0x0110}, "store_failures_by": "instance", "store_mixed_status": 200},
        True,
    ),
    "all refused": ({"store_refused_percent": 100}, True),
    "one warned": ({"warned_instances": {".1.2": 45330}}, True),
    "no permission": ({"errors_before": {"StoreDICOM": ["AccessDeniedException"]}}, True),
    "a search that finds nothing with 200": ({"search_empty_status": 200}, False),
    "an index that lags": ({"search_lag_seconds": 1.5}, False),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_troubles_over_real_http(fast: Account, name: str) -> None:
    settings, needs_job = TROUBLES[name]
    clear_pace(fast)
    state = fast.emulator.service.state
    state.settings = state.settings.changed({"throttling": False, **settings})
    before = jobs(fast)
    batch, _, _ = put_batch(fast, 3)
    item = wake_until_settled(fast, batch, "SETTLED")
    assert (item["imported"], item["received"]) == (3, 3)
    assert (jobs(fast) > before) == needs_job


def clear_pace(account: Account) -> None:
    account.dynamodb.Table(TABLE).delete_item(Key={"pk": "LEASE", "sk": "FAST_PATH"})


def test_many_requests_at_once_answer_in_order_and_errors_stay_with_theirs(fast: Account) -> None:
    requests = []
    for number in range(1, 13):
        batch, study = new_batch()
        rest, body = instance(number, study)
        key = f"incoming/{batch}/{rest}.dcm"
        fast.put(key, body)
        (listed,) = aws_of().list_objects(LANDING, f"incoming/{batch}/")
        requests.append((listed,))
    gone = ListedObject("incoming/x/1/1.1/1.1.1.dcm", 1, '"0"', time.time())
    changed = requests[0][0]._replace(etag='"0"')
    answers = aws_of().store([*requests, (gone,), (changed, requests[1][0])])
    for request, answer in zip(requests, answers, strict=False):
        assert isinstance(answer, StoreAnswer)
        assert list(answer.stored) == [request[0].key.rpartition("/")[2].removesuffix(".dcm")]
    assert answers[-2] == StoreAnswer({}, {})
    assert isinstance(answers[-1], StoreAnswer)
    assert len(answers[-1].stored) == 1
    aws_of().delete(LANDING, [listed for request in requests for listed in request])


def test_a_host_that_does_not_answer_is_an_error_to_try_later(fast: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _ = new_batch()
    rest, body = instance(1, "1.2.77")
    fast.put(f"incoming/{batch}/{rest}.dcm", body)
    (listed,) = aws_of().list_objects(LANDING, f"incoming/{batch}/")
    monkeypatch.setenv("AWS_ENDPOINT_URL_MEDICAL_IMAGING", "http://127.0.0.1:9")
    (answer,) = aws_of().store([(listed,)])
    assert isinstance(answer, TryLater)
    (found,) = aws_of().search_instances([("1.2", "1.3")])
    assert isinstance(found, AwsError)
    aws_of().delete(LANDING, [listed])


def test_the_ledgers_open_index_and_items_that_only_grow(fast: Account) -> None:
    aws = aws_of()
    items = [{"pk": f"INSTANCE#{number}", "sk": "BATCH#x#1", "revision": 5, "open": "TRIAL"} for number in range(30)]
    aws.put_items([item | {"open_since": f"2026-11-{1 + number:02d}"} for number, item in enumerate(items)])
    aws.put_items([items[0] | {"revision": 4, "open": "OTHER", "open_since": "x"}])
    found = aws.open_items("TRIAL")
    assert [item["pk"] for item in found] == [item["pk"] for item in items]
    assert (aws.count_open("TRIAL"), aws.count_open("OTHER")) == (30, 0)


def test_what_is_created_is_never_replaced(fast: Account) -> None:
    aws = aws_of()
    for body in (b"first", b"second"):
        aws.create(LANDING, "commitments/results/created.json", body)
    (listed,) = aws.list_objects(LANDING, "commitments/results/created.json")
    assert aws.read(LANDING, listed.key) == b"first"
    aws.delete(LANDING, [listed])
