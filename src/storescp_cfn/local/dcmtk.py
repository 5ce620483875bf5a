"""dcmtk's own echoscu and storescu, as a modality would use them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storescp_cfn.local import LocalError
from storescp_cfn.local.study import DicomFile

# pynetdicom installs programs of the same names into a virtual environment, so PATH is not asked.
FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/dcmtk/bin")
CONTEXTS_PER_ASSOCIATION = 120  # PS3.8 7.1.1.13 allows 128, odd ids from 1 to 255
FILES_PER_ASSOCIATION = 500  # keeps the command line short
NOT_SENT = "not sent"
UNREADABLE = (f"{NOT_SENT}: Bad DICOM file", f"{NOT_SENT}: No SOP Class or Instance UID")


class DcmtkMissing(LocalError):
    """dcmtk is not installed where it is looked for."""


@dataclass(frozen=True)
class Sent:
    """What became of one file.

    status: dcmtk's word for the C-STORE response, `Success` when it was 0x0000; or that it was not sent, and why.
    """

    file: DicomFile
    status: str

    @property
    def acknowledged(self) -> bool:
        return self.status == "Success"

    @property
    def unreadable(self) -> bool:
        """Whether dcmtk could not read the file, so that there was nothing to send."""
        return self.status.startswith(UNREADABLE)


def program(name: str) -> str:
    """The full path of dcmtk's program `name`; DCMTK_BIN names another folder.

    Raises DcmtkMissing: when it is in none of the folders.
    """
    folders = [os.environ["DCMTK_BIN"]] if os.environ.get("DCMTK_BIN") else list(FOLDERS)
    for folder in folders:
        if (path := Path(folder) / name).is_file():
            return str(path)
    raise DcmtkMissing(
        f"dcmtk's {name} is not in {', '.join(folders)}: "
        "install it (Debian and Ubuntu: apt-get install dcmtk; Fedora: dnf install dcmtk; macOS: brew install dcmtk) "
        "or set DCMTK_BIN to its folder"
    )


def echo(host: str, port: int, called: str, calling: str) -> str:
    """Send a C-ECHO; return an empty string, or what dcmtk said when it failed."""
    command = [program("echoscu"), "-aet", calling, "-aec", called, "-to", "10", "-ta", "10", host, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr + done.stdout).strip() or f"exit status {done.returncode}"


def associations(files: Sequence[DicomFile]) -> Iterator[list[DicomFile]]:
    """Split files so that each part needs no more presentation contexts than an association may have."""
    part: list[DicomFile] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        contexts.add((file.sop_class_uid, file.transfer_syntax_uid))
        if part and (len(contexts) > CONTEXTS_PER_ASSOCIATION or len(part) == FILES_PER_ASSOCIATION):
            yield part
            part, contexts = [], {(file.sop_class_uid, file.transfer_syntax_uid)}
        part.append(file)
    if part:
        yield part


def contexts_file(files: Iterable[DicomFile]) -> str:
    """dcmtk's association configuration (its asconfig.txt): one context for each SOP class and transfer syntax."""
    pairs = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    syntaxes = sorted({syntax for _, syntax in pairs})
    name = {syntax: f"Syntax{number}" for number, syntax in enumerate(syntaxes, 1)}
    lines = ["[[TransferSyntaxes]]"]
    for syntax in syntaxes:
        lines += [f"[{name[syntax]}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[Contexts]"]
    lines += [f"PresentationContext{n} = {sop_class}\\{name[syntax]}" for n, (sop_class, syntax) in enumerate(pairs, 1)]
    lines += ["[[Profiles]]", "[AsTheyAre]", "PresentationContexts = Contexts"]
    return "\n".join(lines) + "\n"


def store(
    files: Sequence[DicomFile],
    host: str,
    port: int,
    called: str,
    calling: str,
    work: Path,
    on_sent: Callable[[Sent], None],
) -> list[Sent]:
    """Send every file in its own transfer syntax; `on_sent` is called as each response arrives."""
    sent: list[Sent] = []
    for part in associations(files):
        configuration = work / "associations.cfg"
        configuration.write_text(contexts_file(part))
        command = [
            program("storescu"),
            "-v",
            "--no-halt",
            "-aet",
            calling,
            "-aec",
            called,
            "-xf",
            str(configuration),
            "AsTheyAre",
        ]
        command += [host, str(port), *(str(file.path) for file in part)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            for outcome in outcomes(part, process.stdout):
                sent.append(outcome)
                on_sent(outcome)
    return sent


def outcomes(files: Sequence[DicomFile], lines: Iterable[str]) -> Iterator[Sent]:
    """Read storescu's verbose report; a file without a response was not sent, for the last error printed about it."""
    waiting = {str(file.path): file for file in files}
    current, problem = "", "no response"
    for line in lines:
        text = line.rstrip()
        if match := re.match(r"I: Sending file: (.*)", text):
            if current in waiting:
                yield Sent(waiting.pop(current), f"{NOT_SENT}: {problem}")
            current, problem = match[1], "no response"
        elif (match := re.match(r"I: Received Store Response \((.*)\)", text)) and current in waiting:
            yield Sent(waiting.pop(current), match[1])
        elif match := re.match(r"[EF]: (.*)", text):
            problem = match[1].replace(f": {current}", "") if current else match[1]
    for file in waiting.values():
        yield Sent(file, f"{NOT_SENT}: {problem}")
