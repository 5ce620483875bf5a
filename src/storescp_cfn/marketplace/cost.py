"""What months cost, from list prices: this product, and beside it one import job per image.

The prices and their date are `prices.json`; what is counted is `cost_model.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from storescp_cfn.markdown import table
from storescp_cfn.marketplace.cost_model import (
    DAYS_PER_MONTH,
    JOBS_PER_SECOND,
    Count,
    Deployment,
    Workload,
    count,
    deployment_of,
)
from storescp_cfn.marketplace.errors import BadInputError

__all__ = ["Deployment", "Estimate", "Line", "Workload", "deployment_of", "estimate", "markdown", "notes", "page"]

# What HealthImaging keeps grows: the first month, after a year, after three.
MONTHS = (1, 12, 36)


@dataclass(frozen=True)
class Line:
    """One row of the estimate: what is counted, and its price in US dollars."""

    counted: Count
    price_usd: float

    @property
    def service(self) -> str:
        """The AWS service."""
        return self.counted.service

    @property
    def unit(self) -> str:
        """What is counted."""
        return self.counted.unit

    def this_product_usd(self, month: int) -> float:
        """What this product pays for it in a month, 1 being the first."""
        return self.counted.this_product(month) * self.price_usd

    @property
    def job_per_image_usd(self) -> float:
        """What one import job per image pays for it in the first month."""
        return self.counted.job_per_image * self.price_usd

    @property
    def is_used(self) -> bool:
        """Whether it costs anything on either side in any of MONTHS."""
        return bool(self.counted.job_per_image or any(self.counted.this_product(month) for month in MONTHS))

    def price_words(self) -> str:
        """The price without an exponent, as a price list has it."""
        return f"{self.price_usd:.10f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Estimate:
    """All rows, and what a reader has to know about the prices."""

    region: str
    as_of: str
    lines: tuple[Line, ...]
    estimated_prices: tuple[str, ...]
    job_per_image_keeps_up: bool

    def month_usd(self, month: int) -> float:
        """What this product costs in a month, 1 being the first."""
        return sum(line.this_product_usd(month) for line in self.lines)

    @property
    def this_product_usd(self) -> float:
        """What this product costs in the first month."""
        return self.month_usd(1)

    @property
    def job_per_image_usd(self) -> float:
        """What one import job per image costs in the first month."""
        return sum(line.job_per_image_usd for line in self.lines)

    def by_service(self) -> dict[str, tuple[float, ...]]:
        """Of each service: this product in each of MONTHS, then one job per image; US dollars."""
        sums: dict[str, tuple[float, ...]] = {}
        for line in self.lines:
            before = sums.get(line.service, (0.0,) * (len(MONTHS) + 1))
            here = (*(line.this_product_usd(month) for month in MONTHS), line.job_per_image_usd)
            sums[line.service] = tuple(map(sum, zip(before, here, strict=True)))
        return {service: values for service, values in sums.items() if any(values)}


@cache
def price_list() -> dict[str, Any]:
    """The price file: `as_of`, `source`, `prices` by Region, and which of them are `estimates`."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("prices.json").read_text("utf-8"))
    return data


def estimate(workload: Workload, deployment: Deployment, region: str = "us-east-1") -> Estimate:
    """Count the months and price them.

    Raises:
        BadInputError: there are no prices of that Region.
    """
    data = price_list()
    if region not in data["prices"]:
        raise BadInputError(f"There are no prices of Region {region!r}; allowed are {', '.join(data['prices'])}.")
    prices = data["prices"][region]
    lines = tuple(Line(counted, prices[counted.key]) for counted in count(workload, deployment))
    used = {line.counted.key for line in lines if line.is_used}
    return Estimate(
        region,
        data["as_of"],
        lines,
        tuple(sorted(used & set(data["estimates"].get(region, ())))),
        job_per_image_keeps_up=workload.images / DAYS_PER_MONTH <= JOBS_PER_SECOND * 86_400,
    )


def markdown(found: Estimate) -> str:
    """One Region's estimate as a Markdown table: what costs nothing on either side is left out."""
    rows = [
        [
            line.service,
            line.unit,
            line.price_words(),
            *_dollars(line.this_product_usd(month) for month in MONTHS),
            *_dollars([line.job_per_image_usd]),
        ]
        for line in found.lines
        if line.is_used
    ]
    sums = _dollars([*(found.month_usd(month) for month in MONTHS), found.job_per_image_usd])
    total = ["**Total**", "", "", *(f"**{each}**" for each in sums)]
    head = ["Service", "Unit", "USD per unit", *(f"Month {month}" for month in MONTHS), "One job per image, month 1"]
    written = table(head, [*rows, total], ["---"] * 2 + ["---:"] * 5)
    return "\n".join([f"## {found.region}\n", written, "", *notes(found)])


def _dollars(values: Iterable[float]) -> list[str]:
    return [f"{value:,.2f}" for value in values]


def notes(found: Estimate) -> list[str]:
    """What has to be said with the numbers, a sentence each."""
    reported = [
        f"US dollars a month, list prices of {found.as_of}, without free tier, discounts, tax or the software's own.",
        "Nothing is read again after 30 days: then HealthImaging moves it to its archive tier.",
    ]
    if found.estimated_prices:
        reported.append(
            f"Not seen on a price list of {found.region}, but estimated: {', '.join(found.estimated_prices)}."
        )
    if not found.job_per_image_keeps_up:
        reported.append("One job per image cannot keep up: HealthImaging starts about one import job a second.")
    return reported


def page(workload: Workload, deployment: Deployment, tables: list[str]) -> str:
    """The cost estimate of a release: what is counted, and a table for each Region."""
    endpoint = "past" if deployment.s3_endpoint else "through"
    return (
        "# What it costs\n\n"
        f"{workload.words()}; {deployment.tasks} tasks of {deployment.vcpu:g} vCPU and {deployment.memory_gb:g} GB "
        f"({deployment.architecture}); images stay {deployment.retention_days} days in the landing bucket and go there "
        f"{endpoint} the NAT gateway. An image set (a series) is billed as 5 MB at least.\n\n"
        "Beside it: one import job per image through AWS Step Functions, the way of the product on sale, with the same "
        "load balancer and NAT gateway.\n\n" + "\n\n".join(tables) + "\n"
    )
