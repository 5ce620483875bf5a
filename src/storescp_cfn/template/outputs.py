"""What a stack tells whoever launched it."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Output, Ref, Template

from storescp_cfn.template import network, storage


def values() -> dict[str, tuple[str, Any]]:
    """Name, description and value of every output, in the order of the guide."""
    return {
        "NetworkLoadBalancerDNS": (
            "Host name that devices connect to",
            GetAtt(network.LOAD_BALANCER, "DNSName"),
        ),
        "DICOMPort": ("Port that devices connect to", Ref("SCPPort")),
        "DICOMAETitle": ("Called AE Title that devices are configured with", Ref("SCPAETitle")),
        "HealthImagingDatastoreID": ("Data store that images are imported into", Ref(storage.DATASTORE)),
        "LandingBucketName": ("Bucket that images land in, and wait in quarantine", Ref(storage.LANDING_BUCKET)),
        "ResultsBucketName": ("Bucket with the results of import jobs", Ref(storage.RESULTS_BUCKET)),
        "LedgerTableName": ("Table that says what became of each batch and study", Ref(storage.LEDGER)),
    }


def add_to(template: Template) -> None:
    """Add every output."""
    for name, (description, value) in values().items():
        template.add_output(Output(name, Description=description, Value=value))
