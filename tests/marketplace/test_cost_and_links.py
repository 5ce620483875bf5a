"""What a month costs, and the links that open CloudFormation's form.

Covers cost.py, cost_model.py, links.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from storescp_cfn.marketplace import cost, cost_model, links
from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.template import metrics, regions, render
from tests.testkit.release_checkout import command

WORK = cost.Workload(50, 200, 0.5)


@pytest.fixture(scope="module")
def deployment() -> cost.Deployment:
    return cost.deployment_of(render().to_dict())


def quantities(found: cost.Estimate) -> dict[tuple[str, str], tuple[float, float]]:
    return {
        (line.service, line.unit): (line.counted.this_product(1), line.counted.job_per_image) for line in found.lines
    }


def test_every_region_of_healthimaging_has_every_price(deployment: cost.Deployment) -> None:
    data = cost.price_list()
    assert set(data["prices"]) == set(regions.SUPPORTED) == set(links.REGION_NAMES)
    assert len({frozenset(prices) for prices in data["prices"].values()}) == 1
    assert all(price > 0 for prices in data["prices"].values() for price in prices.values())
    assert all(set(keys) <= set(data["prices"][region]) for region, keys in data["estimates"].items())
    for region in data["prices"]:
        assert cost.estimate(WORK, deployment, region).this_product_usd > 0


def test_the_sums_are_quantities_times_prices(deployment: cost.Deployment) -> None:
    found = cost.estimate(WORK, deployment)
    counted: dict[tuple[str, str], Any] = dict(quantities(found))
    images = 50 * 200 * 365 / 12
    assert counted["Amazon S3", "PUT and LIST requests"][0] == pytest.approx(images + 50 * 365 / 12 * 7)
    assert counted["AWS Step Functions", "state transitions"] == (0, pytest.approx(10 * images))
    assert counted["Network Load Balancer", "LCU hours"] == (pytest.approx(images * 0.0005),) * 2
    vcpu = counted[f"AWS Fargate ({deployment.architecture})", "vCPU hours"][0]
    assert vcpu == deployment.tasks * deployment.vcpu * 730
    sums = [sum(values) for values in zip(*found.by_service().values(), strict=True)]
    assert sums == pytest.approx([*(found.month_usd(month) for month in cost.MONTHS), found.job_per_image_usd])


def test_what_is_kept_grows_and_moves_to_the_archive_tier(deployment: cost.Deployment) -> None:
    found = cost.estimate(WORK, deployment)
    (archive,) = (line for line in found.lines if line.unit == "GB months, archive")
    (frequent,) = (line for line in found.lines if line.unit == "GB months, frequent access")
    added = WORK.billed_gib
    for month in cost.MONTHS:
        kept = frequent.counted.this_product(month) + archive.counted.this_product(month)
        assert kept == pytest.approx((month - 0.5) * added), "the average of what is kept in that month"
    assert [found.month_usd(month) for month in cost.MONTHS] == sorted(found.month_usd(month) for month in cost.MONTHS)


def test_a_small_image_set_is_billed_as_five_megabytes() -> None:
    xray = cost.Workload(100, 2, 0.1, series_per_study=2)
    assert xray.billed_gib * 1024**3 == pytest.approx(100 * 365 / 12 * 2 * 5_000_000)
    ct = cost.Workload(100, 1000, 0.5, series_per_study=2)
    assert ct.billed_gib * 1024**3 == pytest.approx(ct.gigabytes * 1e9)


def test_nat_the_ledger_and_every_metric_are_paid_for(deployment: cost.Deployment) -> None:
    counted = quantities(cost.estimate(WORK, deployment))
    assert counted["NAT gateway", "GB, none with the S3 endpoint"][0] == pytest.approx(WORK.gigabytes)
    past = quantities(cost.estimate(WORK, replace(deployment, s3_endpoint=True)))
    assert past["NAT gateway", "GB, none with the S3 endpoint"][0] == 0
    assert counted["Amazon DynamoDB", "writes, one per image"][0] == pytest.approx(WORK.images)
    own = len({*metrics.OF_RECEIVER, *metrics.OF_IMPORTER})
    assert counted["Amazon CloudWatch", "metrics"][0] == own + cost_model.CONTAINER_INSIGHTS_METRICS


def test_one_job_per_image_costs_more_and_at_last_cannot_keep_up(deployment: cost.Deployment) -> None:
    found = cost.estimate(WORK, deployment)
    assert found.job_per_image_usd > found.this_product_usd
    assert found.job_per_image_keeps_up
    flood = cost.estimate(cost.Workload(1000, 100, 0.5), deployment)
    assert not flood.job_per_image_keeps_up
    assert "cannot keep up" in cost.notes(flood)[-1]


def test_the_deployment_is_the_template_s(deployment: cost.Deployment) -> None:
    template = render().to_dict()
    types = [resource["Type"] for resource in template["Resources"].values()]
    assert deployment.alarms == types.count("AWS::CloudWatch::Alarm")
    assert deployment.importer_gb > 0
    assert deployment.metrics > len({*metrics.OF_RECEIVER, *metrics.OF_IMPORTER})
    assert deployment.tasks == int(template["Parameters"]["TaskDesiredCount"]["Default"])


def test_large_studies_are_counted_as_the_batches_that_they_need(deployment: cost.Deployment) -> None:
    one, many = (
        quantities(cost.estimate(cost.Workload(1, images, 0.001), deployment))["AWS Lambda", "requests"][0]
        for images in (5000, 15000)
    )
    assert many - one == pytest.approx(2 * 2 * 365 / 12)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), 2_000_000])
def test_a_workload_that_cannot_be_is_refused(bad: float) -> None:
    with pytest.raises(BadInputError, match=r"image_mb is .*; it has to be more than 0 and at most"):
        cost.Workload(1, 1, bad)


def test_estimate_fits_80_columns_and_is_plain_when_piped(pristine: Path) -> None:
    run = command(pristine)
    done = run("estimate", "--studies-per-day", "50", "--images-per-study", "200", "--image-mb", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii() and "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("us-east-1: 50 studies a day of 200 images of 0.5 MB; ")
    (heading,) = (line for line in lines if line.startswith("USD a month"))
    assert re.sub(r" +", " ", heading).strip() == "USD a month Month 1 Month 12 Month 36 One job/image"
    (total,) = (line for line in lines if line.startswith("Total"))
    assert len(re.findall(r"[\d,]+\.\d\d", total)) == 4
    refused = run("estimate", "--studies-per-day", "0", "--images-per-study", "1", "--image-mb", "1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: studies_per_day is 0.0; it has to be more than 0")
    elsewhere = run(
        "estimate", "--studies-per-day", "1", "--images-per-study", "1", "--image-mb", "1", "--region", "eu-central-1"
    )
    assert "There are no prices of Region 'eu-central-1'" in elsewhere.stderr


def test_a_link_carries_region_template_name_and_values() -> None:
    url = links.quick_create_url(
        "https://b.s3.us-east-1.amazonaws.com/storescp/1.2.0-abc.yaml",
        "eu-west-2",
        "my-stack",
        {"PeerCIDR1": "203.0.113.0/24", "AE": "A B&C"},
    )
    address = urlsplit(url)
    assert address.netloc == "eu-west-2.console.aws.amazon.com"
    assert parse_qs(address.query) == {"region": ["eu-west-2"]}
    place, _, filled = address.fragment.partition("?")
    assert place == "/stacks/create/review"
    assert parse_qs(filled) == {
        "templateURL": ["https://b.s3.us-east-1.amazonaws.com/storescp/1.2.0-abc.yaml"],
        "stackName": ["my-stack"],
        "param_PeerCIDR1": ["203.0.113.0/24"],
        "param_AE": ["A B&C"],
    }


def test_launch_url_prints_the_link_or_a_sentence(pristine: Path) -> None:
    run = command(pristine)
    template = "https://b.s3.us-east-1.amazonaws.com/t.yaml"
    done = run("launch-url", "--template-url", template, "--region", "us-west-2", "--param", "SCPPort=104")
    assert done.stdout == links.quick_create_url(template, "us-west-2", parameters={"SCPPort": "104"}) + "\n"
    for arguments, sentence in (
        (("--template-url", "https://example.org/t.yaml"), "is not one of S3"),
        (("--template-url", template, "--region", "mars-1"), "Region 'mars-1' has no AWS HealthImaging"),
        (("--template-url", template, "--param", "SCPPort"), "--param 'SCPPort' is not NAME=VALUE"),
        (
            ("--template-url", template, "--param", "ScpPort=104"),
            "no parameter of the template; did you mean SCPPort?",
        ),
        (
            ("--template-url", template, "--param", "SCPPort=104", "--param", "SCPPort=105"),
            "--param SCPPort is given twice: '104' and '105'.",
        ),
        (("--template-url", template, "--param", "SCPPort=99999"), "--param SCPPort='99999' is not allowed: "),
    ):
        refused = run("launch-url", *arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert sentence in refused.stderr


def test_the_longest_bucket_that_fits_every_region_is_known() -> None:
    template = links.template_url("b" * 46, links.template_key("1.2.0", "0" * 64))
    assert max(len(link["Url"]) for link in links.deployment_resources(template, ("ap-southeast-2",))) <= 255
    longer = links.template_url("b" * 63, links.template_key("1.2.0", "0" * 64))
    with pytest.raises(BadInputError, match="shorter"):
        links.deployment_resources(longer, ("ap-southeast-2",))


def test_the_price_file_says_when_and_whence() -> None:
    data = cost.price_list()
    assert json.dumps(data["as_of"]) and data["currency"] == "USD" and data["source"]
