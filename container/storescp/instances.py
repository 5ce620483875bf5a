"""What an instance is stored as, and the few reasons for which it is not stored at all (ADR 11).

The bytes are kept whatever they are. Refused is what contradicts its own command, and what is no data set.
"""

from typing import Final, NamedTuple

from storescp.dimse import Command, Refusal, Status
from storescp.elements import Data
from storescp.identifiers import read_identifiers
from storescp.keys import safe_name
from storescp.uids import is_same_uid

_NO_DATA_SET: Final = "What was sent is no DICOM data set"


class InstanceNames(NamedTuple):
    """Safe names of an instance's UIDs (ADR 1)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


def check_command(command: Command) -> None:
    """Hold a C-STORE request's command against PS3.7 table 9.3-1.

    Raises Refusal: when it does not name an instance and its class; nothing could be committed to later.
    """
    if not command.sop_class_uid:
        raise Refusal(Status.DATA_SET_DOES_NOT_MATCH, "Affected SOP Class UID is missing in the command")
    if not command.sop_instance_uid:
        raise Refusal(Status.DATA_SET_DOES_NOT_MATCH, "Affected SOP Instance UID is missing in the command")


def name_instance(command: Command, data: Data, transfer_syntax_uid: str, is_whole: bool) -> InstanceNames:
    """Name an instance by its command and its data set, or by the beginning of that if it is not `is_whole`.

    Study and series are what the data set says, as far as it can be read.

    Raises Refusal: when the data set names another instance or class than the command, or is none in any encoding.
    """
    found = read_identifiers(data, transfer_syntax_uid, is_whole)
    if found is None:
        raise Refusal(Status.CANNOT_UNDERSTAND, _NO_DATA_SET)
    if found.sop_class_uid and not is_same_uid(found.sop_class_uid, command.sop_class_uid):
        raise Refusal(Status.DATA_SET_DOES_NOT_MATCH, "SOP Class UID of the data set differs from the command's")
    if found.sop_instance_uid and not is_same_uid(found.sop_instance_uid, command.sop_instance_uid):
        raise Refusal(Status.DATA_SET_DOES_NOT_MATCH, "SOP Instance UID of the data set differs from the command's")
    return InstanceNames(
        safe_name(found.study_instance_uid), safe_name(found.series_instance_uid), safe_name(command.sop_instance_uid)
    )
