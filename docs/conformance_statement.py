"""conformance_statement.py [--check] - renew the tables of docs/conformance-statement.md from the receiver's code.

With --check nothing is written; exit 1 tells that the page is not fresh.
"""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom.uid import UID

from storescp.acceptance import MAXIMUM_OPERATIONS, REJECTION_NAMES
from storescp.dimse import Status
from storescp.settings import VARIABLES
from storescp.state_table import DEVIATIONS, TRANSITIONS, Action, Event, State, Transition
from storescp.tls import TLS_1_2_CIPHERS
from storescp.uids import HEALTHIMAGING_TRANSFER_SYNTAXES, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PAGE = Path(__file__).resolve().parent.parent / "docs/conformance-statement.md"
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Further meaning of each status; a status that is missing here stops the generator.
MEANINGS = {
    Status.SUCCESS: ("Success", "C-STORE: the whole object is durable in Amazon S3. C-ECHO: we are here."),
    Status.SOP_CLASS_NOT_SUPPORTED: ("Failure", "C-STORE: the SOP Class is not among SUPPORTED_SOP_CLASS_UIDS."),
    Status.PROCESSING_FAILURE: (
        "Failure",
        "N-ACTION: the request could not be made durable; asking again may succeed.",
    ),
    Status.INVALID_ARGUMENT_VALUE: (
        "Failure",
        "N-ACTION: Transaction UID or Referenced SOP Sequence is missing or unreadable.",
    ),
    Status.NO_SUCH_ACTION: ("Failure", "N-ACTION: anything but a request for storage commitment."),
    Status.UNRECOGNIZED_OPERATION: ("Failure", "A DIMSE request other than C-STORE, C-ECHO and N-ACTION."),
    Status.RESOURCE_LIMITATION: ("Failure", "N-ACTION: more than 1 MiB, which is some 8,000 instances."),
    Status.OUT_OF_RESOURCES: (
        "Failure",
        "C-STORE: the object could not be made durable in time; sending it again may succeed.",
    ),
    Status.DATA_SET_DOES_NOT_MATCH: (
        "Failure",
        "C-STORE: class or instance UID of the data set contradict the request, or the request lacks them.",
    ),
    Status.CANNOT_UNDERSTAND: ("Failure", "C-STORE: there is no data set, or what was sent is none in any encoding."),
}
RESULTS = {1: "rejected-permanent", 2: "rejected-transient"}
SOURCES = {1: "service-user", 2: "service-provider (ACSE)", 3: "service-provider (presentation)"}
ABOUT_TIME = {"ARTIM_TIMEOUT", "DIMSE_TIMEOUT", "MINIMUM_BYTES_PER_SECOND", "NETWORK_TIMEOUT", "STOP_SECONDS"}


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def identity() -> str:
    return table(
        ("", ""),
        [
            ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
            ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ],
    )


def transfer_syntaxes() -> str:
    uids = sorted(HEALTHIMAGING_TRANSFER_SYNTAXES, key=lambda uid: [int(part) for part in uid.split(".")])
    return table(("Transfer syntax", "UID"), [(UID(uid).name, f"`{uid}`") for uid in uids])


def statuses() -> str:
    rows = [(MEANINGS[status][0], f"{status:04X}", MEANINGS[status][1]) for status in Status]
    return table(("Service status", "Code", "When"), rows)


def rejections() -> str:
    rows = [
        (
            name,
            f"{reject.result} {RESULTS[reject.result]}",
            f"{reject.source} {SOURCES[reject.source]}",
            f"{reject.reason}",
        )
        for reject, name in REJECTION_NAMES.items()
    ]
    return table(("Why", "Result", "Source", "Reason"), rows)


def operations() -> str:
    return table(("", ""), [("Operations performed at once on one association, at most", str(MAXIMUM_OPERATIONS))])


def timeouts() -> str:
    return settings_of(lambda name: name in ABOUT_TIME)


def configuration() -> str:
    return settings_of(lambda name: True)


def settings_of(wanted: Callable[[str], bool]) -> str:
    rows = [(f"`{v.name}`", v.default or "–", v.allowed, v.meaning) for v in VARIABLES if wanted(v.name)]
    return table(("Variable", "Default", "Allowed", "Meaning"), rows)


def tls() -> str:
    return table(
        ("", ""),
        [
            ("Versions", "TLS 1.3 and TLS 1.2; nothing older"),
            ("Cipher suites of TLS 1.3", "all of OpenSSL's defaults"),
            ("Cipher suites of TLS 1.2, as OpenSSL names them", f"`{TLS_1_2_CIPHERS}`"),
        ],
    )


def state_table() -> str:
    """PS3.8 table 9-10 as the code has it, the actions, and where they are not the standard's."""
    rows = [
        (f"{event.value} {event.name}", *(cell_text(TRANSITIONS.get((event, state))) for state in State))
        for event in Event
    ]
    heads = ("Event", *(f"{state.value}<br>{state.name}" for state in State))
    deviations = [(d.event.value, d.state.value, d.standard or "–", d.reason) for d in DEVIATIONS]
    return (
        table(heads, rows)
        + "\n"
        + table(("Action", "What is done"), [(action.label, action.value) for action in Action])
        + "\n"
        + table(("Event", "State", "In the standard", "Why it is otherwise here"), deviations)
    )


def cell_text(transition: Transition | None) -> str:
    return f"{transition.action.label} {transition.next_state.value}" if transition else ""


BLOCKS: dict[str, Callable[[], str]] = {
    "identity": identity,
    "transfer-syntaxes": transfer_syntaxes,
    "statuses": statuses,
    "rejections": rejections,
    "operations": operations,
    "timeouts": timeouts,
    "configuration": configuration,
    "tls": tls,
    "state-table": state_table,
}


def renewed(page: str) -> str:
    """The page with every generated block written anew; raises ValueError if a block is missing or unknown."""
    names = [match[2] for match in BLOCK.finditer(page)]
    if sorted(names) != sorted(BLOCKS):
        raise ValueError(f"{PAGE.name} must have the blocks {sorted(BLOCKS)} once each; it has {sorted(names)}")
    return BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}{match[3]}", page)


def main() -> int:
    """Renew the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = renewed(page)
    if sys.argv[1:] == ["--check"]:
        if page != fresh:
            print(f"{PAGE.name} is not fresh: run docs/conformance_statement.py", file=sys.stderr)
        return int(page != fresh)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
