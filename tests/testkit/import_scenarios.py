"""Batches for the importer's tests, and the question that each of them ends with: is every instance accounted for?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from import_lambda.aws import Item
from import_lambda.decisions import WARNED
from import_lambda.keys import INSTANCE_KEY, iso
from import_lambda.ledger import FINAL_STATES
from import_lambda.reconcile import reconcile
from import_lambda.settings import Settings
from tests.testkit.memory_aws import MemoryAws
from tests.testkit.memory_world import LANDING, SETTINGS, Stored, World

Instance = tuple[str, str]  # batch as the receiver named it, and Study/Series/SOP
Interrupt = Callable[[str, int, str], None]


def batch_id(opened_at: float, number: int = 1) -> str:
    """A batch id as the receiver makes them."""
    stamp = iso(opened_at).translate(str.maketrans("", "", "-:.Z"))
    return f"{stamp}Z-9f3a61c2-{number:04d}"


def receive(
    world: World, bodies: Iterable[bytes], number: int = 1, study: str = "1.2.3", close: bool = True
) -> list[Instance]:
    """What a receiver does: PUT the objects of a batch, then its manifest. Returns what was acknowledged."""
    batch, opened_at = batch_id(world.time, number), world.time
    acknowledged = []
    for count, body in enumerate(bodies):
        rest = f"{study}/{study}.1/{study}.1.{number}.{count + 1}"
        world.put(LANDING, f"incoming/{batch}/{rest}.dcm", body)
        acknowledged.append((batch, rest))
    world.time += 3
    if close:
        close_batch(world, batch, len(acknowledged), opened_at)
    return acknowledged


def close_batch(world: World, batch: str, instances: int, stored_at: float, **more: Any) -> None:
    """PUT a batch's manifest."""
    times = {
        "opened_at": iso(stored_at),
        "last_stored_at": iso(stored_at),
        "closed_at": iso(world.time),
    }
    manifest = {"schema": 1, "batch": batch, **times, "closed_by": "quiet", "instances": instances}
    manifest |= {"bytes": 1, "calling_ae_titles": ["CT1"], "studies": [], **more}
    world.put(LANDING, f"batches/{batch}.json", json.dumps(manifest).encode())


def good(count: int, first: int = 0) -> list[bytes]:
    """Bodies that HealthImaging imports."""
    return [b"DICM%d" % number for number in range(first, first + count)]


# These live long: of their calls, every so manieth is interrupted.
STRIDES = {"never imported": 41, "failing job": 41}
QUICK_DOUBTS = replace(SETTINGS, doubt_spacing_seconds=60)


def plain_batch(world: World) -> list[Instance]:
    return receive(world, good(3))


def bad_objects(world: World) -> list[Instance]:
    return receive(world, [*good(2), b"BAD", b"", b"CONFLICT", b"FLAKY:1"])


def warned_objects(world: World) -> list[Instance]:
    """One warning that is serious, one that is harmless, one that nobody knows."""
    return receive(world, [*good(1), b"WARN:45330", b"WARN:45570", b"WARN:47513"])


def late_in_its_batch(world: World) -> list[Instance]:
    """A streamed object whose batch was closed without it: a later batch's manifest claims it (docs/adr/0001)."""
    first = receive(world, good(2), close=False)
    late = (first[0][0], "1.2.3/1.2.3.1/1.2.3.9.9")
    key = f"incoming/{late[0]}/{late[1]}.dcm"
    close_batch(world, first[0][0], 2, world.time, late=[key])
    world.put(LANDING, key, b"DICM late")
    second = receive(world, good(1), number=2, study="1.2.4", close=False)
    close_batch(world, second[0][0], 2, world.time, elsewhere=[key])
    return [*first, (second[0][0], late[1]), *second]


def never_imported(world: World) -> list[Instance]:
    world.healthy_every_minutes = 2
    return receive(world, [*good(1), b"ODD", b"SILENT"])


def orphan(world: World) -> list[Instance]:
    return receive(world, good(3), close=False)


def failing_job(world: World) -> list[Instance]:
    world.healthy_every_minutes = 2
    return receive(world, [*good(3), b"POISON", *good(2, first=4)])


def over_the_limit(world: World) -> list[Instance]:
    return receive(world, good(7))


def two_batches(world: World) -> list[Instance]:
    return receive(world, [*good(2), b"BAD"], number=1) + receive(world, good(2), number=2, study="1.2.4")


def late_object(world: World) -> list[Instance]:
    """A PUT that S3 finishes after the receiver has given it up: while the job runs, and after the batch is settled."""
    acknowledged = receive(world, good(2))
    batch = acknowledged[0][0]
    late = [(batch, f"1.2.3/1.2.3.1/1.2.3.9.{number}") for number in (1, 2)]

    def come_late(job: object) -> None:
        if late_keys := [rest for _, rest in late if rest not in come]:
            come.append(late_keys[0])
            world.put(LANDING, f"incoming/{batch}/{late_keys[0]}.dcm", b"DICM late")

    come: list[str] = []
    world.on_job_end = come_late
    return acknowledged + late


def unrecognized_objects(world: World) -> list[Instance]:
    acknowledged = receive(world, good(2))
    world.put(LANDING, "incoming/readme.txt", b"text")
    world.put(LANDING, "incoming/my images/a.dcm", b"DICM")
    world.put(LANDING, f"incoming/{acknowledged[0][0]}/thumbs.db", b"x")
    world.put(LANDING, "batches/notes.json", b"{}")
    return acknowledged


SCENARIOS: dict[str, tuple[Callable[[World], list[Instance]], Settings]] = {
    "plain batch": (plain_batch, SETTINGS),
    "bad objects": (bad_objects, SETTINGS),
    "warned objects": (warned_objects, SETTINGS),
    "never imported": (never_imported, QUICK_DOUBTS),
    "orphan": (orphan, SETTINGS),
    "failing job": (failing_job, QUICK_DOUBTS),
    "over the limit": (over_the_limit, replace(SETTINGS, max_files_per_job=3)),
    "two batches": (two_batches, SETTINGS),
    "late object": (late_object, SETTINGS),
    "late in its batch": (late_in_its_batch, replace(SETTINGS, orphan_after_seconds=86_400)),
    "unrecognized objects": (unrecognized_objects, SETTINGS),
}


def wake(world: World, settings: Settings = SETTINGS, interrupt: Interrupt | None = None, skew: float = 0.0) -> None:
    """One invocation of the function, with Lambda's 900 seconds."""
    aws = MemoryAws(world, skew, interrupt)
    reconcile(aws, settings, aws.now() + 870)


def at_rest(world: World) -> bool:
    """Say whether there is nothing left to do."""
    open_keys = world.keys("incoming/") + world.keys("split/") + world.keys("batches/")
    return not open_keys and not world.unsettled and not world.running and not world.late_results


def wake_every_minute(world: World, settings: Settings = SETTINGS, minutes: int = 400, skew: float = 0.0) -> None:
    """The schedule, until there is nothing left to do; three more wake-ups after that change nothing."""
    live(world, lambda: wake(world, settings, skew=skew), minutes)
    for _ in range(3):
        wake(world, settings, skew=skew)
        world.time += 60


def live(world: World, wake_up: Callable[[], None], minutes: int = 400) -> None:
    """A wake-up every minute until there is nothing left to do; other batches come as the world says."""
    for minute in range(minutes):
        if world.healthy_every_minutes and minute % world.healthy_every_minutes == 0:
            receive_healthy(world)
        wake_up()
        world.time += 60
        if at_rest(world):
            return


def receive_healthy(world: World) -> None:
    """Another batch, which shows that HealthImaging works."""
    number = 5_000 + len(world.extra)
    world.extra += receive(world, [b"DICM %d" % number], number=number, study=f"1.9.{number}")


def family(world: World, batch: str) -> list[Item]:
    """The ledger's items of a batch and of all that it was split into."""
    names = [pk for pk in world.ledger if pk == f"BATCH#{batch}" or pk.startswith(f"BATCH#{batch}.")]
    return [world.ledger[name]["BATCH"] for name in sorted(names) if "BATCH" in world.ledger[name]]


def problems(world: World, acknowledged: list[Instance], imports: int = 1) -> list[str]:
    """One sentence for each thing that is not as promised. `imports`: how often an instance may have been imported."""
    acknowledged = [*acknowledged, *world.extra]
    found = [f"{key} is still there" for prefix in ("incoming/", "split/", "batches/") for key in world.keys(prefix)]
    found += [f"{pk} is {item['state']}" for pk, item in world.unsettled.items()]
    imported, quarantined = Counter[Instance](), Counter[Instance]()
    for key, count in world.image_sets.items():
        imported[origin(key)] += count
    for key in world.keys("quarantine/"):
        if INSTANCE_KEY.fullmatch(key.replace("quarantine/", "incoming/", 1)):
            record = world.buckets[LANDING].get(f"{key}.json")
            if record is None:
                found.append(f"{key} has no reason")
            quarantined[origin(key)] += record is None or json.loads(record.body)["kind"] != WARNED
    for instance in acknowledged:
        if (imported[instance] > 0) + quarantined[instance] != 1:
            found.append(f"{instance}: {imported[instance]} times imported, {quarantined[instance]} quarantined")
        if imported[instance] > imports:
            found.append(f"{instance}: {imported[instance]} times imported")
    for batch in {batch for batch, _ in acknowledged}:
        mine = [instance for instance in acknowledged if instance[0] == batch]
        found += ledger_problems(world, batch, mine, imported, quarantined)
    return found + study_problems(world, acknowledged, quarantined)


def origin(key: str) -> Instance:
    """The instance that an object is, whichever half of its batch it is in."""
    _, batch, rest = key.removesuffix(".dcm").split("/", 2)
    return batch.split(".")[0], rest


def ledger_problems(
    world: World, batch: str, mine: list[Instance], imported: Counter[Instance], quarantined: Counter[Instance]
) -> list[str]:
    items = family(world, batch)
    found = [
        f"{item['pk']}: {item['received']} received, {item['imported']} imported, {item['quarantined']} quarantined"
        for item in items
        if item["received"] != item["imported"] + item["quarantined"] or item["state"] not in FINAL_STATES
    ]
    told = sum(item["imported"] for item in items), sum(item["quarantined"] for item in items)
    true = sum(1 for one in mine if imported[one]), sum(1 for one in mine if quarantined[one])
    if told != true:
        found.append(f"{batch}: the ledger says imported, quarantined = {told}; the facts say {true}")
    records = [
        item["object_key"]
        for pk, rows in world.ledger.items()
        if pk == f"BATCH#{batch}" or pk.startswith(f"BATCH#{batch}.")
        for sk, item in rows.items()
        if sk.startswith("QUARANTINED#")
    ]
    if sorted(map(origin, records)) != sorted(one for one in mine if quarantined[one]):
        found.append(f"{batch}: quarantine items {records}")
    return found


def study_problems(world: World, acknowledged: list[Instance], quarantined: Counter[Instance]) -> list[str]:
    found = []
    for study in {rest.split("/")[0] for _, rest in acknowledged}:
        rows = list(world.ledger[f"STUDY#{study}"].values())
        mine = [instance for instance in acknowledged if instance[1].startswith(f"{study}/")]
        refused = sum(1 for one in mine if quarantined[one])
        told = tuple(sum(row[name] for row in rows) for name in ("received", "imported", "quarantined"))
        if told != (len(mine), len(mine) - refused, refused):
            found.append(f"study {study}: the ledger says {told} of {len(mine)}")
        found += [f"study {study}: {row['sk']} is {row['state']}" for row in rows if row["state"] not in FINAL_STATES]
    return found


def batch_item(world: World, instance: Instance) -> Item:
    return world.ledger[f"BATCH#{instance[0]}"]["BATCH"]


def key_of(instance: Instance) -> str:
    return f"incoming/{instance[0]}/{instance[1]}.dcm"


def last_metrics(world: World, settings: Settings = SETTINGS) -> dict[str, Any]:
    aws = MemoryAws(world)
    values = reconcile(aws, settings, aws.now() + 870)
    assert values is not None
    return values


def quarantine_reasons(world: World) -> list[Stored]:
    return [one for one in world.buckets[LANDING].below("quarantine/") if one.found.key.endswith(".json")]
