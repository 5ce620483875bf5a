"""From a release to its template: one pure function."""

from __future__ import annotations

from troposphere import Template

from storescp_cfn.template import (
    bucket_policies,
    conditions,
    fargate,
    importing,
    ledger,
    monitoring,
    network,
    outputs,
    parameters,
    preflight,
    regions,
    rules,
    service,
    storage,
)
from storescp_cfn.template import release as release_mapping
from storescp_cfn.template.release import Release


def render(release: Release | None = None) -> Template:
    """Return the template of a release, by default of the version installed here.

    Pure: no network, clock or environment is looked at, and two calls give equal templates. The importer's source
    is joined from the package's own files, which are read and nothing else (docs/adr/0005).
    """
    described = release or Release()
    template = Template()
    template.set_version("2010-09-09")
    template.set_description(
        f"StoreSCP {described.version}: receives DICOM images from modalities and imports them into AWS HealthImaging."
    )
    parameters.add_to(template)
    rules.add_to(template)
    regions.add_to(template)
    fargate.add_to(template)
    release_mapping.add_to(template, described)
    conditions.add_to(template, described.images_that_are_no_choice)
    for resource in preflight.before(
        (
            *preflight.resources(),
            *network.resources(),
            *storage.resources(),
            *ledger.resources(),
            *bucket_policies.resources(service.RECEIVER_ROLE, importing.IMPORTER_ROLE),
            *service.resources(described),
            *importing.resources(),
            *monitoring.resources(),
        )
    ):
        template.add_resource(resource)
    outputs.add_to(template)
    return template
