"""CloudFormation Rules: what is refused before anything is created, because no single parameter shows it.

Rules know `Ref` and their own functions only, and they compare strings: numbers are therefore enumerated.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from troposphere import Template

from storescp_cfn.template import fargate, regions
from storescp_cfn.template.parameters import capacity

Expression = dict[str, Any]

# Fn::And takes at most so many.
_MOST_OPERANDS = 10


def _ref(name: str) -> Expression:
    return {"Ref": name}


def _not(expression: Expression) -> Expression:
    return {"Fn::Not": [expression]}


def _all_of(expressions: Iterable[Expression]) -> Expression:
    """Fn::And of any number of expressions, nested where there are too many for one."""
    operands = list(expressions)
    while len(operands) > 1:
        groups = [operands[i : i + _MOST_OPERANDS] for i in range(0, len(operands), _MOST_OPERANDS)]
        operands = [group[0] if len(group) == 1 else {"Fn::And": group} for group in groups]
    return operands[0]


def _contains(values: Iterable[object], name: str) -> Expression:
    return {"Fn::Contains": [[str(value) for value in values], _ref(name)]}


def _equals(name: str, value: object) -> Expression:
    return {"Fn::Equals": [_ref(name), str(value)]}


def _given(name: str) -> Expression:
    return _not(_equals(name, ""))


def _any_of(*expressions: Expression) -> Expression:
    return {"Fn::Or": list(expressions)}


def _rule(assertions: dict[str, Expression], condition: Expression | None = None) -> Expression:
    """A rule of assertions, keyed by the sentence that is shown when they fail."""
    listed = [{"Assert": test, "AssertDescription": sentence} for sentence, test in assertions.items()]
    return {**({"RuleCondition": condition} if condition else {}), "Assertions": listed}


def _in_vpc(subnets: str) -> Expression:
    return {"Fn::EachMemberEquals": [{"Fn::ValueOf": [subnets, "VpcId"]}, _ref("VpcID")]}


def _in_several_zones(subnets: str) -> Expression:
    """Not all subnets, nor the only one, in one and the same zone; Rules cannot count, so each zone is named."""
    zones = (region + letter for region, letters in regions.ZONES_OF_REGION.items() for letter in letters)
    zone_of_each = {"Fn::ValueOf": [subnets, "AvailabilityZone"]}
    return _all_of(_not({"Fn::EachMemberEquals": [zone_of_each, zone]}) for zone in zones)


def _within(subnets: str, others: str) -> Expression:
    return {"Fn::EachMemberIn": [_ref(subnets), _ref(others)]}


def _fargate_rule(cpu: int) -> Expression:
    memory = fargate.MEMORY_MIB_OF_CPU[cpu]
    sentence = f"With TaskCPU {cpu}, TaskMemoryLimit must be one of {', '.join(map(str, memory))}."
    return _rule({sentence: _contains(memory, "TaskMemoryLimit")}, _equals("TaskCPU", cpu))


def _capacity_rule(desired: int) -> Expression:
    sentence = f"AutoscaleMaxCapacity must be at least TaskDesiredCount, which is {desired}."
    return _rule(
        {sentence: _not(_contains(range(1, desired), "AutoscaleMaxCapacity"))}, _equals("TaskDesiredCount", desired)
    )


def _encryption_rules() -> dict[str, Expression]:
    """No patient data in plain text over the internet by accident, and no half of a key pair."""
    return {
        "NoUnencryptedInternetByAccident": _rule(
            {
                "Over the internet, devices would send patient data in plain text: give TLSCertificateARN (or "
                "TLSCertificateSecretARN and TLSKeySecretARN), choose LoadBalancerScheme internal, or set "
                "AllowUnencryptedInternet to true if that is what you want.": _any_of(
                    _given("TLSCertificateARN"),
                    _given("TLSCertificateSecretARN"),
                    _equals("AllowUnencryptedInternet", "true"),
                )
            },
            _equals("LoadBalancerScheme", "internet-facing"),
        ),
        "ReceiverCertificateIsWhole": _rule(
            {
                "TLS up to the receivers needs TLSKeySecretARN beside TLSCertificateSecretARN.": _given(
                    "TLSKeySecretARN"
                ),
                "Give TLSCertificateARN for TLS up to the load balancer, or TLSCertificateSecretARN for TLS up to the "
                "receivers, not both.": _equals("TLSCertificateARN", ""),
            },
            _given("TLSCertificateSecretARN"),
        ),
        "ReceiverKeyHasItsCertificate": _rule(
            {"TLSKeySecretARN needs TLSCertificateSecretARN beside it.": _given("TLSCertificateSecretARN")},
            _given("TLSKeySecretARN"),
        ),
        "MutualTlsIsInTheReceiver": _rule(
            {
                "TLSClientCASecretARN needs TLSCertificateSecretARN and TLSKeySecretARN: the receivers check the "
                "devices' certificates themselves.": _given("TLSCertificateSecretARN")
            },
            _given("TLSClientCASecretARN"),
        ),
        "CertificateAETitleNeedsClientCA": _rule(
            {
                "RequireCertificateAETitle needs TLSClientCASecretARN: else no device shows a certificate.": _given(
                    "TLSClientCASecretARN"
                )
            },
            _equals("RequireCertificateAETitle", "true"),
        ),
    }


def rules() -> dict[str, Expression]:
    """Every rule by its name."""
    supported = "AWS HealthImaging is not in this Region. Launch the stack in " + ", ".join(regions.SUPPORTED) + "."
    return {
        "RegionHasHealthImaging": _rule({supported: _contains(regions.SUPPORTED, "AWS::Region")}),
        "SubnetsInVpc": _rule(
            {
                f"Every subnet of {name} must belong to the VPC of VpcID.": _in_vpc(name)
                for name in ("PublicSubnetIDs", "PrivateSubnetIDs")
            }
        ),
        "SubnetsInSeveralZones": _rule(
            {
                f"{name} needs two or more subnets, in different Availability Zones.": _in_several_zones(name)
                for name in ("PublicSubnetIDs", "PrivateSubnetIDs")
            }
        ),
        # An internal load balancer stands in the private subnets, so those may be named in both lists. Rules can ask
        # whether all members of a list are in another, not whether any is.
        "PublicAndPrivateSubnetsDiffer": _rule(
            {
                "PublicSubnetIDs and PrivateSubnetIDs must name different subnets, unless LoadBalancerScheme is "
                "internal.": _all_of(
                    [
                        _not(_within("PublicSubnetIDs", "PrivateSubnetIDs")),
                        _not(_within("PrivateSubnetIDs", "PublicSubnetIDs")),
                    ]
                )
            },
            _equals("LoadBalancerScheme", "internet-facing"),
        ),
        **_encryption_rules(),
        **{f"MemoryFitsCPU{cpu}": _fargate_rule(cpu) for cpu in fargate.CPU_SIZES},
        **{
            f"MaximumNotBelowDesired{desired}": _capacity_rule(desired)
            for desired in range(2, capacity.MOST_DESIRED_TASKS + 1)
        },
    }


def add_to(template: Template) -> None:
    """Add every rule."""
    for name, rule in rules().items():
        template.add_rule(name, rule)
