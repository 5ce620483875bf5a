"""Parameter values made by hand, good and bad, for the tests that judge the template's form."""

from __future__ import annotations

import json
from typing import Any

from audit import modes
from storescp_cfn.template import evaluation, render

TEMPLATE: dict[str, Any] = json.loads(render().to_json())
FACTS = evaluation.Facts(subnets=modes.EXAMPLE_SUBNETS)
KEY = modes.KEY
CERTIFICATE = modes.CERTIFICATE


def stack_resources(mode: modes.Mode | None = None, /, **values: str) -> dict[str, Any]:
    """The resources, by logical id, of a stack in a mode (none: the example's network), with other values given."""
    chosen = mode.parameters if mode else {}
    stack = evaluation.resolved(TEMPLATE, {**modes.EXAMPLE_NETWORK, **chosen, **values}, FACTS)
    resources: dict[str, Any] = stack["Resources"]
    return resources


GOOD = {
    "VpcCIDR": ["10.0.0.0/16", "172.31.0.0/20", "192.168.1.0/28"],
    "PeerCIDR1": ["203.0.113.0/24", "203.0.113.7/32", "172.16.0.0/16", "10.0.0.0/8", "10.128.0.0/9", "0.0.0.1/32"],
    "PeerCIDR2": ["", "198.51.100.0/24"],
    "PeerCIDR3": ["", "192.0.2.9/32"],
    "LoadBalancerScheme": ["internal"],
    "AllowUnencryptedInternet": ["true", "false"],
    "OnlyThroughVPCEndpoint": ["true", "false"],
    "RequireCertificateAETitle": ["false"],
    "TLSCertificateSecretARN": [""],
    "TLSKeySecretARN": [""],
    "TLSClientCASecretARN": [""],
    "AdministratorARN": ["", modes.ADMINISTRATOR, "arn:aws:iam::123456789012:user/ops/jane.doe@hospital.example"],
    "SilenceHours": ["0", "24", "168"],
    "PrivateRouteTableIDs": ["", "rtb-0a1b2c3d", "rtb-0a1b2c3d,rtb-0123456789abcdef0"],
    "SCPAETitle": ["STORESCP", "A", "MY HOSPITAL", "a-b_c.d", "SIXTEEN_LETTERS_", "'$(x)'"],
    "SCPPort": ["1", "104", "2762", "11112", "65535"],
    "RequireCalledAETitle": ["true", "false"],
    "RequireCallingAETitle": ["", "CT1", "CT1,MR1", "CT 1,MR 1", "A-B"],
    "SupportedSOPClassUIDs": [
        "",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.2,1.2.3",
        "1." + "2" * 62 + ",1." + "3" * 62,
    ],
    "CommitmentDevices": [
        "",
        "CT1=10.0.0.5:104",
        "CT1=10.0.0.5:104,MR 1=tls://mr1.hospital.example:2762,X=[fd00::5]:11112",
    ],
    "CommitmentTimeout": ["1", "24", "720"],
    "FastImport": ["true", "false"],
    "MaximumAssociations": ["1", "300", "5000"],
    "DIMSETimeout": ["5", "60", "300"],
    "NetworkTimeout": ["10", "90", "300"],
    "TLSCertificateARN": ["", CERTIFICATE, CERTIFICATE.replace("arn:aws:", "arn:aws-us-gov:")],
    "CpuArchitecture": ["X86_64", "ARM64"],
    "DatastoreID": ["", "0123456789abcdef0123456789abcdef"],
    "KmsKeyARN": ["", KEY, "arn:aws:kms:eu-west-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef"],
    "RetentionDays": ["7", "30", "3650"],
    "LogRetentionDays": ["30", "365", "2192"],
    "AlarmEmail": ["", "pacs-team@hospital.example", "a.b+c@x-y.example.org"],
    "ContainerImage": [
        "",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1.0.0",
        "123456789012.dkr.ecr.eu-west-2.amazonaws.com/a/b-c/d_e:1@sha256:" + "0" * 64,
        "123456789012.dkr.ecr.ap-southeast-2.amazonaws.com/storescp@sha256:" + "f" * 64,
    ],
}

BAD = {
    "VpcID": [""],
    "VpcCIDR": ["", "10.0.0.0", "10.0.0.0/15", "10.0.0.0/29", "10.0.0.256/16", "10.0.0/16", "0.0.0.0/0", "fd00::/64"],
    "PeerCIDR1": [
        "",
        "0.0.0.0/0",
        "203.0.113.0/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "203.0.0.0/15",
        "11.0.0.0/8",
        "172.16.0.0/12",
        "10.0.0.0/7",
        "203.0.113.0",
        "203.0.113.0/33",
        "203.0.113.0/024",
        "203.0.113.256/24",
        "203.0.113/24",
        "203.0.113.0.1/24",
        "203.0.113.01/24",
        "203.0.113.0/24,198.51.100.0/24",
        " 203.0.113.0/24",
        "203.0.113.0/24 ",
        "203.0.113.0\\24",
        "::/0",
        "everybody",
    ],
    "PeerCIDR2": ["0.0.0.0/0", "none", "1.2.3.4/-1", " "],
    "PeerCIDR3": ["0.0.0.0/0", "300.1.1.1/24"],
    "LoadBalancerScheme": ["", "public", "Internal"],
    "PrivateRouteTableIDs": [
        "subnet-0a1b2c3d",
        "rtb-",
        "rtb-0a1b2c3d,",
        "rtb-0A1B2C3D",
        "rtb-0a1b2c3d;rtb-0e4f5a6b",
        "rtb-0a1b2c3d, rtb-0e4f5a6b",
    ],
    "SCPAETitle": [
        "",
        " ",
        " STORESCP",
        "STORESCP ",
        "SEVENTEEN_LETTERS",
        "BACK\\SLASH",
        "A,B",
        "TAB\tTAB",
        "ÄRZTE",
        "A\n",
    ],
    "SCPPort": ["", "0", "65536", "-1", "011112", "11112.0", "1e4", "11 112", "dicom", "11,112", "99999", "١٢٣"],
    "RequireCalledAETitle": ["", "yes", "True", "1"],
    "RequireCallingAETitle": ["CT1,,MR1", "CT1,SEVENTEEN_LETTERS", "CT\\1", "CT1,", "CT1, MR1"],
    "SupportedSOPClassUIDs": ["CT", "1.2.", "1..2", "1.02", "1.2.840,", "1", "1." + "2" * 63, "1.2,1." + "2" * 63],
    "CommitmentDevices": ["CT1", "CT1=10.0.0.5", "CT1=10.0.0.5:0", "=10.0.0.5:104", "CT1=10.0.0.5:104,", "A=B=c:104"],
    "CommitmentTimeout": ["", "0", "721", "24h"],
    "FastImport": ["", "yes", "True"],
    "MaximumAssociations": ["", "0", "5001", "-300", "300.5", "many"],
    "DIMSETimeout": ["", "0", "4", "301", "60s"],
    "NetworkTimeout": ["", "9", "301", "350", "6000"],
    "TLSCertificateARN": [
        "arn:aws:iam::123456789012:server-certificate/x",
        CERTIFICATE[:-1],
        CERTIFICATE + "\n",
        "certificate",
        KEY,
        CERTIFICATE.replace("123456789012", "1234"),
    ],
    "TaskCPU": ["", "0", "100", "512.0", "1 vCPU", "8192"],
    "TaskMemoryLimit": ["", "1000", "1 GB", "512MB"],
    "TaskDesiredCount": ["", "0", "11", "2.0", "-1", "two"],
    "AutoscaleMaxCapacity": ["", "0", "21", "4.0"],
    "CpuArchitecture": ["", "arm64", "x86"],
    "AllowUnencryptedInternet": ["", "yes", "True"],
    "OnlyThroughVPCEndpoint": ["", "no"],
    "RequireCertificateAETitle": ["", "yes"],
    **{
        name: [CERTIFICATE, "storescp/key", modes.SECRET.format("key")[:-7], " "]
        for name in ("TLSCertificateSecretARN", "TLSKeySecretARN", "TLSClientCASecretARN")
    },
    "AdministratorARN": [
        "*",
        "arn:aws:iam::123456789012:root",
        "arn:aws:iam::123456789012:role/*",
        "PacsAdministrator",
    ],
    "SilenceHours": ["", "-1", "169", "1.5"],
    "DatastoreID": ["0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef0", " "],
    "KmsKeyARN": ["alias/pacs", "arn:aws:kms:us-east-1:123456789012:alias/pacs", KEY[:-1], KEY + "0", "key"],
    "RetentionDays": ["", "0", "1", "6", "3651", "-1", "30.5", "for ever"],
    "LogRetentionDays": ["", "0", "7", "31", "366", "365.0"],
    "AlarmEmail": ["pacs-team", "@hospital.example", "a@b", "a@b.example c@d.example", "a@b.example,c@d.example", " "],
    "ContainerImage": [
        "storescp",
        "docker.io/library/storescp:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/Store:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1 2",
        "1234.dkr.ecr.us-east-1.amazonaws.com/storescp:1",
        "evil.example/123456789012.dkr.ecr.us-east-1.amazonaws.com/storescp:1",
    ],
}
