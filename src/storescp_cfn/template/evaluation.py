"""What CloudFormation would make of parameter values: which it refuses, and what is left of the template.

Pure, and without an AWS account: for checks before a launch, and for the rule sets that do not understand conditions.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html,
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_LEFT_OUT = object()


@dataclass(frozen=True)
class Facts:
    """What values refer to: where the stack would be, and the subnets' attributes by subnet id.

    subnets: for each id a mapping with `VpcId` and `AvailabilityZone`.
    """

    region: str = "us-east-1"
    account: str = "123456789012"
    partition: str = "aws"
    url_suffix: str = "amazonaws.com"
    stack_name: str = "StoreSCP"
    subnets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def pseudo_parameters(self) -> dict[str, str]:
        """What Ref gives for the names that begin with AWS::."""
        return {
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "AWS::Partition": self.partition,
            "AWS::URLSuffix": self.url_suffix,
            "AWS::StackName": self.stack_name,
        }


def complete(template: Json, given: Mapping[str, str]) -> dict[str, str]:
    """The given values, and the defaults of the others."""
    defaults = {name: str(p["Default"]) for name, p in template["Parameters"].items() if "Default" in p}
    return {**defaults, **given}


def refusals(template: Json, given: Mapping[str, str], facts: Facts) -> list[str]:
    """Sentences on what CloudFormation would refuse before it creates anything; empty if it would begin."""
    unknown = [f"There is no parameter {name}." for name in given if name not in template["Parameters"]]
    values = complete(template, given)
    wrong: list[str] = [
        sentence
        for name, parameter in template["Parameters"].items()
        for sentence in _parameter_refusals(name, parameter, values.get(name))
    ]
    return (unknown + wrong) or _rule_refusals(template, values, facts)


def _is_list(parameter: Json) -> bool:
    kind = str(parameter["Type"])
    return kind == "CommaDelimitedList" or kind.startswith("List<")


def _typed(parameter: Json, value: str) -> Any:
    """A value as Ref gives it."""
    if _is_list(parameter):
        return _members(value)
    return int(value) if parameter["Type"] == "Number" else value


def _members(value: str) -> list[str]:
    return [member.strip() for member in value.split(",")]


def _parameter_refusals(name: str, parameter: Json, value: str | None) -> list[str]:
    if value is None:
        return [f"{name} must have a value. {parameter.get('ConstraintDescription', '')}".rstrip()]
    members = _members(value) if _is_list(parameter) else [value]
    allowed, pattern = parameter.get("AllowedValues"), parameter.get("AllowedPattern")
    if all(
        (allowed is None or member in allowed) and (pattern is None or re.fullmatch(pattern, member))
        for member in members
    ):
        return []
    return [f"{name} cannot be {value!r}. {parameter.get('ConstraintDescription', '')}".rstrip()]


# --- Rules ---------------------------------------------------------------------------------------------------


def _rule_refusals(template: Json, values: Mapping[str, str], facts: Facts) -> list[str]:
    evaluate = _RuleEvaluator(template, values, facts)
    return [
        assertion["AssertDescription"]
        for rule in template.get("Rules", {}).values()
        if evaluate(rule.get("RuleCondition", True))
        for assertion in rule["Assertions"]
        if not evaluate(assertion["Assert"])
    ]


class _RuleEvaluator:
    """Evaluates one rule function after the other; every value is a string, a list of strings or a boolean."""

    def __init__(self, template: Json, values: Mapping[str, str], facts: Facts) -> None:
        self._parameters = template["Parameters"]
        self._values = values
        self._facts = facts
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::ValueOf": self._value_of,
            "Fn::And": lambda arguments: all(map(self, arguments)),
            "Fn::Or": lambda arguments: any(map(self, arguments)),
            "Fn::Not": lambda arguments: not self(arguments[0]),
            "Fn::Equals": lambda arguments: self(arguments[0]) == self(arguments[1]),
            "Fn::Contains": lambda arguments: self(arguments[1]) in self(arguments[0]),
            "Fn::EachMemberIn": lambda arguments: set(self(arguments[0])) <= set(self(arguments[1])),
            "Fn::EachMemberEquals": lambda arguments: set(self(arguments[0])) <= {self(arguments[1])},
        }

    def __call__(self, expression: Any) -> Any:
        if isinstance(expression, list):
            return [self(member) for member in expression]
        if not isinstance(expression, dict):
            return expression
        ((function, arguments),) = expression.items()
        return self._functions[function](arguments)

    def _ref(self, name: str) -> Any:
        if name in self._parameters:
            return _members(self._values[name]) if _is_list(self._parameters[name]) else self._values[name]
        return self._facts.pseudo_parameters()[name]

    def _value_of(self, arguments: list[str]) -> list[str]:
        name, attribute = arguments
        return [self._facts.subnets.get(subnet, {}).get(attribute, "") for subnet in self._ref(name)]


# --- The template that is left -------------------------------------------------------------------------------


def resolved(template: Json, given: Mapping[str, str], facts: Facts) -> Json:
    """The template as a stack with these values has it: no parameters, conditions or rules, every Fn::If decided.

    References to other resources of the template stay.
    """
    resolver = _Resolver(template, complete(template, given), facts)
    resources = {
        name: resolver.without_condition(resource)
        for name, resource in template["Resources"].items()
        if resolver.holds(resource.get("Condition"))
    }
    outputs = {name: resolver(output) for name, output in template.get("Outputs", {}).items()}
    kept = {key: value for key, value in template.items() if key in ("AWSTemplateFormatVersion", "Description")}
    return {**kept, "Resources": resources, "Outputs": outputs}


class _Resolver:
    def __init__(self, template: Json, values: Mapping[str, str], facts: Facts) -> None:
        self._conditions = template.get("Conditions", {})
        self._mappings = template.get("Mappings", {})
        parameters = template["Parameters"]
        self._values: dict[str, Any] = {name: _typed(parameters[name], value) for name, value in values.items()}
        self._values |= facts.pseudo_parameters()
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::If": self._if,
            "Fn::Join": self._join,
            "Fn::Split": self._split,
            "Fn::Select": self._select,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Sub": self._sub,
            "Fn::Equals": lambda arguments: self(arguments[0]) == self(arguments[1]),
            "Fn::And": lambda arguments: all(map(self, arguments)),
            "Fn::Or": lambda arguments: any(map(self, arguments)),
            "Fn::Not": lambda arguments: not self(arguments[0]),
        }

    def holds(self, condition: str | None) -> bool:
        return condition is None or bool(self(self._conditions[condition]))

    def without_condition(self, resource: Json) -> Json:
        """The resource, certain now, as it is resolved; its metadata are prose and stay."""
        kept = {key: value for key, value in resource.items() if key == "Metadata"}
        rest = {key: value for key, value in resource.items() if key not in ("Condition", "Metadata")}
        return {**self(rest), **kept}

    def __call__(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self, node) if value is not _LEFT_OUT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, arguments),) = node.items()
            if function in self._functions:
                return self._functions[function](arguments)
        values = {key: self(value) for key, value in node.items() if not key.startswith("Fn::")}
        intrinsics = {key: value for key, value in node.items() if key.startswith("Fn::")}
        return {key: value for key, value in values.items() if value is not _LEFT_OUT} | intrinsics

    def _ref(self, name: str) -> Any:
        return _LEFT_OUT if name == "AWS::NoValue" else self._values.get(name, {"Ref": name})

    def _if(self, arguments: list[Any]) -> Any:
        condition, then, otherwise = arguments
        return self(then if self.holds(condition) else otherwise)

    def _join(self, arguments: list[Any]) -> Any:
        separator, parts = arguments[0], self(arguments[1])
        known = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
        return separator.join(parts) if known else {"Fn::Join": [separator, parts]}

    def _split(self, arguments: list[Any]) -> Any:
        separator, whole = arguments[0], self(arguments[1])
        return whole.split(separator) if isinstance(whole, str) else {"Fn::Split": [separator, whole]}

    def _select(self, arguments: list[Any]) -> Any:
        index, parts = int(arguments[0]), self(arguments[1])
        return parts[index] if isinstance(parts, list) else {"Fn::Select": [index, parts]}

    def _find_in_map(self, arguments: list[Any]) -> Any:
        mapping, first, second = (str(self(argument)) for argument in arguments)
        return self._mappings[mapping][first][second]

    def _sub(self, arguments: Any) -> Any:
        """Put in what is known; what is left are references to resources."""
        text, extra = (arguments, {}) if isinstance(arguments, str) else (arguments[0], self(arguments[1]))
        known = {**self._values, **extra}

        def put_in(match: re.Match[str]) -> str:
            value = known.get(match[1])
            return value if isinstance(value, str) else match[0]

        text = re.sub(r"\$\{([^!}]+)\}", put_in, text)
        left = {name: value for name, value in extra.items() if not isinstance(value, str)}
        if left:
            return {"Fn::Sub": [text, left]}
        return {"Fn::Sub": text} if "${" in text else text
