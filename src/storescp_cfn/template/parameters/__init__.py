"""Every parameter of the template, as data: the form, the documentation and the tests read these tables."""

from __future__ import annotations

from troposphere import Template

from storescp_cfn.template import findings
from storescp_cfn.template.parameters import capacity, data, dicom, network, operation, transport
from storescp_cfn.template.parameters.spec import GROUPS, ParameterSpec

__all__ = ["ARCHITECTURE", "GROUPS", "ParameterSpec", "add_to", "parameter_specs"]

ARCHITECTURE = (
    "Devices send DICOM C-STORE to a network load balancer, which spreads associations over receivers (ECS on "
    "Fargate). A receiver stores each image in the landing bucket before it acknowledges it, and closes batches. "
    "Closed batches, ended import jobs and a minute's schedule wake the importer (Lambda), which imports each batch "
    "into HealthImaging and records in the ledger (DynamoDB) that each image is imported or quarantined."
)
INVARIANTS = (
    "An acknowledged image is never lost: what holds images outlives the stack and never expires.",
    "A prefix below incoming/ holds the images of one closed batch and nothing else.",
    "No reserved concurrency, and no fixed names: any number of stacks in any account.",
)


def parameter_specs() -> tuple[ParameterSpec, ...]:
    """Every parameter, in the order of the form."""
    specs = (*network.SPECS, *dicom.SPECS, *transport.SPECS, *capacity.SPECS, *data.SPECS, *operation.SPECS)
    return tuple(spec for group in GROUPS for spec in specs if spec.group == group)


def add_to(template: Template) -> None:
    """Add every parameter, and the form that groups and labels them."""
    specs = parameter_specs()
    for spec in specs:
        template.add_parameter(spec.parameter())
    template.set_metadata(
        {
            findings.CONTEXT: {"arch": ARCHITECTURE, "must": list(INVARIANTS)},
            "AWS::CloudFormation::Interface": {
                "ParameterGroups": [
                    {"Label": {"default": group}, "Parameters": [spec.name for spec in specs if spec.group == group]}
                    for group in GROUPS
                ],
                "ParameterLabels": {spec.name: {"default": spec.form_label} for spec in specs},
            },
        }
    )
