"""Whom we accept and what we agree on: a pure function of the request and the policy (PS3.8 7.1, PS3.7 Annex D)."""

from dataclasses import dataclass
from typing import Final

from storescp.pdu import (
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    RoleSelection,
)
from storescp.services import COMMITMENT_TRANSFER_SYNTAXES, Service, service_of
from storescp.uids import (
    APPLICATION_CONTEXT,
    HEALTHIMAGING_TRANSFER_SYNTAXES,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_usable_uid,
)

# Operations that one association may have under way at once; what it brings is the latency of the store hidden
# behind so many uploads, what it costs is memory.
MAXIMUM_OPERATIONS: Final = 16

# Result, source and reason as PS3.8 table 9-21 numbers them.
NO_REASON_GIVEN: Final = AssociateReject(1, 1, 1)
APPLICATION_CONTEXT_NOT_SUPPORTED: Final = AssociateReject(1, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNIZED: Final = AssociateReject(1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNIZED: Final = AssociateReject(1, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED: Final = AssociateReject(1, 2, 2)
TEMPORARY_CONGESTION: Final = AssociateReject(2, 3, 1)
LOCAL_LIMIT_EXCEEDED: Final = AssociateReject(2, 3, 2)

REJECTION_NAMES: Final = {
    NO_REASON_GIVEN: "NoPresentationContext",
    APPLICATION_CONTEXT_NOT_SUPPORTED: "ApplicationContextNameNotSupported",
    CALLING_AE_TITLE_NOT_RECOGNIZED: "CallingAETitleNotRecognized",
    CALLED_AE_TITLE_NOT_RECOGNIZED: "CalledAETitleNotRecognized",
    PROTOCOL_VERSION_NOT_SUPPORTED: "ProtocolVersionNotSupported",
    TEMPORARY_CONGESTION: "TemporaryCongestion",
    LOCAL_LIMIT_EXCEEDED: "LocalLimitExceeded",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a requestor; an empty set of titles or SOP classes means any."""

    ae_title: str
    require_called_ae_title: bool
    calling_ae_titles: frozenset[str]
    sop_classes: frozenset[str]
    maximum_pdu_size: int
    require_certificate_ae_title: bool = False


def answer(
    request: AssociateRequest, policy: Policy, certificate_titles: frozenset[str] = frozenset()
) -> AssociateAccept | AssociateReject:
    """Accept or reject an association; the limit on their number is the caller's business.

    `certificate_titles`: the AE titles that the requestor's certificate names.
    """
    rejection = _rejection(request, policy, certificate_titles)
    if rejection is not None:
        return rejection
    window = request.operations_window
    return AssociateAccept(
        fixed_fields=request.fixed_fields,
        contexts=tuple(_answer_context(context, policy) for context in request.contexts),
        maximum_length=policy.maximum_pdu_size,
        # We never invoke an operation, so the requestor need not perform more than the one that is the default.
        operations_window=None if window is None else (operations_granted(request), 1),
        roles=_answer_roles(request),
    )


def operations_granted(request: AssociateRequest) -> int:
    """How many operations the requestor may have outstanding (PS3.7 D.3.3.3); 1 unless it proposed a window."""
    if request.operations_window is None:
        return 1
    return min(request.operations_window[0] or MAXIMUM_OPERATIONS, MAXIMUM_OPERATIONS)


def _rejection(request: AssociateRequest, policy: Policy, certificate_titles: frozenset[str]) -> AssociateReject | None:
    if not request.protocol_version & 1:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    if policy.require_called_ae_title and request.called_ae_title != policy.ae_title:
        return CALLED_AE_TITLE_NOT_RECOGNIZED
    if policy.calling_ae_titles and request.calling_ae_title not in policy.calling_ae_titles:
        return CALLING_AE_TITLE_NOT_RECOGNIZED
    if policy.require_certificate_ae_title and request.calling_ae_title not in certificate_titles:
        return CALLING_AE_TITLE_NOT_RECOGNIZED
    if not request.contexts:
        return NO_REASON_GIVEN
    return None


def _answer_context(context: ProposedContext, policy: Policy) -> AnsweredContext:
    usable = tuple(filter(is_usable_uid, context.transfer_syntaxes))
    service = service_of(context.abstract_syntax)
    if service is Service.STORAGE_COMMITMENT:
        usable = tuple(syntax for syntax in usable if syntax in COMMITMENT_TRANSFER_SYNTAXES)
    is_excluded = bool(policy.sop_classes) and context.abstract_syntax not in policy.sop_classes
    if not context.is_valid:
        result = ContextResult.NO_REASON
    elif service is Service.NOT_SERVED or (service is Service.STORAGE and is_excluded):
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not usable:
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        return AnsweredContext(context.context_id, ContextResult.ACCEPTANCE, choose_transfer_syntax(usable))
    # The transfer syntax of a context that is refused says nothing (PS3.8 9.3.3.2), but has to be there.
    return AnsweredContext(context.context_id, result, usable[0] if usable else IMPLICIT_VR_LITTLE_ENDIAN)


def choose_transfer_syntax(proposed: tuple[str, ...]) -> str:
    """The sender's first among those that HealthImaging lists, else its first.

    A sender puts first what it has; any other choice could make it decompress, or compress with loss.
    """
    return next((syntax for syntax in proposed if syntax in HEALTHIMAGING_TRANSFER_SYNTAXES), proposed[0])


def _answer_roles(request: AssociateRequest) -> tuple[RoleSelection, ...]:
    """Accept the requestor as SCU, never as SCP, once for each SOP class it proposes (PS3.7 D.3.3.4).

    What was proposed a second time, for another class or with a UID that is none is left out, which refuses it; so
    the answer is bounded by the number of contexts, whatever was sent.
    """
    proposed = {context.abstract_syntax for context in request.contexts if is_usable_uid(context.abstract_syntax)}
    roles: dict[str, RoleSelection] = {}
    for role in request.roles:
        if role.sop_class_uid in proposed:
            roles.setdefault(role.sop_class_uid, RoleSelection(role.sop_class_uid, role.scu, False))
    return tuple(roles.values())
