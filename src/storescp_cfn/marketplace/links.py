"""Where a version's template lies, and the link that opens CloudFormation's form with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from storescp_cfn.marketplace.errors import BadInputError
from storescp_cfn.template import regions

# The Catalog asks for fewer than 256 characters in a deployment resource's URL (INVALID_RESOURCE_URL).
MAXIMUM_LINK_CHARACTERS = 255
MAXIMUM_LINKS = 4
# One Region for the template's bucket, so that the link can name the bucket's own endpoint.
BUCKET_REGION = "us-east-1"
# As AWS names the Regions that have HealthImaging.
REGION_NAMES = {
    "us-east-1": "N. Virginia",
    "us-west-2": "Oregon",
    "ap-southeast-2": "Sydney",
    "eu-west-1": "Ireland",
    "eu-west-2": "London",
}


AREAS = {"us": "North America", "eu": "Europe and Asia Pacific", "ap": "Europe and Asia Pacific"}


def template_key(version: str, sha256: str) -> str:
    """The template's object key: of one version and one content, so that it never has to be overwritten."""
    return f"storescp/{version}-{sha256[:8]}.yaml"


def template_url(bucket: str, key: str) -> str:
    """The virtual-hosted S3 URL, the form that CloudFormation's console takes."""
    return f"https://{bucket}.s3.{BUCKET_REGION}.amazonaws.com/{key}"


def quick_create_url(
    template: str, region: str, stack_name: str = "storescp", parameters: Mapping[str, str] | None = None
) -> str:
    """The console's quick-create link (CloudFormation user guide, "Create quick-create links").

    Args:
        template: `https://` URL of the template in S3.
        region: where the stack is to be created; one of those with HealthImaging.
        stack_name: what the form proposes.
        parameters: values that the form is filled with.

    Raises:
        BadInputError: the Region has no HealthImaging, or the template is not at an S3 URL.
    """
    require_region(region)
    if not template.startswith("https://") or ".amazonaws.com/" not in template:
        raise BadInputError(
            f"The template URL {template!r} is not one of S3 (https://….amazonaws.com/…), as the console asks."
        )
    fill = "".join(
        f"&param_{quote(name, safe='')}={quote(value, safe='')}" for name, value in (parameters or {}).items()
    )
    return (
        f"https://{region}.console.aws.amazon.com/cloudformation/home?region={region}#/stacks/create/review"
        f"?templateURL={quote(template, safe=':/')}&stackName={quote(stack_name, safe='')}{fill}"
    )


def require_region(region: str) -> None:
    """Raise BadInputError unless AWS HealthImaging is offered in the Region."""
    if region not in regions.SUPPORTED:
        raise BadInputError(f"Region {region!r} has no AWS HealthImaging; allowed are {', '.join(regions.SUPPORTED)}.")


def deployment_resources(template: str, named: tuple[str, ...]) -> list[dict[str, str]]:
    """The "Launch CloudFormation" links of one delivery option, one per Region.

    Raises:
        BadInputError: a link is too long.
    """
    resources = []
    for region in named:
        url = quick_create_url(template, region)
        if len(url) > MAXIMUM_LINK_CHARACTERS:
            raise BadInputError(
                f"The quick-create link for {region} is {len(url)} characters long; the limit is "
                f"{MAXIMUM_LINK_CHARACTERS}: take a bucket whose name is at least "
                f"{len(url) - MAXIMUM_LINK_CHARACTERS} characters shorter."
            )
        resources.append({"Name": f"Launch CloudFormation in {REGION_NAMES[region]} ({region})", "Url": url})
    return resources


def by_delivery_option(named: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Regions by the addition to the delivery option's title: one option while its links suffice, else one per area.

    Raises:
        BadInputError: no Region, or one twice.
    """
    if not named or len(set(named)) < len(named):
        raise BadInputError(
            f"A version carries links to different Regions; --region names {', '.join(named) or 'none'}."
        )
    if len(named) <= MAXIMUM_LINKS:
        return {"": named}
    areas = {area: tuple(region for region in named if area_of(region) == area) for area in map(area_of, named)}
    return {f" in {area}": regions_there for area, regions_there in areas.items()}


def area_of(region: str) -> str:
    """The part of the world that a Region's name begins with."""
    return AREAS[region.partition("-")[0]]


def values(pairs: tuple[str, ...], parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Read NAME=VALUE pairs.

    pairs: as they were typed. parameters: the template's, by name.

    Raises:
        BadInputError: a pair has no equals sign, names no parameter or one twice, or its value is not allowed.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadInputError(f"--param {pair!r} is not NAME=VALUE.")
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, 1)
            hint = f"; did you mean {close[0]}?" if close else "; docs/reference/parameters.md lists them all."
            raise BadInputError(f"--param {name!r} is no parameter of the template{hint}")
        if name in found:
            raise BadInputError(f"--param {name} is given twice: {found[name]!r} and {value!r}.")
        _require_allowed(name, value, parameters[name])
        found[name] = value
    return found


def _require_allowed(name: str, value: str, parameter: Mapping[str, Any]) -> None:
    allowed, pattern = parameter.get("AllowedValues"), parameter.get("AllowedPattern")
    if (allowed and value not in allowed) or (pattern and not re.fullmatch(pattern, value)):
        wanted = parameter.get("ConstraintDescription") or ", ".join(allowed or ())
        raise BadInputError(f"--param {name}={value!r} is not allowed: {str(wanted).rstrip('.')}.")
