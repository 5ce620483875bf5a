"""From a VPC alone to all answers that the form asks for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.vpc import Subnet, Vpc

TASKS_ADDRESSES = 8  # free addresses a subnet should have: receivers while an update doubles them, the load balancer
YOU_MUST_ANSWER = "CHANGE-ME"


def propose(vpc: Vpc) -> dict[str, str]:
    """Values for the form. What nobody can guess (who may send) is CHANGE-ME."""
    public, private = _one_a_zone(vpc, public=True), _one_a_zone(vpc, public=False)
    internal = len(public) < 2
    answers = {
        "VpcID": vpc.vpc_id,
        "VpcCIDR": vpc.cidrs[0],
        "PrivateSubnetIDs": ",".join(subnet.subnet_id for subnet in private),
        "PublicSubnetIDs": ",".join(subnet.subnet_id for subnet in (private if internal else public)),
        "LoadBalancerScheme": "internal" if internal else "internet-facing",
        "SecurityGroupID": _group(vpc),
        "PeerCIDR1": YOU_MUST_ANSWER,
    }
    tables = sorted({subnet.route_table_id for subnet in private if subnet.route_table_id})
    if tables and "s3" not in vpc.endpoints:
        answers["PrivateRouteTableIDs"] = ",".join(tables)
    return answers


def _one_a_zone(vpc: Vpc, public: bool) -> list[Subnet]:
    """The subnet with the most free addresses in each zone; private ones have to reach AWS."""
    fitting = [subnet for subnet in vpc.subnets if (subnet.is_public if public else is_private(subnet, vpc))]
    best: dict[str, Subnet] = {}
    for subnet in sorted(fitting, key=lambda subnet: -subnet.free_addresses):
        best.setdefault(subnet.zone, subnet)
    return [best[zone] for zone in sorted(best)]


def is_private(subnet: Subnet, vpc: Vpc) -> bool:
    """Whether receivers can live there: not on the internet, and yet with a way to AWS."""
    return subnet.reaches_aws or (subnet.way_out == "none" and vpc.has_needed_endpoints)


def _group(vpc: Vpc) -> str:
    fitting = [group for group in vpc.groups if group.lets_https_out]
    named = [group for group in fitting if "storescp" in group.name.lower()]
    chosen = named or [group for group in fitting if group.name == "default"] or fitting
    return chosen[0].group_id if chosen else YOU_MUST_ANSWER


def write(path: Path, answers: Mapping[str, str]) -> None:
    """As the AWS CLI reads parameters. Raises AccountError: when the file is there already, or cannot be written."""
    rows = [{"ParameterKey": name, "ParameterValue": value} for name, value in answers.items()]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(rows, indent=2) + "\n")
    except FileExistsError as error:
        raise AccountError(f"{path} is there already: choose another name, or remove it.") from error
    except OSError as error:
        raise AccountError(f"{path} cannot be written: {error.strerror}.") from error


def read(path: Path) -> dict[str, str]:
    """A parameters file: the AWS CLI's list, or an object of names and values.

    Raises AccountError: when it is neither.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, list):
            return {str(row["ParameterKey"]): str(row["ParameterValue"]) for row in content}
        if isinstance(content, dict):
            return {str(name): str(value) for name, value in content.items()}
    except OSError as error:
        raise AccountError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AccountError(f"{path} is not a parameters file: {error}.") from error
    raise AccountError(f"{path} is not a parameters file: write one with storescp-cfn doctor --vpc … --write FILE.")


def ids(value: str) -> list[str]:
    """The members of a list parameter."""
    return [part.strip() for part in value.split(",") if part.strip()]


def zones(subnets: Iterable[Subnet]) -> Sequence[str]:
    """Their zones, each once."""
    return sorted({subnet.zone for subnet in subnets})
