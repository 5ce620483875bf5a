"""What a parameter is: its name, its words in the form, and which values it may have."""

from __future__ import annotations

from dataclasses import dataclass

from troposphere import Parameter

from storescp_cfn.template import patterns

ASKED = "You must answer"
CHANGEABLE = "You may want to change"
LEFT = "Leave as they are"
GROUPS = (ASKED, CHANGEABLE, LEFT)


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    label: what the form asks, after the parameter's name. description: what it means, with an example. constraint: what
    to type instead, shown when the value is refused. default: None makes it required, an empty one optional.
    pattern: the AllowedPattern. values: the AllowedValues.
    """

    name: str
    group: str
    label: str
    description: str
    type: str = "String"
    constraint: str | None = None
    default: str | None = None
    pattern: str | None = None
    values: tuple[str, ...] = ()

    @property
    def form_label(self) -> str:
        """The label in the form: it carries the name, by which documentation, commands and errors know it."""
        return f"{self.name}: {self.label}" + (" (optional)" if self.default == "" else "")

    def parameter(self) -> Parameter:
        """The troposphere parameter that this describes."""
        optional = {
            "ConstraintDescription": self.constraint,
            "Default": self.default,
            "AllowedPattern": self.pattern,
            "AllowedValues": list(self.values) or None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return Parameter(self.name, Type=self.type, Description=self.description, **given)


def whole_number(
    name: str, group: str, label: str, description: str, default: int, allowed: tuple[int, int]
) -> ParameterSpec:
    """A whole number between two limits; a String, because CloudFormation's Number also admits 104.5 and 1e4."""
    low, high = allowed
    return ParameterSpec(
        name,
        group,
        label,
        description,
        constraint=f"Type a whole number from {low} to {high}, without sign, point or comma. Example: {default}.",
        default=str(default),
        pattern=patterns.whole(patterns.integer(low, high)),
    )


def choice(
    name: str, group: str, label: str, description: str, default: object, values: tuple[object, ...]
) -> ParameterSpec:
    """One value of a list."""
    listed = tuple(map(str, values))
    return ParameterSpec(
        name,
        group,
        label,
        description,
        type="Number" if isinstance(default, int) else "String",
        constraint=f"Choose one of {', '.join(listed)}. Example: {default}.",
        default=str(default),
        values=listed,
    )


def yes_or_no(name: str, group: str, label: str, description: str, default: str = "false") -> ParameterSpec:
    """`true` or `false`."""
    return choice(name, group, label, description, default, ("true", "false"))


def optional_text(name: str, group: str, label: str, description: str, constraint: str, pattern: str) -> ParameterSpec:
    """Text of a pattern, or nothing."""
    return ParameterSpec(
        name,
        group,
        label,
        f"{description} Leave empty if there is none.",
        constraint=f"{constraint} Or leave it empty.",
        default="",
        pattern=patterns.optional(pattern),
    )
