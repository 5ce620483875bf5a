"""pynetdicom decodes what we encode, and we what it encodes; covers pdu.py, acceptance.py and dimse.py."""

from io import BytesIO

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from storescp.acceptance import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    LOCAL_LIMIT_EXCEEDED,
    MAXIMUM_OPERATIONS,
    Policy,
    answer,
    operations_granted,
)
from storescp.dimse import Status, decode_command, encode_response
from storescp.pdu import (
    AbortReason,
    AbortSource,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_command_pdus,
    encode_release_response,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
PRIVATE = "1.3.46.670589.11.0.0.12.1"


def request(window: tuple[int, int] | None = None) -> AssociateRequest:
    """A request with every item that PS3.7 Annex D knows, encoded by pynetdicom and decoded by us."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.called_ae_title = "STORESCP"
    primitive.calling_ae_title = "SENDER"
    contexts = [
        build_context(CT, ["1.2.840.113619.5.2", JPEG2000Lossless, ExplicitVRLittleEndian]),
        build_context(MR, [ImplicitVRLittleEndian, JPEG2000Lossless]),
        build_context(PRIVATE, ["1.2.840.113619.5.2"]),
    ]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    maximum = MaximumLengthNotification()
    maximum.maximum_length_received = 54321
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4.5"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "A_SENDER"
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\1\0"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"user", b"password"
    user = [maximum, implementation, version, role, extended, common, identity]
    if window is not None:
        operations = AsynchronousOperationsWindowNegotiation()
        operations.maximum_number_operations_invoked, operations.maximum_number_operations_performed = window
        user.append(operations)
    primitive.user_information = user
    encoder = A_ASSOCIATE_RQ()
    encoder.from_primitive(primitive)
    return decode_associate_request(encoder.encode()[6:])


def policy(**changes: object) -> Policy:
    fields = {
        "ae_title": "STORESCP",
        "require_called_ae_title": True,
        "calling_ae_titles": frozenset({"SENDER"}),
        "sop_classes": frozenset(),
        "maximum_pdu_size": 131072,
        **changes,
    }
    return Policy(**fields)  # type: ignore[arg-type]


def test_a_request_with_every_item_is_decoded() -> None:
    decoded = request((7, 3))
    assert decoded.called_ae_title == "STORESCP"
    assert decoded.calling_ae_title == "SENDER"
    assert decoded.protocol_version == 1
    assert decoded.maximum_length == 54321
    assert decoded.implementation_class_uid == "1.2.3.4.5"
    assert decoded.implementation_version_name == "A_SENDER"
    assert decoded.operations_window == (7, 3)
    assert [(role.sop_class_uid, role.scu, role.scp) for role in decoded.roles] == [(CT, True, True)]
    assert [(context.context_id, context.abstract_syntax) for context in decoded.contexts] == [
        (1, CT),
        (3, MR),
        (5, PRIVATE),
    ]
    assert decoded.contexts[1].transfer_syntaxes == (ImplicitVRLittleEndian, JPEG2000Lossless)


def test_an_acceptance_is_what_pynetdicom_reads_from_it() -> None:
    decision = answer(request((7, 3)), policy())
    assert isinstance(decision, AssociateAccept)
    decoder = A_ASSOCIATE_AC()
    decoder.decode(encode_associate_accept(decision))
    assert decoder.encode() == encode_associate_accept(decision)
    primitive = decoder.to_primitive()
    results = {
        context.context_id: (context.result, context.transfer_syntax[0])
        for context in primitive.presentation_context_definition_results_list
    }
    # the sender's first that HealthImaging lists, else its first
    assert results == {
        1: (0, JPEG2000Lossless),
        3: (0, ImplicitVRLittleEndian),
        5: (0, "1.2.840.113619.5.2"),
    }
    items = {type(item).__name__: item for item in primitive.user_information}
    assert items["MaximumLengthNotification"].maximum_length_received == 131072
    window = items["AsynchronousOperationsWindowNegotiation"]
    assert (window.maximum_number_operations_invoked, window.maximum_number_operations_performed) == (7, 1)
    role = items["SCP_SCU_RoleSelectionNegotiation"]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (CT, True, False)
    assert items["ImplementationClassUIDNotification"].implementation_class_uid.startswith("2.25.")
    assert set(items) == {
        "MaximumLengthNotification",
        "AsynchronousOperationsWindowNegotiation",
        "SCP_SCU_RoleSelectionNegotiation",
        "ImplementationClassUIDNotification",
        "ImplementationVersionNameNotification",
    }


def test_sop_classes_that_are_not_supported_are_refused_each_for_itself() -> None:
    decision = answer(request(), policy(sop_classes=frozenset({MR})))
    assert isinstance(decision, AssociateAccept)
    assert [context.result for context in decision.contexts] == [
        ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
        ContextResult.ACCEPTANCE,
        ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ]
    assert decision.operations_window is None


@pytest.mark.parametrize(
    ("proposed", "granted"), [(None, 1), ((1, 1), 1), ((5, 0), 5), ((0, 0), MAXIMUM_OPERATIONS), ((999, 1), 16)]
)
def test_the_window_is_bounded(proposed: tuple[int, int] | None, granted: int) -> None:
    assert operations_granted(request(proposed)) == granted


@pytest.mark.parametrize("rejection", [CALLED_AE_TITLE_NOT_RECOGNIZED, LOCAL_LIMIT_EXCEEDED])
def test_a_rejection_is_what_pynetdicom_reads_from_it(rejection: AssociateReject) -> None:
    decoder = A_ASSOCIATE_RJ()
    decoder.decode(encode_associate_reject(rejection))
    assert (decoder.result, decoder.source, decoder.reason_diagnostic) == (
        rejection.result,
        rejection.source,
        rejection.reason,
    )


def test_release_and_abort_are_what_pynetdicom_reads_from_them() -> None:
    assert A_RELEASE_RP().encode() == encode_release_response()
    for source, reason in ((AbortSource.SERVICE_PROVIDER, AbortReason.UNEXPECTED_PDU), (AbortSource.SERVICE_USER, 0)):
        decoder = A_ABORT_RQ()
        decoder.decode(encode_abort(source, AbortReason(reason)))
        assert (decoder.source, decoder.reason_diagnostic) == (source, reason)


def command_bytes(primitive: C_STORE | C_ECHO) -> bytes:
    message = C_STORE_RQ() if isinstance(primitive, C_STORE) else C_ECHO_RQ()
    message.primitive_to_message(primitive)
    values = [pdv for data in message.encode_msg(1, 0) for pdv in data.presentation_data_value_list]
    return b"".join(value[1:] for _, value in values if value[0] & 1)


def test_commands_of_pynetdicom_are_decoded() -> None:
    store = C_STORE()
    store.MessageID, store.Priority = 77, 1
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = CT, "1.2.345"
    store.DataSet = BytesIO(b"data")
    command = decode_command(1, command_bytes(store))
    assert (command.field, command.message_id, command.has_data_set) == (0x0001, 77, True)
    assert (command.sop_class_uid, command.sop_instance_uid) == (CT, "1.2.345")
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 78, "1.2.840.10008.1.1"
    command = decode_command(3, command_bytes(echo))
    assert (command.field, command.message_id, command.has_data_set) == (0x0030, 78, False)


@pytest.mark.parametrize("maximum_length", [0, 8, 100, 16384])
def test_responses_are_what_pynetdicom_reads_from_them(maximum_length: int) -> None:
    store = C_STORE()
    store.MessageID, store.Priority = 77, 1
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = CT, "1.2.345"
    store.DataSet = BytesIO(b"data")
    command = decode_command(1, command_bytes(store))
    response = encode_response(command, Status.OUT_OF_RESOURCES, "x" * 100)
    stream = encode_command_pdus(5, response, maximum_length)
    message = C_STORE_RSP()
    is_whole = False
    while stream:
        length = 6 + int.from_bytes(stream[2:6], "big")
        assert not maximum_length or length - 6 <= maximum_length
        decoder = P_DATA_TF()
        decoder.decode(stream[:length])
        stream = stream[length:]
        is_whole = message.decode_msg(decoder.to_primitive())
    assert is_whole
    decoded = decode(BytesIO(response), True, True)
    assert decoded.Status == 0xA700
    assert decoded.ErrorComment == "x" * 64
    assert decoded.MessageIDBeingRespondedTo == 77
    assert decoded.CommandField == 0x8001
    assert decoded.AffectedSOPInstanceUID == "1.2.345"
    assert decoded.CommandGroupLength == len(response) - 12
