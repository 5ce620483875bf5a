"""What can be wrong with the certificate, the secrets, the key and the data store that the parameters name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight_lambda.facts import Facts, region_of


def _elsewhere(parameter: str, what: str, arn: str, region: str) -> str:
    """A sentence if an ARN is of another Region, else nothing."""
    found = region_of(arn)
    if found == region:
        return ""
    return f"{parameter}: the {what} {arn} is in {found}, and this stack is in {region}. Name one of {region}."


def check_certificate(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence if the load balancer could not use the certificate.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_CertificateDetail.html
    """
    arn, certificate = given["TLSCertificateARN"], facts.certificate
    if sentence := _elsewhere("TLSCertificateARN", "certificate", arn, given["Region"]):
        yield sentence
    elif certificate is None:
        yield f"TLSCertificateARN: there is no certificate {arn}. Name one of AWS Certificate Manager in this account."
    elif certificate["Status"] != "ISSUED":
        yield (
            f"TLSCertificateARN: the certificate {arn} is {certificate['Status']}, not ISSUED. Validate or renew it in "
            "AWS Certificate Manager, or name another."
        )


def check_secrets(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence for each secret of the receivers' TLS that a task could not get."""
    for arn, secret in facts.secrets.items():
        if sentence := _elsewhere("TLS secrets", "secret", arn, given["Region"]):
            yield sentence
        elif secret is None:
            yield f"TLS secrets: there is no secret {arn}. Create it in AWS Secrets Manager, or name another."
        elif secret.get("DeletedDate"):
            yield f"TLS secrets: the secret {arn} is about to be deleted. Restore it, or name another."


def check_key(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence if the key could not encrypt, or not for all that need it.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html
    """
    arn, key = given["KmsKeyARN"], facts.key
    if sentence := _elsewhere("KmsKeyARN", "key", arn, given["Region"]):
        yield sentence
    elif key is None:
        yield f"KmsKeyARN: there is no key {arn}. Name one of AWS KMS in this account."
    elif key["KeyState"] != "Enabled":
        yield f"KmsKeyARN: the key {arn} is {key['KeyState']}, not Enabled. Enable it in AWS KMS, or name another."
    elif (key.get("KeySpec"), key.get("KeyUsage")) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        yield (
            f"KmsKeyARN: the key {arn} is of the kind {key.get('KeySpec')} for {key.get('KeyUsage')}. Name a symmetric "
            "key for encryption and decryption."
        )


def check_commitment_devices(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence if a device has two addresses: receivers would not start."""
    titles = [entry.partition("=")[0] for entry in given["CommitmentDevices"].split(",")]
    for title in sorted({title for title in titles if titles.count(title) > 1}):
        yield f"CommitmentDevices: {title} is named twice. Give each AE title one address."


def check_datastore(given: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    """Yield a sentence if images could not be imported into the data store."""
    name, datastore = given["DatastoreID"], facts.datastore
    if datastore is None:
        yield (
            f"DatastoreID: there is no data store {name} in this account and Region. Name one that exists, or leave it "
            "empty to create one."
        )
    elif datastore["datastoreStatus"] != "ACTIVE":
        yield (
            f"DatastoreID: the data store {name} is {datastore['datastoreStatus']}, not ACTIVE. Wait until it is, or "
            "name another."
        )
