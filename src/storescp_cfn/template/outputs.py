"""What a stack tells whoever launched it."""

from __future__ import annotations

from typing import Any

from troposphere import GetAtt, Output, Ref, Sub, Template

from storescp_cfn.template import alarms, dashboard, importing, network, service, storage


def values() -> dict[str, tuple[str, Any]]:
    """Name, description and value of every output, in the order of the guide."""
    # dcmtk's echoscu; double quotes work in the shells of Linux, macOS and Windows.
    echo = Sub(f'echoscu -aet WORKSTATION1 -aec "${{SCPAETitle}}" ${{{network.LOAD_BALANCER}.DNSName}} ${{SCPPort}}')
    return {
        "NetworkLoadBalancerDNS": (
            "Host name that devices connect to",
            GetAtt(network.LOAD_BALANCER, "DNSName"),
        ),
        "DICOMPort": ("Port that devices connect to", Ref("SCPPort")),
        "DICOMAETitle": ("Called AE Title that devices are configured with", Ref("SCPAETitle")),
        "ConnectionTest": ("Tests the connection from a device's network, with dcmtk; add +tls options with TLS", echo),
        "DashboardLink": ("Dashboard of images, associations and imports", dashboard.link()),
        "HealthImagingDatastoreID": ("Data store that images are imported into", storage.datastore_id()),
        "LandingBucketName": (
            "Bucket that images land in, and where refused ones wait below quarantine/",
            Ref(storage.LANDING_BUCKET),
        ),
        "ResultsBucketName": ("Bucket with the results of import jobs", Ref(storage.RESULTS_BUCKET)),
        "AccessLogBucketName": (
            "Bucket with access logs of the other buckets and, with TLS, of the load balancer",
            Ref(storage.ACCESS_LOG_BUCKET),
        ),
        "LedgerTableName": (
            "Table that says what became of each batch and study",
            Ref(storage.LEDGER),
        ),
        "AlarmTopicARN": ("Topic that every alarm goes to", Ref(alarms.ALARM_TOPIC)),
        "ReceiverLogGroupName": ("Log of the receivers", Ref(service.RECEIVER_LOG_GROUP)),
        "ImporterLogGroupName": ("Log of the importer", Ref(importing.IMPORTER_LOG_GROUP)),
    }


def add_to(template: Template) -> None:
    """Add every output."""
    for name, (description, value) in values().items():
        template.add_output(Output(name, Description=description, Value=value))
