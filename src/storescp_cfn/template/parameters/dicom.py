"""Parameters of DICOM: how devices address the receiver and what it accepts."""

from __future__ import annotations

from storescp_cfn.template import patterns
from storescp_cfn.template.parameters.spec import (
    ASKED,
    CHANGEABLE,
    LEFT,
    ParameterSpec,
    optional_text,
    whole_number,
    yes_or_no,
)

SPECS = (
    ParameterSpec(
        "SCPAETitle",
        ASKED,
        "what AE title do devices call?",
        "The Called AE Title that devices are configured with, for example MYHOSPITAL.",
        constraint="Type 1 to 16 letters, digits, spaces or signs; no backslash or comma, and no space at either "
        "end. Example: STORESCP.",
        default="STORESCP",
        pattern=patterns.whole(patterns.AE_TITLE),
    ),
    whole_number(
        "SCPPort",
        CHANGEABLE,
        "which port do devices connect to?",
        "The TCP port of the load balancer, for example 11112, 104, or 2762 with TLS.",
        11112,
        (1, 65535),
    ),
    yes_or_no(
        "RequireCalledAETitle",
        CHANGEABLE,
        "refuse devices that call another AE title?",
        "true: devices that call another AE title than SCPAETitle are rejected. false: any title is accepted. "
        "Example: true",
    ),
    optional_text(
        "RequireCallingAETitle",
        CHANGEABLE,
        "which devices may send?",
        "Only devices with these AE titles may send, for example CT1,MR1,WORKSTATION1. Empty: every title from the "
        "allowed networks.",
        "Type AE titles of 1 to 16 characters with commas and no spaces between them, for example CT1,MR1.",
        patterns.listed(patterns.AE_TITLE),
    ),
    optional_text(
        "CommitmentDevices",
        CHANGEABLE,
        "where do devices take storage commitment reports?",
        "For devices that ask for storage commitment and wait for the report on a new association: AE title, host and "
        "port of each, for example CT1=10.0.0.5:104,MR1=tls://mr1.hospital.example:2762.",
        "Type AE title=host:port, or AE title=tls://host:port, with commas and no spaces between them, for example "
        "CT1=10.0.0.5:104,MR1=tls://mr1.hospital.example:2762.",
        patterns.listed(patterns.COMMITMENT_DEVICE),
    ),
    whole_number(
        "CommitmentTimeout",
        LEFT,
        "after how many hours does a commitment fail?",
        "What is not imported so long after a storage commitment request is reported as failed, and the device keeps "
        "its images. Example: 24",
        24,
        (1, 720),
    ),
    optional_text(
        "SupportedSOPClassUIDs",
        LEFT,
        "which SOP classes are accepted?",
        "Only these SOP classes, by UID, for example 1.2.840.10008.5.1.4.1.1.2,1.2.840.10008.5.1.4.1.1.4 for CT and "
        "MR. Empty: all.",
        "Type SOP Class UIDs with commas and no spaces between them, for example "
        "1.2.840.10008.5.1.4.1.1.2,1.2.840.10008.5.1.4.1.1.4.",
        patterns.listed(patterns.UID_IN_LIST),
    ),
    whole_number(
        "MaximumAssociations",
        LEFT,
        "how many associations at once?",
        "How many associations one receiver holds at a time; further ones are asked to come back later. Example: 300",
        300,
        (1, 5000),
    ),
    whole_number(
        "DIMSETimeout",
        LEFT,
        "how long may storing an image take, seconds?",
        "An image that cannot be stored within this time is answered with a failure, so the device keeps it. "
        "Example: 60",
        60,
        (5, 300),
    ),
    whole_number(
        "NetworkTimeout",
        LEFT,
        "how long may an association be silent, seconds?",
        "A silent association is ended after this time. Less than 350, the load balancer's own limit. Example: 90",
        90,
        (10, 300),
    ),
)
