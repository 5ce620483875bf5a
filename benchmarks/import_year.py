"""A year of a mid-size hospital on a virtual clock: is it ever late, does the ledger ever lie, what does it cost?

    python -m benchmarks.import_year [--days 365] [--studies 2000]

Every study is a batch of two objects, which stand for the images of a study: the importer's calls hardly depend on how
many there are. Over the day studies come as they do in a hospital. Events get lost, receivers die and leave orphans,
images are bad, the function is killed, and twice in the year HealthImaging refuses every start for hours. After each
wake-up everything that it wrote is checked against the facts; each night everything is.

The cost is that of the importer alone (calls counted here, prices of src/storescp_cfn/marketplace/prices.json), for an
assumed number of images a study; CloudWatch's fixed prices for metrics and alarms are not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any, TextIO

from import_lambda.aws import Item
from import_lambda.errors import error_of
from import_lambda.ledger import FINAL_STATES
from import_lambda.reconcile import reconcile
from tests.testkit.import_scenarios import batch_id, close_batch
from tests.testkit.memory_aws import KilledError, MemoryAws
from tests.testkit.memory_world import LANDING, RESULTS, SETTINGS, START, MemoryJob, World

IMAGES_PER_STUDY = 300
CALL_SECONDS = 0.03
MEMORY_GB = 0.5
HOURLY = [1, 1, 1, 1, 1, 2, 4, 8, 10, 10, 10, 9, 8, 9, 10, 9, 7, 5, 4, 3, 2, 2, 1, 1]  # a hospital's day, in shares
LOST_EVENTS, BAD_IMAGES, DEAD_RECEIVERS, KILLED_RUNS = 0.01, 0.0001, 0.0005, 0.001
OUTAGES = {(100, 9): 4, (250, 18): 8}  # (day, hour): hours
DAY = 86_400.0


class Ledger(Exception):
    """The ledger and the facts disagree."""


class MeteredAws(MemoryAws):
    """Counts DynamoDB's units, and remembers which batches were written."""

    def __init__(self, world: World, year: Year, interrupt: Any = None) -> None:
        super().__init__(world, interrupt=interrupt)
        self.year, self.written = year, set[str]()

    def put_item(self, item: Item, name: str = "", operator: str = "=", value: Any = None) -> None:
        kind = item["sk"].partition("#")[0], item.get("state", "")
        if kind not in self.year.sizes:  # items of a kind hardly differ in length
            self.year.sizes[kind] = -(-len(json.dumps(item)) // 1024)
        was_open = item["pk"] in self.world.unsettled
        super().put_item(item, name, operator, value)
        self.year.units["write"] += self.year.sizes[kind] * (2 if was_open or "unsettled" in item else 1)
        if item["sk"] == "BATCH":
            self.written.add(item["pk"])

    def get_item(self, pk: str, sk: str) -> Item | None:
        self.year.units["read"] += 1
        return super().get_item(pk, sk)

    def query(self, pk: str, sk_prefix: str) -> list[Item]:
        self.year.units["read"] += 1
        return super().query(pk, sk_prefix)

    def unsettled(self) -> list[Item]:
        items = super().unsettled()
        self.year.units["read"] += max(0.5, len(items) / 8)  # eventually consistent, half a kilobyte an item
        return items


class LogMeter:
    """Takes the function's log and counts its bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, text: str) -> int:
        self.bytes += len(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""


@dataclass
class Year:
    """The simulation: what happens when, and what was counted."""

    days: int
    studies_per_day: int
    world: World = field(default_factory=lambda: World(call_seconds=CALL_SECONDS, job_seconds=30))
    draw: random.Random = field(default_factory=lambda: random.Random(2026))
    events: list[tuple[float, int, Any]] = field(default_factory=list)
    entered: int = 0
    units: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "write": 0.0})
    sizes: dict[tuple[str, str], int] = field(default_factory=dict)  # of ledger items, in units of 1,024 bytes
    log: LogMeter = field(default_factory=LogMeter)
    runs: int = 0
    run_seconds: float = 0.0
    kills: int = 0
    errors: int = 0
    stored: dict[str, int] = field(default_factory=dict)  # instances of each batch that is not checked off yet
    stored_at: dict[str, float] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    checks: int = 0
    quarantined: set[str] = field(default_factory=set)

    # - what happens -

    def at(self, moment: float, action: Any) -> None:
        self.entered += 1
        heapq.heappush(self.events, (moment, self.entered, action))

    def run(self) -> None:
        """Live through it, then a quiet day in which all must settle."""
        self.world.on_job_end = self.job_ended
        for (day, hour), hours in OUTAGES.items():
            begin = START + day * DAY + hour * 3600
            self.outages.append((begin, begin + hours * 3600))
        for day in range(self.days):
            self.at(START + day * DAY, partial(self.one_day, day))
        end = START + (self.days + 1) * DAY
        minute = START
        while minute < end:
            if self.events and self.events[0][0] <= minute:
                moment, _, action = heapq.heappop(self.events)
                self.advance_to(moment)
                action()
            else:
                self.advance_to(minute)
                self.wake()
                minute = max(minute + 60, self.world.time)

    def advance_to(self, moment: float) -> None:
        self.world.time = max(self.world.time, moment)
        self.world.tick()

    def one_day(self, day: int) -> None:
        """Enter a day's studies, after the night's check of everything."""
        self.check_everything()
        shares = random.Random(day).choices(range(24), HOURLY, k=self.studies_per_day)
        # Numbers are the year's own: after an outage studies of two days may be stored in the same millisecond.
        for number, hour in enumerate(shares, start=day * self.studies_per_day + 1):
            self.at(START + day * DAY + (hour + self.draw.random()) * 3600, partial(self.study, number))
        self.forget_results()

    def study(self, number: int) -> None:
        """A receiver stores a batch and closes it, or dies."""
        world = self.world
        batch = batch_id(world.time, number)
        bodies = [b"BAD" if self.draw.random() < BAD_IMAGES * IMAGES_PER_STUDY / 2 else b"DICM" for _ in range(2)]
        for count, body in enumerate(bodies):
            world.put(LANDING, f"incoming/{batch}/1.{number}/1.{number}.1/1.{number}.1.{count}.dcm", body)
        self.stored[batch], self.stored_at[batch] = len(bodies), world.time
        if self.draw.random() < DEAD_RECEIVERS:
            self.totals["orphans"] += 1
            return
        close_batch(world, batch, len(bodies), world.time)
        self.wake_up()

    def job_ended(self, job: MemoryJob) -> None:
        batch = job.input_prefix.split("/")[1]
        self.delays.append(job.ends_at - self.stored_at.get(batch, job.ends_at))
        self.wake_up()

    def wake_up(self) -> None:
        if self.draw.random() >= LOST_EVENTS:
            self.at(self.world.time + 1, self.wake)

    def wake(self) -> None:
        """One invocation, and a check of all that it wrote."""
        kill_at = self.draw.randint(1, 40) if self.draw.random() < KILLED_RUNS else 0
        outage = any(begin <= self.world.time < end for begin, end in self.outages)

        def interrupt(moment: str, number: int, name: str) -> None:
            if number == kill_at:
                self.kills += 1
                raise KilledError
            if outage and (moment, name) == ("before", "medical-imaging:start"):
                raise error_of("InternalServerException", 500)

        aws = MeteredAws(self.world, self, interrupt if kill_at or outage else None)
        begun = self.world.time
        with contextlib.suppress(KilledError):
            values = reconcile(aws, SETTINGS, begun + 870)
            self.errors += int((values or {}).get("ImportErrors", 0))  # type: ignore[arg-type]
        self.runs += 1
        self.run_seconds += self.world.time - begun + 0.05
        for pk in aws.written:
            self.check(pk)

    # - is it true? -

    def check(self, pk: str) -> None:
        """Compare a batch's item with the facts; a settled batch is checked off."""
        item = self.world.ledger[pk]["BATCH"]
        batch = item["batch"]
        waiting = sum(1 for _ in self.world.buckets[LANDING].below(f"incoming/{batch}/"))
        imported = sum(1 for key in self.imported_keys(batch))
        refused = {sk for sk in self.world.ledger[pk] if sk.startswith("QUARANTINED#")}
        self.checks += 1
        settled = item["state"] in FINAL_STATES
        if settled != (pk not in self.world.unsettled):
            raise Ledger(f"{pk}: {item['state']}, and the index says otherwise")
        if batch in self.stored and len(refused) + max(imported, 0) + waiting < self.stored[batch]:
            raise Ledger(f"{pk}: an instance is gone")
        if not settled or batch not in self.stored:
            return
        told = item["received"], item["imported"], item["quarantined"]
        if told != (self.stored[batch], imported, len(refused)) or waiting:
            raise Ledger(
                f"{pk}: the ledger says {told}, stored {self.stored[batch]}, imported {imported}, waiting {waiting}"
            )
        self.totals.update(batches=1, received=told[0], imported=told[1], quarantined=told[2])
        self.quarantined |= refused
        del self.stored[batch], self.stored_at[batch]
        self.at(self.world.time + 3600, partial(self.forget, pk))

    def imported_keys(self, batch: str) -> Iterator[str]:
        for number in range(2):
            prefix = f"incoming/{batch}/"
            study = f"1.{int(batch.rpartition('-')[2])}"
            key = f"{prefix}{study}/{study}.1/{study}.1.{number}.dcm"
            if self.world.image_sets.get(key):
                yield key

    def check_everything(self) -> None:
        for pk in list(self.world.unsettled):
            self.check(pk)

    def forget(self, pk: str) -> None:
        """Make room: a settled batch is touched no more."""
        batch = pk.removeprefix("BATCH#")
        for key in list(self.imported_keys(batch)):
            del self.world.image_sets[key]
        for stored in list(self.world.buckets[RESULTS].below(f"jobs/{batch}/")):
            self.world.buckets[RESULTS].pop(stored.found.key)
        for stored in list(self.world.buckets[LANDING].below(f"quarantine/{batch}/")):
            self.world.buckets[LANDING].pop(stored.found.key)
        del self.world.ledger[pk]

    def forget_results(self) -> None:
        """The prices count every call; what is settled and old need not stay in this machine's memory."""
        old = self.world.time - DAY
        for job_id in [each for each, job in self.world.jobs.items() if job.ends_at < old]:
            self.world.by_token.pop(self.world.jobs.pop(job_id).token, None)
        for pk in [each for each in self.world.ledger if each.startswith("STUDY#") or not self.world.ledger[each]]:
            del self.world.ledger[pk]
        self.world.start_times.clear()


def cost(year: Year) -> dict[str, float]:
    """Dollars of the simulated time, us-east-1, the importer alone."""
    price = json.loads((files("storescp_cfn.marketplace") / "prices.json").read_text())
    price = price["prices"]["us-east-1"]
    calls, images = year.world.calls, year.totals["batches"] * IMAGES_PER_STUDY
    return {
        "S3 requests": (calls["s3:list"] + calls["s3:put"] + calls["s3:copy"]) * price["s3_put_list_request"]
        + calls["s3:get"] * price["s3_get_request"],
        "DynamoDB requests": year.units["write"] * price["dynamodb_write_request_unit"]
        + year.units["read"] * price["dynamodb_read_request_unit"],
        "Lambda": year.runs * price["lambda_request"] + year.run_seconds * MEMORY_GB * price["lambda_x86_64_gb_second"],
        "log": year.log.bytes / 1e9 * price["cloudwatch_logs_ingested_gb"],
        "S3 events to EventBridge (created and deleted, all of the bucket)": 2 * images * price["eventbridge_event"],
    }


def report(year: Year, seconds: float, out: TextIO) -> None:
    """Print what happened and what it costs."""
    totals, delays = year.totals, sorted(year.delays)
    images = totals["batches"] * IMAGES_PER_STUDY
    print(f"{year.days} days of {year.studies_per_day} studies a day, in {seconds:.0f} s of this machine.", file=out)
    print(
        f"{totals['batches']} batches settled, {totals['orphans']} of them of dead receivers. Of their objects",
        file=out,
    )
    print(
        f"{totals['received']} received = {totals['imported']} imported + {totals['quarantined']} quarantined.",
        file=out,
    )
    print(
        f"{year.runs} wake-ups, {year.kills} killed half-way; {year.checks} comparisons of ledger and facts:", file=out
    )
    print(f"no difference. ImportErrors: {year.errors}.", file=out)
    for name, part in (("half", 0.5), ("99 %", 0.99), ("99.9 %", 0.999), ("all", 1.0)):
        print(
            f"  {name:>7} in image sets within {delays[min(len(delays) - 1, int(part * len(delays)))]:9.0f} s", file=out
        )
    bills = cost(year)
    for name, dollars in bills.items():
        print(f"  {dollars / year.days * 30:9.2f} USD a month  {name}", file=out)
    total = sum(bills.values())
    print(f"  {total / year.days * 30:9.2f} USD a month, {total / images * 1e6:.2f} USD a million images", file=out)
    calls = {name: round(count / totals["batches"], 1) for name, count in sorted(year.world.calls.items())}
    print(f"Calls a batch, idle minutes included: {calls}", file=out)


def main() -> None:
    """Run, check, print; an exception if the ledger ever lied or a batch was later than the outages allow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--studies", type=int, default=2_000)
    arguments = parser.parse_args()
    year = Year(arguments.days, arguments.studies)
    random.seed(2026)
    begun = time.monotonic()
    out = sys.stdout
    with contextlib.redirect_stdout(year.log):
        year.run()
    if year.stored or year.world.unsettled or year.totals["batches"] != arguments.days * arguments.studies:
        raise Ledger(f"not settled: {list(year.stored)[:3]}, {list(year.world.unsettled)[:3]}")
    # An orphan waits for its receiver, an outage for its end; then the backlog drains at the quota's rate.
    longest = max((end - begin for begin, end in year.outages), default=0.0) + SETTINGS.orphan_after_seconds
    if max(year.delays) > longest + 2 * arguments.studies:
        raise Ledger(f"a batch was {max(year.delays):.0f} s old")
    report(year, time.monotonic() - begun, out)


if __name__ == "__main__":
    main()
