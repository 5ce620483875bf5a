"""Five implementations that send, each in its own process and with its own idea of DICOM."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from storescp_cfn.local import dcmtk
from storescp_cfn.local.processes import Child, free_port
from storescp_cfn.local.study import DicomFile
from tests.testkit.receiver_process import wait_for

CALLED, CALLING = "STORESCP", "INTEROP"
GDCMSCU, ORTHANC = "/usr/bin/gdcmscu", "/usr/sbin/Orthanc"
FILE_SECONDS = 60


@dataclass(frozen=True)
class Tls:
    """What a device with a client certificate is configured with."""

    certificate: Path
    key: Path
    authority: Path


Send = Callable[[Sequence[DicomFile], int, Tls | None, Path], None]


@dataclass(frozen=True)
class Sender:
    """A sender's name and version, and how it sends; `has_tls` is whether it can at all."""

    name: str
    version: Callable[[], str]
    send: Send
    has_tls: bool


def send_with_dcmtk(files: Sequence[DicomFile], port: int, tls: Tls | None, work: Path) -> None:
    """storescu, one context for each SOP class and transfer syntax, as many associations as that takes."""
    security = ["+tls", str(tls.key), str(tls.certificate), "+cf", str(tls.authority)] if tls else []
    configuration = work / "associations.cfg"
    for part in dcmtk.associations(files):
        configuration.write_text(dcmtk.contexts_file(part))
        command = [dcmtk.program("storescu"), "--no-halt", *security, "-aet", CALLING, "-aec", CALLED]
        command += ["-xf", str(configuration), "AsTheyAre", "127.0.0.1", str(port), *(str(f.path) for f in part)]
        run(command, 10 * FILE_SECONDS)


def send_with_gdcm(files: Sequence[DicomFile], port: int, tls: Tls | None, work: Path) -> None:
    """gdcmscu, an association a file: it gives up a whole folder for one file that it cannot read."""
    for file in files:
        run([GDCMSCU, "--store", "--aetitle", CALLING, "--call", CALLED, "-i", str(file.path), "127.0.0.1", str(port)])


def send_with_orthanc(files: Sequence[DicomFile], port: int, tls: Tls | None, work: Path) -> None:
    """Orthanc as a store: each file goes in over REST, out over DICOM, and is deleted there again."""
    http_port, dicom_port = free_port(), free_port()
    folder = work / f"orthanc-{http_port}"
    folder.mkdir()
    configuration = {
        "Name": "interop",
        "StorageDirectory": f"{folder}/storage",
        "IndexDirectory": f"{folder}/index",
        "DicomAet": CALLING,
        "DicomPort": dicom_port,
        "DicomServerEnabled": False,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "OverwriteInstances": True,
        "DicomScuTimeout": FILE_SECONDS,
        "DicomModalities": {"receiver": {"AET": CALLED, "Host": "127.0.0.1", "Port": port, "UseDicomTls": bool(tls)}},
    }
    if tls:
        configuration |= {
            "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.authority),
        }
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(configuration))
    child = Child([ORTHANC, str(settings)], os.environ, folder / "orthanc.log")
    try:
        url = f"http://127.0.0.1:{http_port}"
        wait_for(lambda: http("GET", f"{url}/system") is not None, 30, "Orthanc")
        for file in files:
            uploaded = http("POST", f"{url}/instances", file.path.read_bytes())
            if uploaded is not None:
                http("POST", f"{url}/modalities/receiver/store", str(uploaded["ID"]).encode())
                http("DELETE", f"{url}/instances/{uploaded['ID']}")
    finally:
        child.stop(10)


def send_with_dcmjs(files: Sequence[DicomFile], port: int, tls: Tls | None, work: Path) -> None:
    """dcmjs-dimse, an association a file, by a few lines of JavaScript beside this module."""
    plan = work / "dcmjs.json"
    security = {"key": str(tls.key), "cert": str(tls.certificate), "ca": str(tls.authority)} if tls else None
    paths = [str(file.path) for file in files]
    plan.write_text(json.dumps({"port": port, "calling": CALLING, "called": CALLED, "tls": security, "files": paths}))
    environment = os.environ | {"NODE_PATH": str(node_modules())}
    run(["node", str(Path(__file__).parent / "dcmjs_store.js"), str(plan)], 15 * FILE_SECONDS, environment)


def send_with_pynetdicom(files: Sequence[DicomFile], port: int, tls: Tls | None, work: Path) -> None:
    """pynetdicom, which sends a file's data set as it is."""
    from pynetdicom import AE, _config

    _config.STORE_SEND_CHUNKED_DATASET = True
    security = None
    if tls:
        context = ssl.create_default_context(cafile=str(tls.authority))
        context.load_cert_chain(tls.certificate, tls.key)
        security = (context, "localhost")
    for part in dcmtk.associations(files):
        entity = AE(CALLING)
        for sop_class, syntax in sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in part}):
            entity.add_requested_context(sop_class, syntax)
        association = entity.associate("127.0.0.1", port, ae_title=CALLED, tls_args=security)
        for file in part:
            if association.is_established:
                try:
                    association.send_c_store(file.path)
                except (ValueError, AttributeError):
                    continue  # pynetdicom cannot name what is in that file
        association.release()


def run(command: Sequence[str], seconds: float = FILE_SECONDS, environment: dict[str, str] | None = None) -> None:
    """Run a sender to its end, however it ends: what counts is what arrived (Debian's gdcmscu aborts after success)."""
    subprocess.run(command, capture_output=True, check=False, timeout=seconds, env=environment)


def http(method: str, url: str, body: bytes | None = None) -> dict[str, object] | None:
    """Orthanc's answer as an object, or None when it refused or is not there yet."""
    request = urllib.request.Request(url, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=FILE_SECONDS) as answer:
            found = json.loads(answer.read() or b"{}")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
    return found if isinstance(found, dict) else {}


def node_modules() -> Path:
    return Path(__file__).resolve().parents[1] / ".cache/interop/node_modules"


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def dcmjs_version() -> str:
    return str(json.loads((node_modules() / "dcmjs-dimse/package.json").read_text())["version"])


def pynetdicom_version() -> str:
    import pynetdicom

    return str(pynetdicom.__version__)


SENDERS = (
    Sender("dcmtk", lambda: first_line(dcmtk.program("storescu"), "--version").split()[2][1:], send_with_dcmtk, True),
    Sender("GDCM", lambda: first_line(GDCMSCU, "--version").split()[2], send_with_gdcm, False),
    Sender("Orthanc", lambda: first_line(ORTHANC, "--version").split()[1], send_with_orthanc, True),
    Sender("dcmjs-dimse", dcmjs_version, send_with_dcmjs, True),
    Sender("pynetdicom", pynetdicom_version, send_with_pynetdicom, True),
)
