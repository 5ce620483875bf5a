"""Parameters of the way to the receivers: where the load balancer is reachable from, and how data is encrypted."""

from __future__ import annotations

from storescp_cfn.template import patterns
from storescp_cfn.template.parameters.spec import (
    ASKED,
    CHANGEABLE,
    ParameterSpec,
    optional_text,
    yes_or_no,
)

_CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
_SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:storescp"


def _secret(name: str, label: str, description: str, example: str) -> ParameterSpec:
    return optional_text(
        name,
        CHANGEABLE,
        label,
        f"A secret of AWS Secrets Manager in this Region whose text is {description}, for example {_SECRET}/{example}.",
        f"Type the ARN of a secret, for example {_SECRET}/{example}.",
        patterns.SECRET_ARN,
    )


SPECS = (
    ParameterSpec(
        "LoadBalancerScheme",
        ASKED,
        "where do devices reach it from?",
        "internet-facing: from the internet, by the allowed networks only. internal: from inside the VPC and from "
        "networks that reach it by VPN, Direct Connect or peering. Changing it later gives the load balancer a new "
        "host name. Example: internal",
        constraint="Choose internet-facing or internal. Example: internal.",
        default="internet-facing",
        values=("internet-facing", "internal"),
    ),
    optional_text(
        "TLSCertificateARN",
        ASKED,
        "which certificate encrypts what devices send?",
        f"A certificate of AWS Certificate Manager in this Region, for example {_CERTIFICATE}: devices then connect "
        "with TLS 1.2 or 1.3. An internet-facing load balancer needs one, unless the receivers have their own.",
        f"Type the ARN of a certificate, for example {_CERTIFICATE}.",
        patterns.CERTIFICATE_ARN,
    ),
    yes_or_no(
        "AllowUnencryptedInternet",
        ASKED,
        "send patient data UNENCRYPTED over the internet?",
        "true: names, birth dates and images cross the internet in plain text, and whoever is on the way can read "
        "them. Leave it false and give a certificate, or use a VPN and an internal load balancer. Example: false",
    ),
    _secret(
        "TLSCertificateSecretARN",
        "certificate of the receivers, for TLS up to the receiver",
        "a certificate chain in PEM",
        "certificate-AbCdEf",
    ),
    _secret(
        "TLSKeySecretARN",
        "private key of the receivers' certificate",
        "that certificate's private key in PEM, without a passphrase",
        "key-AbCdEf",
    ),
    _secret(
        "TLSClientCASecretARN",
        "who signs the devices' certificates, for mutual TLS",
        "the certificates in PEM of those who sign the devices' certificates; a device without one is then refused",
        "clients-AbCdEf",
    ),
    yes_or_no(
        "RequireCertificateAETitle",
        CHANGEABLE,
        "must a device's certificate name its AE title?",
        "true: a device is rejected whose certificate does not carry its Calling AE Title, as common name or "
        "alternative name. It needs TLSClientCASecretARN. Example: true",
    ),
)
