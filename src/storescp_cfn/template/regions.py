"""The Regions that have AWS HealthImaging, and what differs between them."""

from __future__ import annotations

from troposphere import FindInMap, Ref, Template

MAPPING = "HealthImaging"
CONCURRENT_JOBS = "ConcurrentImportJobs"

# Import jobs at once and data store, by Region: "AWS HealthImaging endpoints and quotas".
CONCURRENT_JOBS_OF_REGION = {
    "us-east-1": 100,
    "us-west-2": 100,
    "ap-southeast-2": 20,
    "eu-west-1": 100,
    "eu-west-2": 100,
}
SUPPORTED = tuple(CONCURRENT_JOBS_OF_REGION)
# Letters of each Region's Availability Zones: "AWS Regions and Availability Zones".
ZONES_OF_REGION = {
    "us-east-1": "abcdef",
    "us-west-2": "abcd",
    "ap-southeast-2": "abc",
    "eu-west-1": "abc",
    "eu-west-2": "abc",
}


def concurrent_jobs() -> FindInMap:
    """How many import jobs may run at once in the stack's Region."""
    return FindInMap(MAPPING, Ref("AWS::Region"), CONCURRENT_JOBS)


def add_to(template: Template) -> None:
    """Add the mapping."""
    template.add_mapping(
        MAPPING, {region: {CONCURRENT_JOBS: str(jobs)} for region, jobs in CONCURRENT_JOBS_OF_REGION.items()}
    )
