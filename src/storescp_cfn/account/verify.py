"""`storescp-cfn verify`: a test image from here to HealthImaging and back, leg by leg, then removed again."""

from __future__ import annotations

import gzip
import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from storescp_cfn.account import dicom_client, keys, ledger, legs, probe_study, whereabouts
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.dicom_client import Address
from storescp_cfn.account.errors import AccessDeniedError, AccountError, ThrottledError
from storescp_cfn.account.legs import Journey, LegFailed
from storescp_cfn.account.probe_study import ProbeStudy
from storescp_cfn.account.screen import Screen

T = TypeVar("T")
DEFAULT_CALLING = "STORESCPTEST"
PEER_PARAMETERS = ("PeerCIDR1", "PeerCIDR2", "PeerCIDR3")
WHO_AM_I = "https://checkip.amazonaws.com"
CONNECTION_LEGS = ("name", "TCP", "TLS", "C-ECHO")
IMPORT_LEGS = ("batch closed", "imported", "readable", "removed")
POLL_SECONDS = 2.0
IMPORT_SECONDS = 900  # an import job's duration is documented nowhere
DELETE_SECONDS, DELETE_TRIES = 4.0, 15  # DeleteImageSet is limited to one in four seconds, of an account
CONSISTENT_SECONDS = 180  # "metadata is not consistent yet, retry after a few seconds"


def fetch_own_address() -> str:
    """Ask AWS how this computer is seen on the internet. Raises OSError."""
    with urllib.request.urlopen(WHO_AM_I, timeout=5) as answer:
        return str(answer.read(100).decode("ascii", "replace"))


@dataclass(frozen=True)
class Waiting:
    """How time passes: real, or a test's own."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def connection_legs(journey: Journey, address: Address, cause: Callable[[str], tuple[str, str]]) -> None:
    """Name, TCP, TLS if it is wanted, C-ECHO."""
    journey.go("name", lambda: dicom_client.resolve(address))
    journey.go("TCP", lambda: dicom_client.connect(address, cause))
    if address.tls:
        journey.go("TLS", lambda: dicom_client.handshake(address, lambda text, to_do: journey.note("TLS", text, to_do)))
    journey.go("C-ECHO", lambda: dicom_client.echo(address))


def from_a_pc(address: Address, store: bool, on_leg: Callable[[str], None] = lambda name: None) -> Screen:
    """Without rights in the account: as far as a device can see. With `store`, a test study stays in HealthImaging."""
    journey, study = Journey(on_leg=on_leg), probe_study.make()
    connection_legs(journey, address, lambda kind: likely_cause(kind, None, ""))
    planned = list(CONNECTION_LEGS if address.tls else [leg for leg in CONNECTION_LEGS if leg != "TLS"])
    if store:
        planned.append("C-STORE")
        journey.go("C-STORE", lambda: dicom_client.store(address, study.instances))
        if not journey.failed:
            journey.note(
                "C-STORE",
                f"The test study {study.study_instance_uid} is on its way into HealthImaging.",
                "whoever runs the stack removes it: storescp-cfn verify --remove",
            )
    return legs.screen(f"The connection to {address.called} at {address.host}:{address.port}", journey, planned)


def address_of(deployment: Deployment, calling: str | None, host: str | None) -> Address:
    """Where a device sends to, by the stack's outputs; a stack on this machine has loopback as its load balancer."""
    parameters = deployment.parameters
    wanted = [title.strip() for title in parameters.get("RequireCallingAETitle", "").split(",") if title.strip()]
    title = calling or (wanted[0] if wanted else DEFAULT_CALLING)
    name = host or ("127.0.0.1" if deployment.connection.is_local else deployment.output("NetworkLoadBalancerDNS"))
    return Address(
        name,
        int(deployment.output("DICOMPort")),
        deployment.output("DICOMAETitle"),
        title,
        tls=bool(parameters.get("TLSCertificateARN")),
    )


def likely_cause(kind: str, deployment: Deployment | None, own_address: str) -> tuple[str, str]:
    """Why no TCP connection was made, and what to do."""
    if kind == "refused":
        return (
            "nothing listens on that port.",
            "compare the port with the output DICOMPort; if it is right, no receiver runs: storescp-cfn status",
        )
    if deployment is None:
        return (
            "no answer: a firewall on the way drops the connection, or this network is not allowed to send.",
            "tell whoever runs the stack under which address this network leaves, for PeerCIDR1 to 3",
        )
    if deployment.parameters.get("LoadBalancerScheme") == "internal":
        return (
            "no answer: the load balancer is internal, and only reached through VPN, Direct Connect or from the VPC.",
            "run this where the devices are, or check routes and firewall of the VPN",
        )
    networks = [value for name in PEER_PARAMETERS if (value := deployment.parameters.get(name))]
    if own_address and not dicom_client.is_allowed(own_address, networks):
        return (
            f"this computer leaves as {own_address}, which is in none of {', '.join(networks) or 'PeerCIDR1 to 3'}.",
            "run this where the devices are, or add the network to PeerCIDR2 or PeerCIDR3 (storescp-cfn update)",
        )
    return (
        "no answer: a firewall of the hospital may drop outgoing connections to this port, or no receiver is healthy.",
        "storescp-cfn status; then ask the network people about outgoing TCP to this port",
    )


def whole_chain(
    deployment: Deployment,
    address: Address,
    on_leg: Callable[[str], None] = lambda name: None,
    waiting: Waiting | None = None,
) -> Screen:
    """From here through the receiver and the importer into HealthImaging, and back."""
    waiting = waiting or Waiting()
    journey, study = Journey(waiting.clock, on_leg), probe_study.make()

    def cause(kind: str) -> tuple[str, str]:
        own = "" if deployment.connection.is_local else dicom_client.leaves_as(fetch_own_address)
        return likely_cause(kind, deployment, own)

    connection_legs(journey, address, cause)
    journey.go("C-STORE", lambda: dicom_client.store(address, study.instances))
    import_legs(journey, deployment, study, waiting)
    planned = [leg for leg in (*CONNECTION_LEGS, "C-STORE", *IMPORT_LEGS) if leg != "TLS" or address.tls]
    return legs.screen(f"{deployment.name} in {deployment.connection.region}", journey, planned)


def from_bucket(
    deployment: Deployment, on_leg: Callable[[str], None] = lambda name: None, waiting: Waiting | None = None
) -> Screen:
    """The import leg alone, from CloudShell: the test study is put where a receiver puts it."""
    waiting = waiting or Waiting()
    journey, study = Journey(waiting.clock, on_leg), probe_study.make()
    journey.go("landing bucket", lambda: land(deployment, study))
    import_legs(journey, deployment, study, waiting)
    return legs.screen(f"The import of {deployment.name}", journey, ("landing bucket", *IMPORT_LEGS))


def land(deployment: Deployment, study: ProbeStudy) -> str:
    """Write a batch as a receiver does: its objects, then its manifest (docs/adr/0001). Raises LegFailed."""
    now = datetime.now(UTC)
    batch = f"{now.strftime('%Y%m%dT%H%M%S')}{now.microsecond // 1000:03}Z-{uuid.uuid4().hex[:8]}-0001"
    bodies = {str(one.SOPInstanceUID): probe_study.part10(one) for one in study.instances}
    place = f"{keys.INCOMING}{batch}/{study.study_instance_uid}/{study.series_instance_uid}/"
    bucket = deployment.output("LandingBucketName")
    try:
        for sop, body in bodies.items():
            _create(deployment, bucket, f"{place}{sop}.dcm", body)
        manifest = manifest_of(batch, now, study, {sop: len(body) for sop, body in bodies.items()})
        _create(deployment, bucket, f"batches/{batch}.json", json.dumps(manifest).encode())
    except AccessDeniedError as error:
        raise LegFailed(
            "the landing bucket takes images from its receivers only: your role may not write there.",
            "test the whole way instead (storescp-cfn verify), or run this as the administrator named in the stack",
        ) from error
    return f"{len(bodies)} images in batch {batch}."


def _create(deployment: Deployment, bucket: str, key: str, body: bytes) -> None:
    deployment.connection.call("s3", "put_object", Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")


def manifest_of(batch: str, moment: datetime, study: ProbeStudy, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The manifest of the test batch (docs/adr/0001)."""
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    total = sum(sizes.values())
    return {
        "schema": 1,
        "batch": batch,
        "receiver": "storescp-cfn verify",
        "opened_at": text,
        "closed_at": text,
        "last_stored_at": text,
        "closed_by": "released",
        "instances": len(sizes),
        "bytes": total,
        "calling_ae_titles": [DEFAULT_CALLING],
        "studies": [{"StudyInstanceUID": study.study_instance_uid, "instances": len(sizes), "bytes": total}],
        "groups": [
            {
                "calling_ae_title": DEFAULT_CALLING,
                "StudyInstanceUID": study.study_instance_uid,
                "SeriesInstanceUID": study.series_instance_uid,
                "SOPClassUID": probe_study.CT_IMAGE_STORAGE,
                "bytes": total,
                "SOPInstanceUIDs": list(sizes),
            }
        ],
        "late": [],
        "elsewhere": [],
    }


def import_legs(journey: Journey, deployment: Deployment, study: ProbeStudy, waiting: Waiting) -> None:
    """Batch closed, imported, readable, removed."""
    book = ledger.of(deployment)
    journey.go("batch closed", lambda: wait_for_batch(book, study, waiting))
    journey.go("imported", lambda: wait_for_import(deployment, book, study, waiting))
    image_sets: list[str] = []

    def readable() -> str:
        image_sets.extend(wait_until_readable(deployment, study, waiting))
        return f"{len(study.instances)} images found by HealthImaging's search, pixels equal to what was sent."

    if journey.go("readable", readable):
        journey.go("removed", lambda: remove(deployment, image_sets, waiting))


def wait_for_batch(book: ledger.Ledger, study: ProbeStudy, waiting: Waiting) -> str:
    """Wait until the importer knows the batch. Raises LegFailed: when it does not within the time."""
    items = _poll(lambda: list(book.query(f"STUDY#{study.study_instance_uid}")), waiting, IMPORT_SECONDS)
    if not items:
        raise LegFailed(
            f"the importer has not taken the batch up within {IMPORT_SECONDS // 60} minutes.",
            "look at the importer's log (output ImporterLogGroupName), and at storescp-cfn status",
        )
    return f"batch {ledger.text(items[0], 'batch')}."


def wait_for_import(deployment: Deployment, book: ledger.Ledger, study: ProbeStudy, waiting: Waiting) -> str:
    """Wait until every image is settled. Raises LegFailed: when one is refused, or it takes too long."""

    def settled() -> dict[str, int]:
        counts = whereabouts.StudyFacts("", parts=list(book.query(f"STUDY#{study.study_instance_uid}"))).counts
        done = counts["imported"] + counts["quarantined"] >= len(study.instances)
        return dict(counts) if done else {}

    counts = _poll(settled, waiting, IMPORT_SECONDS)
    if not counts:
        raise LegFailed(
            f"HealthImaging has not imported it within {IMPORT_SECONDS // 60} minutes.",
            f"storescp-cfn status --study {study.study_instance_uid}",
        )
    if counts["quarantined"]:
        raise LegFailed(
            f"HealthImaging refused {counts['quarantined']} images.",
            f"storescp-cfn quarantine list --study {study.study_instance_uid}",
        )
    return f"{counts['imported']} images."


def wait_until_readable(deployment: Deployment, study: ProbeStudy, waiting: Waiting) -> list[str]:
    """The image sets that hold the study, found by HealthImaging's own search, once their pixels are those sent.

    Raises LegFailed: when they are not within the time in which HealthImaging becomes consistent.
    """
    seen: dict[str, int] = {}

    def readable() -> list[str]:
        rows = whereabouts.search(deployment, {"DICOMStudyInstanceUID": study.study_instance_uid})
        ids = [str(row["imageSetId"]) for row in rows]
        seen.clear()
        for image_set in ids:
            seen.update(pixel_checksums(deployment, image_set))
        return ids if seen == study.pixel_checksums else []

    found = _poll(readable, waiting, CONSISTENT_SECONDS)
    if not found:
        missing = len(study.pixel_checksums.keys() - seen.keys())
        wrong = sum(seen.get(sop, checksum) != checksum for sop, checksum in study.pixel_checksums.items())
        raise LegFailed(
            f"of {len(study.instances)} imported images HealthImaging's search does not find {missing}, and the pixels "
            f"of {wrong} differ from what was sent.",
            "try again in a few minutes; if it stays so, open a case with AWS Support and name the data store",
        )
    return found


def pixel_checksums(deployment: Deployment, image_set: str) -> dict[str, int]:
    """SOP Instance UID to the CRC32 of its first frame at full resolution; empty while it is not consistent yet.

    AWS sample `pixel-data-verification`: ImageFrames[].PixelDataChecksumFromBaseToFullResolution, the last entry.
    """
    connection, store = deployment.connection, deployment.output("HealthImagingDatastoreID")
    try:
        with connection.errors("medical-imaging"):
            client = connection.client("medical-imaging")
            blob = client.get_image_set_metadata(datastoreId=store, imageSetId=image_set)["imageSetMetadataBlob"].read()
    except AccessDeniedError:
        raise
    except AccountError as error:
        if "ConflictException" in str(error) or "ResourceNotFoundException" in str(error):
            return {}
        raise
    document = json.loads(gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob)
    return {
        sop: int(instance["ImageFrames"][0]["PixelDataChecksumFromBaseToFullResolution"][-1]["Checksum"])
        for series in document["Study"]["Series"].values()
        for sop, instance in series["Instances"].items()
        if instance.get("ImageFrames")
    }


def remove(deployment: Deployment, image_sets: list[str], waiting: Waiting) -> str:
    """Delete the image sets of a test. Raises LegFailed: when the caller may not."""
    store = deployment.output("HealthImagingDatastoreID")
    try:
        for image_set in image_sets:
            _delete_image_set(deployment, store, image_set, waiting)
    except AccessDeniedError as error:
        raise LegFailed(
            f"the test study stays in HealthImaging: the permission {error.permission} is missing.",
            "ask somebody who may delete image sets to run: storescp-cfn verify --remove",
        ) from error
    return f"{len(image_sets)} image sets deleted; the originals in the landing bucket expire with RetentionDays."


def _delete_image_set(deployment: Deployment, store: str, image_set: str, waiting: Waiting) -> None:
    """Delete one, at the pace that is allowed. Raises AccountError: when it cannot be done, even after a minute."""
    for _ in range(DELETE_TRIES):
        try:
            deployment.connection.call("medical-imaging", "delete_image_set", datastoreId=store, imageSetId=image_set)
        except ThrottledError:
            waiting.sleep(DELETE_SECONDS)
        else:
            return
    deployment.connection.call("medical-imaging", "delete_image_set", datastoreId=store, imageSetId=image_set)


def remove_all(deployment: Deployment, waiting: Waiting | None = None) -> Screen:
    """`--remove`: delete every test study that is still in the data store."""
    journey = Journey()
    rows = whereabouts.search(deployment, {"DICOMPatientId": probe_study.PATIENT_ID})
    journey.go("removed", lambda: remove(deployment, [str(row["imageSetId"]) for row in rows], waiting or Waiting()))
    return legs.screen("Removing test studies", journey, ("removed",))


def _poll(ask: Callable[[], T], waiting: Waiting, seconds: float) -> T:
    """Ask until the answer is something, at most so long; the last answer."""
    deadline = waiting.clock() + seconds
    while True:
        answer = ask()
        if answer or waiting.clock() >= deadline:
            return answer
        waiting.sleep(POLL_SECONDS)
