"""Devices that ask for storage commitment and take its reports: pynetdicom, both ways."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset, Sequence
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined, unused-ignore]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from tests.testkit.raw_sender import CT_IMAGE_STORAGE
from tests.testkit.receiver_process import wait_for


@dataclass
class Reports:
    """What a device was told: (Transaction UID, event type, committed, failed with reasons)."""

    received: list[tuple[str, int, list[str], dict[str, int]]] = field(default_factory=list)
    status: int = 0

    def take(self, event: Any) -> tuple[int, None]:
        """Handle EVT_N_EVENT_REPORT."""
        data = event.event_information
        committed = [item.ReferencedSOPInstanceUID for item in data.get("ReferencedSOPSequence", [])]
        failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in data.get("FailedSOPSequence", [])}
        self.received.append((data.TransactionUID, event.event_type, committed, failed))
        return self.status, None

    def wait(self, number: int = 1) -> None:
        """Wait until so many came."""
        wait_for(lambda: len(self.received) >= number, 30, f"{number} reports")


def action(transaction_uid: str, instances: list[str]) -> Dataset:
    """Action Information (PS3.4 table J.3-1)."""
    data = Dataset()
    data.TransactionUID = transaction_uid
    items = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_IMAGE_STORAGE, instance
        items.append(item)
    data.ReferencedSOPSequence = Sequence(items)
    return data


@contextlib.contextmanager
def asking(port: int, reports: Reports, title: str = "CT1") -> Iterator[Any]:
    """An association of a device that may ask; it is released at the end."""
    ae = AE(ae_title=title)
    ae.add_requested_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.take)]
    association = ae.associate("127.0.0.1", port, ae_title="STORESCP", evt_handlers=handlers)
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def ask(association: Any, transaction_uid: str, instances: list[str]) -> int:
    """Send an N-ACTION and return the status of its response."""
    status, _ = association.send_n_action(
        action(transaction_uid, instances), 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return int(status.Status)


@contextlib.contextmanager
def listening(reports: Reports, title: str = "CT1", tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A device that takes reports on associations that others request; yields its port."""
    ae = AE(ae_title=title)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.take)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    assert server is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def write_result(folder: Path, commitment: str, committed: list[str], failed: dict[str, int] | None = None) -> None:
    """Write a result, as the importer does; the request has to be there."""
    wait_for((folder / f"commitments/requests/{commitment}.json").exists, 20, f"request {commitment}")
    record = {
        "schema": 1,
        "id": commitment,
        "decided_at": datetime.now(UTC).isoformat(),
        "committed": [[CT_IMAGE_STORAGE, instance] for instance in committed],
        "failed": [[CT_IMAGE_STORAGE, instance, reason] for instance, reason in (failed or {}).items()],
    }
    path = folder / f"commitments/results/{commitment}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{threading.get_ident()}")
    partial.write_text(json.dumps(record))
    partial.rename(path)


def delivered(folder: Path, commitment: str) -> dict[str, Any] | None:
    """The record that says the device has answered, if there is one."""
    path = folder / f"commitments/delivered/{commitment}.json"
    return json.loads(path.read_text()) if path.exists() else None
