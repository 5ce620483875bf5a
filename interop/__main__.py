"""`make interop`: every sender sends every file, plain and over TLS; the matrix is what the store holds of it.

Plain: each data set that a sender put on the wire and that was acknowledged (a proxy reads along) is in the store with
the same bytes and the transfer syntax of its context. TLS, with client certificates: the store holds the same data sets
as after the plain run, for nobody can read along. Exit 1 if one is missing or differs.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from pydicom.uid import UID

from interop.corpus import corpus, data_set_of, transfer_syntax_of
from interop.senders import SENDERS, Sender, Tls
from interop.validator import new_complaints
from interop.wiretap import SUCCESS, Wiretap
from storescp_cfn.local.study import DicomFile
from tests.testkit.receiver_process import running_receiver

PAGE = Path(__file__).resolve().parents[1] / "docs/interoperability.md"
HOW_TO_READ = """A cell says *acknowledged and stored byte for byte / sent and answered*. A proxy reads along what the
sender puts on the wire; a data set counts as stored when the store holds the same bytes in the transfer syntax of the
accepted context. Over TLS (with client certificates) nobody can read along: there the second number is what the plain
run stored, and the bytes are compared with those. A dash: the sender sent nothing in that syntax. Where the second
number is below the number of files, the sender could not read them, or sent them in another syntax (dcmjs-dimse makes
Implicit VR of Explicit VR). GDCM's gdcmscu speaks no TLS.
"""
# The files hold the same instances several times over, alike and not: a batch for each, so that none is taken for a
# repetition, of which only so many a minute are stored.
EACH_FOR_ITSELF = {"BATCH_MAX_INSTANCES": "1"}
WHY_REFUSED = """Each of these was looked into, and is right: the request's UIDs contradict the data set (files whose
meta information does; Orthanc 1.10.1, which reads a UID of VR UN as `31`), or the request names no instance.
"""
Contents = Counter[tuple[str, str]]  # transfer syntax and SHA-256 of a data set: how often


@dataclass
class Run:
    """What one sender did: data sets sent and acknowledged (None: nobody could read along), and what is stored."""

    sender: Sender
    is_tls: bool
    sent: Contents | None
    acknowledged: Contents | None
    stored: Contents
    failures: Counter[int] = field(default_factory=Counter)  # statuses other than success
    troubles: list[str] = field(default_factory=list)


def identity(folder: Path) -> tuple[Tls, dict[str, str]]:
    """A hospital's PKI: what the device is configured with, and what the receiver is."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    device, server = authority.issue_cert("device"), authority.issue_cert("localhost", "127.0.0.1")
    device.cert_chain_pems[0].write_to_path(folder / "device.crt")
    device.private_key_pem.write_to_path(folder / "device.key")
    environment = {
        "TLS_CERTIFICATE": server.cert_chain_pems[0].bytes().decode(),
        "TLS_PRIVATE_KEY": server.private_key_pem.bytes().decode(),
        "TLS_CLIENT_CA": authority.cert_pem.bytes().decode(),
    }
    return Tls(folder / "device.crt", folder / "device.key", folder / "ca.pem"), environment


def stored_in(folder: Path) -> Contents:
    return Counter(
        (transfer_syntax_of(path), hashlib.sha256(data_set_of(path.read_bytes())).hexdigest())
        for path in (folder / "incoming").rglob("*.dcm")
    )


def run_plain(sender: Sender, files: Sequence[DicomFile], store: Path, work: Path) -> Run:
    with running_receiver(store, **EACH_FOR_ITSELF) as receiver, Wiretap(receiver.port) as tap:
        receiver.await_ready()
        sender.send(files, tap.port, None, work)
        code = receiver.stop()
        sent = Counter((d.transfer_syntax_uid, d.sha256) for d in tap.data_sets)
        acknowledged = Counter((d.transfer_syntax_uid, d.sha256) for d in tap.data_sets if d.status == SUCCESS)
    failures = Counter(d.status for d in tap.data_sets if d.status != SUCCESS)
    run = Run(sender, False, sent, acknowledged, stored_in(store), failures)
    missing = acknowledged - run.stored
    run.troubles += [f"acknowledged, but not stored so: {syntax} {digest}" for syntax, digest in missing.elements()]
    run.troubles += [f"the receiver ended with {code}"] if code else []
    return run


def run_tls(
    sender: Sender,
    files: Sequence[DicomFile],
    store: Path,
    work: Path,
    tls: Tls,
    environment: dict[str, str],
    plain: Run,
) -> Run:
    with running_receiver(store, **EACH_FOR_ITSELF, **environment) as receiver:
        receiver.await_ready()
        sender.send(files, receiver.port, tls, work)
        code = receiver.stop()
    run = Run(sender, True, None, None, stored_in(store))
    assert plain.sent is not None and plain.acknowledged is not None
    # What a sender did not wait for (its own time-out) may be in one store and not in the other.
    missing, unexpected = plain.acknowledged - run.stored, run.stored - (plain.sent | plain.stored)
    run.troubles += [f"acknowledged in plain, not stored over TLS: {syntax} {digest}" for syntax, digest in missing]
    run.troubles += [f"stored over TLS, never sent in plain: {syntax} {digest}" for syntax, digest in unexpected]
    run.troubles += [f"the receiver ended with {code}"] if code else []
    return run


def by_syntax(contents: Contents) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (syntax, _), count in contents.items():
        counts[syntax] += count
    return counts


def cell(run: Run, plain: Run, syntax: str) -> str:
    if run.sent is not None and run.acknowledged is not None:
        good, of = run.acknowledged & run.stored, run.sent
    else:
        good, of = run.stored & plain.stored, plain.stored
    return f"{by_syntax(good)[syntax]}/{by_syntax(of)[syntax]}" if by_syntax(of)[syntax] else "–"


def page(files: Sequence[DicomFile], pairs: Sequence[tuple[Run, Run | None]], validated: tuple[int, list[str]]) -> str:
    """The matrix and what it means, as Markdown."""
    syntaxes = {file.transfer_syntax_uid for file in files} | {
        syntax for plain, _ in pairs for syntax, _ in plain.stored
    }
    names = {syntax: UID(syntax).name for syntax in syntaxes}
    of_files = Counter(file.transfer_syntax_uid for file in files)
    heads = [f"{run.sender.name}{' TLS' if run.is_tls else ''}" for pair in pairs for run in pair if run]
    lines = [
        "# Interoperability",
        "",
        "<!-- Written by `make interop`; every figure is of a real run. Do not edit it by hand. -->",
        "",
        f"{len(files)} files of pydicom and pydicom-data in {len(of_files)} transfer syntaxes, odd and broken ones",
        "among them, were sent by " + ", ".join(f"{p.sender.name} {p.sender.version()}" for p, _ in pairs) + ".",
        "",
        HOW_TO_READ,
        "| transfer syntax | files | " + " | ".join(heads) + " |",
        "| --- | ---: |" + " ---: |" * len(heads),
    ]
    for syntax in sorted(names, key=lambda uid: [int(part) for part in uid.split(".")]):
        cells = [cell(run, pair[0], syntax) for pair in pairs for run in pair if run]
        lines.append(f"| {names[syntax]} `{syntax}` | {of_files[syntax]} | " + " | ".join(cells) + " |")
    lines += ["", "Answered with a failure status (docs/conformance-statement.md), and so still with the sender:", ""]
    for plain, _ in pairs:
        statuses = ", ".join(f"{count} × {status:04X}" for status, count in sorted(plain.failures.items()))
        lines.append(f"- {plain.sender.name}: {statuses or 'none'}")
    lines += ["", WHY_REFUSED]
    count, complaints = validated
    lines += [f"dciodvfy (dicom3tools) read {count} files as pynetdicom sent them and as they were stored; "]
    lines[-1] += f"errors that only the stored ones have: {len(complaints)}."
    lines += [f"- {complaint}" for complaint in complaints]
    return "\n".join(lines) + "\n"


def validate(files: Sequence[DicomFile], store: Path) -> tuple[int, list[str]]:
    """Compare dciodvfy's findings on stored files with those on the files with the same data set."""
    stored = {hashlib.sha256(data_set_of(p.read_bytes())).hexdigest(): p for p in (store / "incoming").rglob("*.dcm")}
    found, count = [], 0
    for file in files:
        match = stored.get(hashlib.sha256(data_set_of(file.path.read_bytes())).hexdigest())
        if match is not None:
            count += 1
            found += [f"{file.path.name}: {complaint}" for complaint in new_complaints(file.path, match)]
    return count, found


def main() -> int:
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    files = corpus()
    pairs: list[tuple[Run, Run | None]] = []
    with tempfile.TemporaryDirectory(prefix="interop-") as name:
        root = Path(name)
        tls, environment = identity(root)
        for sender in SENDERS:
            work = root / sender.name
            work.mkdir()
            print(f"{sender.name} {sender.version()} ...", flush=True)
            plain = run_plain(sender, files, work / "plain", work)
            secured = run_tls(sender, files, work / "tls", work, tls, environment, plain) if sender.has_tls else None
            pairs.append((plain, secured))
        validated = validate(files, root / SENDERS[-1].name / "plain")
    text = page(files, pairs, validated)
    print(text)
    troubles = [f"{run.sender.name}: {trouble}" for pair in pairs for run in pair if run for trouble in run.troubles]
    troubles += [f"{plain.sender.name} stored nothing" for plain, _ in pairs if not plain.stored]
    troubles += [f"dciodvfy: {complaint}" for complaint in validated[1]]
    print(*troubles, sep="\n")
    if not troubles:
        PAGE.write_text(text, encoding="utf-8")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
