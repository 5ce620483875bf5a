"""Storage commitment: what the ledger says of the instances that a device asks about (PS3.4 annex J, docs/adr/0001).

The receiver writes requests and delivers results; here they are decided. Committed means: imported, in the primary
image set, and without a serious warning.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from import_lambda.aws import Item, ListedObject
from import_lambda.commitment_requests import Request, read_request
from import_lambda.entries import OPEN_WARNED, STATE_IMPORTED
from import_lambda.errors import MALFORMED_DATA_ERRORS, AwsError, Conflict, Malformed, Missing, TryLater
from import_lambda.keys import epoch, iso
from import_lambda.metrics import log
from import_lambda.run import Run
from import_lambda.under_way import sop_classes_under_way

COMMITMENTS = "commitments/"
REQUESTS, ATTEMPTS = f"{COMMITMENTS}requests/", f"{COMMITMENTS}attempts/"
RESULTS, DELIVERIES = f"{COMMITMENTS}results/", f"{COMMITMENTS}delivered/"
STATE_WAITING, STATE_ANSWERED, STATE_DELIVERED = "WAITING", "ANSWERED", "DELIVERED"  # of a COMMITMENT# item
OPEN_UNDELIVERED = "UNDELIVERED"  # its `open`
# Failure reasons (PS3.3, C.14.1.1).
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT, RESOURCE_LIMITATION = 0x0110, 0x0112, 0x0119, 0x0213
MAX_INSTANCES = 10_000
MAX_REQUEST_BYTES = 4 * 1024 * 1024
LOOKED_UP_PER_PASS = 2_000


def answer_commitments(run: Run) -> None:
    """Decide open requests, note what was delivered, and clear it away; what is wrong with one stays with it."""
    landing = run.settings.landing_bucket
    files = {listed.key: listed for listed in run.aws.list_objects(landing, COMMITMENTS)}
    ids = {
        kind: {name_of_file(key) for key in files if key.startswith(kind)} for kind in (REQUESTS, RESULTS, DELIVERIES)
    }
    run.lookups_left = LOOKED_UP_PER_PASS
    for request_id in sorted(ids[DELIVERIES]):
        keep_to_request(run, request_id, lambda run, one: note_delivery(run, one, files))
    for request_id in sorted(ids[RESULTS] - ids[DELIVERIES]):
        keep_to_request(run, request_id, lambda run, one: watch_delivery(run, one, files[f"{RESULTS}{one}.json"]))
    for request_id in sorted(ids[REQUESTS] - ids[RESULTS] - ids[DELIVERIES]):
        keep_to_request(run, request_id, lambda run, one: answer(run, files[f"{REQUESTS}{one}.json"]))


def name_of_file(key: str) -> str:
    """Return the id of a request that a file is about."""
    return key.rpartition("/")[2].removesuffix(".json")


def keep_to_request(run: Run, request_id: str, action: Callable[[Run, str], None]) -> None:
    """Do something for a request; what goes wrong stays with it. An id holds a title: it is not logged."""
    run.check()
    try:
        action(run, request_id)
    except (Conflict, Missing, TryLater) as error:
        log("INFO", "a storage commitment request will be tried again", code=error.code)
        run.needs_another_pass |= isinstance(error, TryLater)
    except AwsError as error:
        run.report_error("AWS refused a call for storage commitment", code=error.code)
    except MALFORMED_DATA_ERRORS as error:
        run.report_error("a storage commitment request cannot be read", fact=type(error).__name__)


def answer(run: Run, listed: ListedObject) -> None:
    """Answer a request if every instance is decided, or its time is over."""
    request_id = name_of_file(listed.key)
    if listed.bytes > MAX_REQUEST_BYTES:
        return run.report_error("a storage commitment request is too large to be read", bytes=listed.bytes)
    request = read_request(run.aws.read(run.settings.landing_bucket, listed.key))
    if request.id != request_id:
        raise Malformed("a storage commitment request has another request's id")
    item = run.aws.get_item(f"COMMITMENT#{request_id}", "COMMITMENT") or {}
    is_over = run.aws.now() >= epoch(request.timeout_at)
    if len(request.instances) > MAX_INSTANCES:
        verdicts = dict.fromkeys(request.instances, RESOURCE_LIMITATION)
    else:
        known = int(item.get("known", 0))
        if not is_over:
            known += count_known(run, request.instances[known:])
        if known < len(request.instances) and not is_over:
            return note_request(run, request, item, {"state": STATE_WAITING, "known": known})
        verdicts = verdicts_on(run, request.instances)
    write_result(run, request, verdicts)
    failed = sum(1 for reason in verdicts.values() if reason)
    counts = {"committed": len(verdicts) - failed, "failed": failed}
    note_request(run, request, item, {"state": STATE_ANSWERED, "answered_at": iso(run.aws.now()), **counts})
    log("INFO", "storage commitment answered", **counts)
    return None


def count_known(run: Run, instances: list[tuple[str, str]]) -> int:
    """Return how many of the instances, from the first on, the ledger knows; the next pass goes on from there."""
    for number, (_, instance) in enumerate(instances):
        if run.lookups_left <= 0:
            run.needs_another_pass = True
            return number
        run.lookups_left -= 1
        run.check()
        if not run.aws.query(f"INSTANCE#{instance}", "BATCH#"):
            return number
    return len(instances)


def verdicts_on(run: Run, instances: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return 0 for each instance that is committed, else the failure reason."""
    verdicts = {pair: verdict(run, *pair) for pair in dict.fromkeys(instances)}
    unknown = [pair for pair, reason in verdicts.items() if reason == NO_SUCH_INSTANCE]
    under_way = sop_classes_under_way(run, {instance for _, instance in unknown}) if unknown else {}
    for sop_class, instance in unknown:
        if instance in under_way:
            is_conflict = under_way[instance] not in ("", sop_class)
            verdicts[sop_class, instance] = CLASS_CONFLICT if is_conflict else PROCESSING_FAILURE
    return verdicts


def verdict(run: Run, sop_class: str, instance: str) -> int:
    """Return 0 if the entry of an instance that came last says that it is committed, else the failure reason."""
    run.check()
    items = run.aws.query(f"INSTANCE#{instance}", "BATCH#")
    if not items:
        return NO_SUCH_INSTANCE
    last = max(items, key=lambda item: str(item.get("batch")))
    if last.get("SOPClassUID") and last["SOPClassUID"] != sop_class:
        return CLASS_CONFLICT
    is_good = last.get("state") == STATE_IMPORTED and last.get("is_primary") is True and not is_warned(last)
    return 0 if is_good else PROCESSING_FAILURE


def is_warned(item: Item) -> bool:
    """Say whether an instance has a serious warning, which a person may have closed: it still is one."""
    return item.get("open") == OPEN_WARNED or bool(item.get("object_key"))


def write_result(run: Run, request: Request, verdicts: dict[tuple[str, str], int]) -> None:
    """Write what the N-EVENT-REPORT will say, once: a result never changes."""
    result = {
        "schema": 1,
        "id": request.id,
        "decided_at": iso(run.aws.now()),
        "committed": [list(pair) for pair, reason in verdicts.items() if not reason],
        "failed": [[*pair, reason] for pair, reason in verdicts.items() if reason],
    }
    run.aws.create(run.settings.landing_bucket, f"{RESULTS}{request.id}.json", json.dumps(result).encode())


def note_request(run: Run, request: Request, before: Item, news: Item) -> None:
    """Write the request's item, if it says anything new."""
    about = {"id": request.id, "calling_ae_title": request.calling_ae_title, "instances": len(request.instances)}
    times = {"received_at": request.received_at, "timeout_at": request.timeout_at}
    write_item(run, request.id, before, {**about, **times, **news})


def write_item(run: Run, request_id: str, before: Item, news: Item, drop: tuple[str, ...] = ()) -> None:
    """Write a COMMITMENT# item at its revision, if it changes."""
    item = {**before, **news, "pk": f"COMMITMENT#{request_id}", "sk": "COMMITMENT"}
    item = {name: value for name, value in item.items() if name not in drop}
    if item == before:
        return
    revision = int(before.get("revision", 0))
    run.aws.put_item({**item, "revision": revision + 1}, *(("revision", "=", revision) if before else ()))


def watch_delivery(run: Run, request_id: str, result: ListedObject) -> None:
    """Show a result that waits for its delivery for too long."""
    if run.aws.now() - result.modified < run.settings.commitment_alarm_seconds:
        return
    item = run.aws.get_item(f"COMMITMENT#{request_id}", "COMMITMENT") or {}
    since = str(item.get("open_since") or iso(run.aws.now()))
    write_item(
        run,
        request_id,
        item,
        {"open": OPEN_UNDELIVERED, "open_since": since, "id": request_id, "state": STATE_ANSWERED},
    )


def note_delivery(run: Run, request_id: str, files: dict[str, ListedObject]) -> None:
    """Note that the device has answered, and delete the files; the proof of delivery goes last."""
    delivered = files[f"{DELIVERIES}{request_id}.json"]
    item = run.aws.get_item(f"COMMITMENT#{request_id}", "COMMITMENT") or {}
    news = {"id": request_id, "state": STATE_DELIVERED, "delivered_at": iso(delivered.modified)}
    write_item(run, request_id, item, news, drop=("open", "open_since"))
    others = [f"{REQUESTS}{request_id}.json", f"{RESULTS}{request_id}.json"]
    others += [key for key in files if key.startswith(f"{ATTEMPTS}{request_id}/")]
    run.delete([files[key] for key in others if key in files])
    run.delete([delivered])
