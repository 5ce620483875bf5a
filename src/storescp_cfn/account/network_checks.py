"""What `doctor` says about a VPC and the answers given for it: pure functions over facts, a line for each finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from storescp_cfn.account import proposal
from storescp_cfn.account.proposal import TASKS_ADDRESSES, ids
from storescp_cfn.account.screen import Level, Line
from storescp_cfn.account.vpc import Subnet, Vpc, covers

NEW_NETWORK = "or launch the network that comes with this product: storescp-cfn network --help"


def lines(vpc: Vpc, answers: Mapping[str, str]) -> list[Line]:
    """All findings about the network, in the order of the form."""
    return [
        *_range_lines(vpc, answers.get("VpcCIDR", "")),
        *_subnet_lines(vpc, answers, "PrivateSubnetIDs"),
        *_subnet_lines(vpc, answers, "PublicSubnetIDs"),
        *_group_lines(vpc, answers.get("SecurityGroupID", "")),
        *_endpoint_lines(vpc),
    ]


def _range_lines(vpc: Vpc, cidr: str) -> Iterator[Line]:
    known = ", ".join(vpc.cidrs)
    try:
        good = bool(cidr) and covers(cidr, vpc.cidrs)
    except ValueError:
        good = False
    if good:
        yield Line(Level.OK, f"VpcCIDR {cidr} is of {vpc.vpc_id}.", subject="VpcCIDR")
    else:
        yield Line(
            Level.STOP, f"VpcCIDR {cidr or '(none)'} is not a range of {vpc.vpc_id}.", f"type {known}", "VpcCIDR"
        )


def _subnet_lines(vpc: Vpc, answers: Mapping[str, str], name: str) -> Iterator[Line]:
    wanted = ids(answers.get(name, ""))
    known = [subnet for subnet_id in wanted if (subnet := vpc.subnet(subnet_id))]
    for subnet_id in wanted:
        if vpc.subnet(subnet_id) is None:
            text = f"{name}: {subnet_id} is not in {vpc.vpc_id}."
            yield Line(Level.STOP, text, f"choose subnets of {vpc.vpc_id}", name)
    for subnet in known:
        yield from _one_subnet(subnet, vpc, name, answers.get("LoadBalancerScheme") == "internal")
    if len(proposal.zones(known)) < 2:
        text = f"{name}: two subnets in two Availability Zones are needed; there are {len(known)} in "
        text += f"{', '.join(proposal.zones(known)) or 'none'}."
        to_do = f"create a subnet in another zone (VPC console, Subnets, Create subnet), {NEW_NETWORK}"
        yield Line(Level.STOP, text, to_do, name)


def _one_subnet(subnet: Subnet, vpc: Vpc, name: str, internal: bool) -> Iterator[Line]:
    if subnet.free_addresses < TASKS_ADDRESSES:
        text = f"{name}: {subnet.subnet_id} has {subnet.free_addresses} free addresses; {TASKS_ADDRESSES} are needed."
        yield Line(Level.STOP, text, "choose another subnet, or free addresses in it", name)
    if name == "PrivateSubnetIDs":
        yield _private_line(subnet, vpc, name)
    elif internal:
        yield Line(Level.OK, f"{name}: {subnet.subnet_id} ({subnet.zone}) is not used: internal.", subject=name)
    elif subnet.is_public:
        yield Line(Level.OK, f"{name}: {subnet.subnet_id} ({subnet.zone}) is public.", subject=name)
    else:
        text = f"{name}: {subnet.subnet_id} is not public: no route 0.0.0.0/0 leads to an internet gateway."
        to_do = (
            f"VPC console, Route tables, {subnet.route_table_id or 'its table'}: add 0.0.0.0/0 to the internet "
            f"gateway; or choose LoadBalancerScheme internal, if devices come through a VPN, {NEW_NETWORK}"
        )
        yield Line(Level.STOP, text, to_do, name)


def _private_line(subnet: Subnet, vpc: Vpc, name: str) -> Line:
    where = f"{name}: {subnet.subnet_id} ({subnet.zone})"
    if subnet.is_public:
        text = f"{where} is public: receivers have no public address there, so they reach nothing."
        return Line(Level.STOP, text, f"choose a subnet whose route leads to a NAT gateway, {NEW_NETWORK}", name)
    if proposal.is_private(subnet, vpc):
        how = {"nat": "a NAT gateway", "other": "a gateway of yours", "none": "endpoints"}[subnet.way_out]
        return Line(Level.OK, f"{where} reaches AWS through {how}.", subject=name)
    if subnet.way_out == "broken nat":
        text = f"{where} has a route to a NAT gateway that is not available."
        return Line(Level.STOP, text, "VPC console, NAT gateways: look at its state, or create another", name)
    text = f"{where} has no way out: receivers could neither fetch their image nor reach Amazon S3."
    to_do = (
        f"VPC console, NAT gateways: create one in a public subnet; then Route tables, "
        f"{subnet.route_table_id or 'its table'}: add 0.0.0.0/0 to it; {NEW_NETWORK}"
    )
    return Line(Level.STOP, text, to_do, name)


def _group_lines(vpc: Vpc, group_id: str) -> Iterator[Line]:
    group = next((group for group in vpc.groups if group.group_id == group_id), None)
    if group is None:
        text = f"SecurityGroupID {group_id or '(none)'} is not a security group of {vpc.vpc_id}."
        known = ", ".join(f"{one.group_id} ({one.name})" for one in vpc.groups[:3])
        yield Line(Level.STOP, text, f"choose one of {known or 'its groups'}", "SecurityGroupID")
    elif not group.lets_https_out:
        text = f"SecurityGroupID {group_id} does not let HTTPS out: receivers could not reach Amazon S3."
        to_do = (
            f"aws ec2 authorize-security-group-egress --group-id {group_id} --protocol tcp --port 443 --cidr 0.0.0.0/0"
        )
        yield Line(Level.STOP, text, to_do, "SecurityGroupID")
    else:
        yield Line(Level.OK, f"SecurityGroupID {group_id} lets HTTPS out.", subject="SecurityGroupID")


def _endpoint_lines(vpc: Vpc) -> Iterator[Line]:
    if "s3" not in vpc.endpoints:
        text = "The VPC has no endpoint for Amazon S3: every image passes the NAT gateway, which bills by the gigabyte."
        to_do = (
            "name the private subnets' route tables in PrivateRouteTableIDs: the stack makes the endpoint, at no charge"
        )
        yield Line(Level.WARNING, text, to_do, "PrivateRouteTableIDs")


def choice(vpc: Vpc, given: Mapping[str, str]) -> dict[str, str]:
    """The answers that are checked: those given, and for the rest what the VPC proposes."""
    return {**proposal.propose(vpc), **{name: value for name, value in given.items() if value}}


def unanswered(answers: Mapping[str, str]) -> Sequence[str]:
    """Names of what still has to be typed."""
    return [name for name, value in answers.items() if value == proposal.YOU_MUST_ANSWER]
