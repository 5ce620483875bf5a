"""Coverage-guided fuzzing of everything that reads a stranger's bytes: `make fuzz` (atheris).

Whatever arrives has to end in an event, a refusal or an abort; any other exception is a find.
"""

import sys
from contextlib import suppress
from re import fullmatch

import atheris

with atheris.instrument_imports():
    from storescp.acceptance import Policy, answer
    from storescp.commitment import CommitmentResult
    from storescp.commitment_data_sets import UnreadableActionError, read_action
    from storescp.dimse import DimseError, MessageReader
    from storescp.identifiers import read_identifiers
    from storescp.keys import safe_name
    from storescp.part10 import encode_file_meta_information
    from storescp.pdu import AssociateReject, encode_associate_accept, encode_associate_reject
    from storescp.requestor import Reporter, ReportFailed
    from storescp.state_table import State
    from storescp.upper_layer import AssociateRequested, Fragment, ReleaseRequested, UpperLayer

POLICY = Policy("STORESCP", False, frozenset(), frozenset(), 16384)
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")


def one_input(data: bytes) -> None:
    """The first byte chooses what is read; an association is accepted at once, or the bytes have to ask for it."""
    if not data:
        return
    choice, rest = data[0] % 8, data[1:]
    if choice < len(SYNTAXES):
        read(rest, SYNTAXES[choice])
    elif choice == 6:
        with suppress(UnreadableActionError):
            read_action(rest, SYNTAXES[data[0] % 2])
    elif choice == 7:
        with suppress(ReportFailed):
            Reporter(CommitmentResult("1.2", (("1.2", "1.3"),), ()), "STORESCP", "CT1").receive(rest)
    else:
        converse(rest, is_established=choice == 5)


def read(data: bytes, syntax: str) -> None:
    """Read identifiers, and what becomes of them."""
    for is_whole in (False, True):
        found = read_identifiers(data, syntax, is_whole)
        if found is not None:
            assert fullmatch(r"[x0-9a-f.-]{1,64}|none", safe_name(found.study_instance_uid))
            head = encode_file_meta_information(found.sop_class_uid, found.sop_instance_uid, syntax, "FUZZ")
            assert head[128:132] == b"DICM"


def converse(data: bytes, is_established: bool) -> None:
    """Be an acceptor."""
    layer = UpperLayer(16384)
    if is_established:
        layer.state = State.ESTABLISHED
    reader = MessageReader(frozenset({1}))
    try:
        for event in layer.receive(memoryview(data)):
            if isinstance(event, Fragment):
                reader.take(event)
            elif isinstance(event, AssociateRequested):
                decision = answer(event.request, POLICY)
                if isinstance(decision, AssociateReject):
                    assert layer.reject(decision) == encode_associate_reject(decision)
                else:
                    assert layer.accept(decision) == encode_associate_accept(decision)
            elif isinstance(event, ReleaseRequested):
                layer.release()
    except DimseError:
        layer.abort()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
