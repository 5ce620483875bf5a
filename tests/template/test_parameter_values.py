"""Hand-made values: the bad ones are refused by pattern, list or rule with a sentence that says what to type.

Covers capacity.py, dicom.py, fargate.py, operation.py, parameters/data.py, parameters/network.py,
parameters/transport.py, patterns.py, regions.py, rules.py, spec.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from ministack.services.cloudformation import engine

from audit import modes
from storescp_cfn.template import evaluation, fargate, parameters, patterns, regions
from storescp_cfn.template.parameters import capacity
from tests.testkit.template_values import BAD, FACTS, GOOD, TEMPLATE


def refused(values: Mapping[str, str], facts: evaluation.Facts = FACTS) -> list[str]:
    return evaluation.refusals(TEMPLATE, {**modes.EXAMPLE_NETWORK, **values}, facts)


def cases(table: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, values in table.items() for value in values]


def test_the_examples_of_the_guide_are_accepted() -> None:
    assert refused({}) == []


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_a_good_value_is_accepted(name: str, value: str) -> None:
    assert refused({name: value}) == []


@pytest.mark.parametrize(("name", "value"), [case for case in cases(BAD) if case[0] != "VpcID"])
def test_a_bad_value_is_refused_with_what_to_type_instead(name: str, value: str) -> None:
    (sentence,) = refused({name: value})
    assert sentence.startswith(f"{name} cannot be {value!r}. ")
    assert TEMPLATE["Parameters"][name]["ConstraintDescription"] in sentence


def test_every_parameter_has_bad_values_in_this_table() -> None:
    of_aws_types = {n for n, p in TEMPLATE["Parameters"].items() if "::" in p["Type"]}
    assert set(BAD) | of_aws_types == set(TEMPLATE["Parameters"])


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_every_parameter_explains_itself(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    assert re.search(r"[Ee]xample", parameter["Description"])
    assert len(parameter["Description"]) >= 30
    assert re.search(r"[Ee]xample|Choose", parameter["ConstraintDescription"])
    if "Default" in parameter:
        # A default may need an answer beside it, but is never wrong by itself.
        assert not [r for r in refused({name: str(parameter["Default"])}) if r.startswith(name)]


def test_an_open_network_is_refused_with_the_reason() -> None:
    (sentence,) = refused({"PeerCIDR1": "0.0.0.0/0"})
    assert "0.0.0.0/0 is refused: it would let everybody on the internet send" in sentence


def test_a_required_parameter_must_be_given() -> None:
    values = {name: value for name, value in modes.EXAMPLE_NETWORK.items() if name != "PeerCIDR1"}
    assert evaluation.refusals(TEMPLATE, values, FACTS)[0].startswith("PeerCIDR1 must have a value.")


def test_a_misspelt_parameter_is_named() -> None:
    assert refused({"PeerCidr1": "203.0.113.0/24"}) == ["There is no parameter PeerCidr1."]


@pytest.mark.parametrize(("low", "high"), [(0, 9), (1, 65535), (5, 300), (10, 300), (1, 5000), (8, 32), (99, 1001)])
def test_a_number_pattern_matches_exactly_its_numbers(low: int, high: int) -> None:
    pattern = re.compile(patterns.integer(low, high))
    matched = {n for n in range(max(2 * high, 1000)) if pattern.fullmatch(str(n))}
    assert matched == set(range(low, high + 1))


def test_patterns_use_only_what_java_and_python_read_alike() -> None:
    """CloudFormation's are Java's: no set operations, no escapes that differ, no possessive or named groups."""
    for spec in parameters.parameter_specs():
        pattern = spec.pattern or ""
        assert not re.search(r"&&|\(\?(?!=)|\\[dwsDWSbBAZz]|[+*?]\+", pattern.replace(r"\.", "")), spec.name


# --- Rules ---------------------------------------------------------------------------------------------------

ELSEWHERE = {"VpcId": "vpc-0ffffffff", "AvailabilityZone": "us-east-1a"}


RuleCase = tuple[str, dict[str, str], evaluation.Facts, str]  # what, values, facts, part of the sentence


def network_cases() -> list[RuleCase]:
    public, private = modes.EXAMPLE_NETWORK["PublicSubnetIDs"], modes.EXAMPLE_NETWORK["PrivateSubnetIDs"]
    first_public = public.split(",")[0]
    one_elsewhere = replace(FACTS, subnets={**modes.EXAMPLE_SUBNETS, first_public: ELSEWHERE})
    one_zone = replace(
        FACTS, subnets={name: {**subnet, "AvailabilityZone": "us-east-1b"} for name, subnet in FACTS.subnets.items()}
    )
    of_public = "Every subnet of PublicSubnetIDs must belong to the VPC of VpcID."
    zones = "PublicSubnetIDs needs two or more subnets, in different Availability Zones."
    differ = "PublicSubnetIDs and PrivateSubnetIDs must name different subnets"
    internet = {"LoadBalancerScheme": "internet-facing", "AllowUnencryptedInternet": "true"}
    return [
        ("a Region without HealthImaging", {}, replace(FACTS, region="eu-central-1"), "not in this Region"),
        ("a subnet of another VPC", {}, one_elsewhere, of_public),
        ("all subnets of another VPC", {"VpcID": "vpc-0ffffffff"}, FACTS, of_public),
        ("subnets in one zone", {}, one_zone, zones),
        ("a single subnet", {"PublicSubnetIDs": first_public}, FACTS, zones),
        ("the same subnets twice", {**internet, "PrivateSubnetIDs": public}, FACTS, differ),
        ("private subnets among the public", {**internet, "PublicSubnetIDs": f"{public},{private}"}, FACTS, differ),
        ("public subnets among the private", {**internet, "PrivateSubnetIDs": f"{private},{public}"}, FACTS, differ),
        ("plain text over the internet", {"LoadBalancerScheme": "internet-facing"}, FACTS, "in plain text"),
    ]


def tls_cases() -> list[RuleCase]:
    secret = modes.SECRET.format("certificate")
    whole_pair = {"TLSCertificateSecretARN": secret, "TLSKeySecretARN": modes.SECRET.format("key")}
    return [
        ("a certificate without a key", {"TLSCertificateSecretARN": secret}, FACTS, "needs TLSKeySecretARN"),
        ("a key without a certificate", {"TLSKeySecretARN": secret}, FACTS, "needs TLSCertificateSecretARN"),
        ("a client CA alone", {"TLSClientCASecretARN": secret}, FACTS, "check the devices' certificates themselves"),
        ("an AE title in no certificate", {"RequireCertificateAETitle": "true"}, FACTS, "needs TLSClientCASecretARN"),
        ("TLS twice", {**whole_pair, "TLSCertificateARN": modes.CERTIFICATE}, FACTS, "not both"),
    ]


def capacity_cases() -> list[RuleCase]:
    return [
        ("small processor, big memory", {"TaskCPU": "256", "TaskMemoryLimit": "4096"}, FACTS, "With TaskCPU 256,"),
        ("big processor, small memory", {"TaskCPU": "4096", "TaskMemoryLimit": "1024"}, FACTS, "With TaskCPU 4096,"),
        (
            "a maximum below the desired count",
            {"TaskDesiredCount": "5", "AutoscaleMaxCapacity": "4"},
            FACTS,
            "AutoscaleMaxCapacity must be at least TaskDesiredCount, which is 5.",
        ),
        (
            "ten desired, nine at most",
            {"TaskDesiredCount": "10", "AutoscaleMaxCapacity": "9"},
            FACTS,
            "AutoscaleMaxCapacity must be at least TaskDesiredCount, which is 10.",
        ),
    ]


RULE_CASES = [*network_cases(), *tls_cases(), *capacity_cases()]


@pytest.mark.parametrize(("what", "values", "facts", "sentence"), RULE_CASES, ids=lambda v: str(v)[:30])
def test_a_rule_refuses(what: str, values: dict[str, str], facts: evaluation.Facts, sentence: str) -> None:
    assert any(sentence in refusal for refusal in refused(values, facts)), what


def test_an_internal_load_balancer_may_stand_in_the_private_subnets() -> None:
    private = modes.EXAMPLE_NETWORK["PrivateSubnetIDs"]
    assert refused({"LoadBalancerScheme": "internal", "PublicSubnetIDs": private}) == []


@pytest.mark.parametrize("mode", modes.modes(), ids=lambda mode: mode.name)
def test_every_mode_is_accepted(mode: modes.Mode) -> None:
    assert refused(mode.parameters) == []


def test_the_internet_is_accepted_with_tls_or_in_words_that_nobody_overlooks() -> None:
    internet = {"LoadBalancerScheme": "internet-facing"}
    pair = {
        "TLSCertificateSecretARN": modes.SECRET.format("certificate"),
        "TLSKeySecretARN": modes.SECRET.format("key"),
    }
    assert refused({**internet, "TLSCertificateARN": modes.CERTIFICATE}) == []
    assert refused({**internet, **pair}) == []
    assert refused({**internet, "AllowUnencryptedInternet": "true"}) == []
    label = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterLabels"]["AllowUnencryptedInternet"]
    assert "send patient data UNENCRYPTED over the internet?" in label["default"]


@pytest.mark.parametrize("region", regions.SUPPORTED)
def test_every_region_of_healthimaging_is_accepted_in_every_zone_pair(region: str) -> None:
    letters = regions.ZONES_OF_REGION[region]
    for first in letters:
        second = letters[(letters.index(first) + 1) % len(letters)]
        subnets = {
            name: {"VpcId": modes.EXAMPLE_NETWORK["VpcID"], "AvailabilityZone": region + (first if n % 2 else second)}
            for n, name in enumerate(FACTS.subnets)
        }
        assert refused({}, replace(FACTS, region=region, subnets=subnets)) == []


def test_exactly_the_fargate_pairs_are_accepted() -> None:
    accepted = {
        (cpu, memory)
        for cpu in fargate.CPU_SIZES
        for memory in fargate.MEMORY_SIZES_MIB
        if not refused({"TaskCPU": str(cpu), "TaskMemoryLimit": str(memory)})
    }
    assert accepted == {(cpu, memory) for cpu, sizes in fargate.MEMORY_MIB_OF_CPU.items() for memory in sizes}


def test_exactly_the_maxima_not_below_the_desired_count_are_accepted() -> None:
    accepted = {
        (desired, most)
        for desired in range(1, capacity.MOST_DESIRED_TASKS + 1)
        for most in range(1, capacity.MOST_TASKS + 1)
        if not refused({"TaskDesiredCount": str(desired), "AutoscaleMaxCapacity": str(most)})
    }
    assert accepted == {
        (desired, most)
        for desired in range(1, capacity.MOST_DESIRED_TASKS + 1)
        for most in range(desired, capacity.MOST_TASKS + 1)
    }


def test_an_independent_reader_accepts_the_rules_and_refuses_alike() -> None:
    """ministack evaluates Rules too, written by others from the same reference; it knows no account here."""
    engine._check_rules_section(TEMPLATE)
    without_account = {
        **TEMPLATE,
        "Rules": {name: rule for name, rule in TEMPLATE["Rules"].items() if "ValueOf" not in json.dumps(rule)},
    }
    for _, values, facts, sentence in RULE_CASES:
        if facts is not FACTS or "belong to the VPC" in sentence or "Availability Zones" in sentence:
            continue
        given = evaluation.complete(TEMPLATE, {**modes.EXAMPLE_NETWORK, **values})
        as_ministack = {name: {"Value": value} for name, value in given.items()}
        with pytest.raises(ValueError, match=re.escape(sentence)):
            engine._evaluate_rules(without_account, as_ministack, {})
    engine._evaluate_rules(
        without_account,
        {name: {"Value": v} for name, v in evaluation.complete(TEMPLATE, modes.EXAMPLE_NETWORK).items()},
        {},
    )
