"""What the commands read is what the receiver, the importer and the template write (ADR 1): keys.py and more."""

from __future__ import annotations

import pytest

from import_lambda import ledger as importers
from import_lambda.keys import is_batch_id
from storescp import acceptance, traces
from storescp import keys as receivers
from storescp_cfn.account import deploy, device_activity, keys, ledger
from storescp_cfn.template import network_stack, render

UIDS = ["1.2.3", "", "   ", "1.2.3\0", "DOE^JOHN", "...", "1" * 65, "a/b", "1.2.3 ", "Müller", "日本"]


@pytest.mark.parametrize("uid", [uid for uid in UIDS if uid.isascii() or uid == "Müller"])
def test_a_uid_has_the_same_safe_name_everywhere(uid: str) -> None:
    assert keys.safe_name(uid) == receivers.safe_name(uid)


def test_a_uid_that_no_device_can_send_has_a_name_as_well() -> None:
    assert keys.safe_name("日本").startswith("x-")


@pytest.mark.parametrize(
    "text", ["20261123T200315123Z-9f3a61c2-0001", "20261123T200315123Z-9f3a61c2-0001.2.1", "x", ""]
)
def test_a_batch_id_is_one_everywhere(text: str) -> None:
    assert keys.is_batch_id(text) == is_batch_id(text)


def test_keys_begin_as_the_receiver_writes_them() -> None:
    assert f"{receivers.INCOMING}/" == keys.INCOMING


def test_states_are_the_importers() -> None:
    assert importers.FINAL_STATES == ledger.SETTLED_STATES


def test_indexes_and_outputs_are_the_templates() -> None:
    rendered = render().to_dict()
    [table] = [row for row in rendered["Resources"].values() if row["Type"] == "AWS::DynamoDB::Table"]
    indexes = {index["IndexName"] for index in table["Properties"]["GlobalSecondaryIndexes"]}
    assert {ledger.OPEN_INDEX, ledger.UNSETTLED_INDEX} <= indexes
    read = {"LandingBucketName", "LedgerTableName", "HealthImagingDatastoreID", "ReceiverLogGroupName"}
    read |= {"DICOMAETitle", "DICOMPort", "NetworkLoadBalancerDNS", "ResultsBucketName"}
    assert read <= rendered["Outputs"].keys()
    assert set(network_stack.outputs()) == set(deploy.NETWORK_OUTPUTS)


def test_parameters_that_are_read_exist() -> None:
    read = {"TaskDesiredCount", "RequireCallingAETitle", "TLSCertificateARN", "LoadBalancerScheme", "CommitmentDevices"}
    assert read | {"PeerCIDR1", "PeerCIDR2", "PeerCIDR3"} <= render().to_dict()["Parameters"].keys()


def test_rejections_are_logged_as_they_are_read() -> None:
    assert traces.ASSOCIATION_REJECTED == device_activity.REJECTED
    known = {*device_activity.REASONS, device_activity.WRONG_CALLED_TITLE}
    assert known <= set(acceptance.REJECTION_NAMES.values())
