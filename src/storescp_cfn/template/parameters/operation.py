"""Parameters of operation: who is told, and which version runs."""

from __future__ import annotations

from storescp_cfn.template import patterns
from storescp_cfn.template.parameters.spec import ASKED, CHANGEABLE, LEFT, optional_text, whole_number

MOST_SILENCE_HOURS = 168

SPECS = (
    optional_text(
        "AlarmEmail",
        ASKED,
        "who is told when something goes wrong?",
        "Alarms are sent to this address, for example pacs-team@hospital.example, once its owner has confirmed the "
        "message that AWS sends first.",
        "Type one e-mail address, for example pacs-team@hospital.example.",
        r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+",
    ),
    whole_number(
        "SilenceHours",
        CHANGEABLE,
        "alarm after how many hours without any image?",
        "An alarm tells that no image came from any device for so many hours; 0: never. Choose more than a quiet night "
        "or weekend. Example: 24",
        0,
        (0, MOST_SILENCE_HOURS),
    ),
    optional_text(
        "ContainerImage",
        LEFT,
        "which image do receivers run?",
        "An image in Amazon ECR instead of the AWS Marketplace image of this version, for example "
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1.0.0. An update of the stack keeps it: empty it to "
        "run each version's own image.",
        "Type an Amazon ECR image with its tag or digest, for example "
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1.0.0.",
        patterns.ECR_IMAGE,
    ),
)
